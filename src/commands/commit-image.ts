/** From the layers of an image and one more to an image: in the store, or in a layout. */
import { open } from "node:fs/promises";
import { join } from "node:path";
import type { Context } from "../base/context.ts";
import { Failure } from "../base/errors.ts";
import { escapeText } from "../base/text.ts";
import type { Artifact, LayerBlob } from "../image/artifact.ts";
import { changed } from "../image/config-change.ts";
import { writeArtifact } from "../image/copy.ts";
import { documentOf, type HistoryStep, layerType, manifestOf, mediaTypes, timeOf } from "../image/oci-documents.ts";
import { Ranges } from "../image/ranges.ts";
import type { LayoutOptions } from "../image/sinks/layout-output.ts";
import { parseTarCompression, writeTarFile } from "../image/sinks/tar-file.ts";
import type { RegistryOptions } from "../image/sources/environment.ts";
import { readChunks } from "../image/sources/files.ts";
import { cachedSource } from "../image/sources/reference.ts";
import { Blobs } from "../store/blobs.ts";
import { getContainer } from "../store/containers.ts";
import { findImage, type StoredImage } from "../store/images.ts";
import type { AtStore } from "./cli.ts";
import { lockForReading } from "./export-container.ts";
import { importImage, readEpoch } from "./import-image.ts";
import { type OpenArtifact, openArtifact } from "./open-artifact.ts";
import { layerOfContainer, layerOfDirectory } from "./upper-layer.ts";

/** What becomes a layer: what a container changed, above its image, or a directory above the stored image `onto`. */
export type CommitSource = { readonly container: string } | { readonly directory: string; readonly onto: string };

export interface CommitWish {
  source: CommitSource;
  /** Compression of the layer. */
  comp: string;
  /** Of the step in the history. */
  author: string | undefined;
  message: string | undefined;
  /** Instructions such as `ENV A=b`. */
  changes: readonly string[];
  /** How the registry of the image below is spoken to, should a layer be missing. */
  registry: RegistryOptions;
}

/** What became of it. */
export interface Committed {
  artifact: Artifact;
  layer: LayerBlob;
}

/** Makes the image and hands it to `use`, which keeps it somewhere. */
async function committed<T>(
  cli: AtStore,
  context: Context,
  wish: CommitWish,
  use: (made: Committed) => Promise<T>,
): Promise<T> {
  const container = "container" in wish.source ? getContainer(cli.layout, wish.source.container) : undefined;
  const lock = container && lockForReading(cli, context, container);
  let opened: OpenArtifact | undefined;
  try {
    const below = belowOf(cli, wish.source).digest;
    opened = await openArtifact(cli, context, below, { layers: "keep", registry: wish.registry, oci: true });
    const tar =
      "directory" in wish.source
        ? layerOfDirectory(cli, context, wish.source.directory)
        : layerOfContainer(cli, context, container ?? getContainer(cli.layout, wish.source.container));
    const { layer, diffId } = await layerIn(await opened.scratch(), tar, wish.comp, context);
    const config = configAbove(opened.artifact, diffId, wish);
    const layers = [...opened.artifact.layers, layer];
    return await use({ artifact: { config, layers, manifest: manifestOf(config, layers) }, layer });
  } finally {
    await opened?.close();
    lock?.release();
  }
}

/** The stored image below, and what a user calls it. Throws E_NOT_FOUND, and E_CONFLICT for a subhost. */
export function belowOf(at: AtStore, source: CommitSource): { digest: string; shown: string } {
  if ("container" in source) {
    const { name, image, subhost } = getContainer(at.layout, source.container);
    if (subhost !== undefined) {
      throw new Failure("E_CONFLICT", `${name} is a subhost, whose root is no image's`, {
        where: subhost.conf,
        mend: `use \`rootling commit dir:${subhost.upper} --onto IMAGE\` for what it has of its own`,
      });
    }
    return { digest: image.digest, shown: image.name };
  }
  const image = findImage(at.layout, source.onto);
  if (image !== undefined) return { digest: image.digest, shown: source.onto };
  throw new Failure("E_NOT_FOUND", `no image named ${escapeText(source.onto)} is stored`, {
    where: "--onto",
    mend: "see `rootling images`",
  });
}

/** Stores the image under a name. Its blobs are kept in the cache, where a push finds them. */
export const commitToStore = (cli: AtStore, context: Context, name: string, wish: CommitWish) =>
  committed(cli, context, wish, async ({ artifact, layer }): Promise<{ image: StoredImage; layer: LayerBlob }> => {
    const cache = new Blobs(cli.layout);
    for (const blob of artifact.layers) await keep(cache, blob, context);
    for (const { digest, bytes } of [artifact.config, artifact.manifest]) await cache.write(digest, bytes);
    const image = await importImage(context, cli.layout, cachedSource(artifact.manifest.digest), { name });
    return { image, layer };
  });

/** Writes a layout with the image. */
export const commitToFile = (cli: AtStore, context: Context, tag: string, options: LayoutOptions, wish: CommitWish) =>
  committed(cli, context, wish, async ({ artifact, layer }) => {
    await writeArtifact(artifact, tag, options, context);
    return { digest: artifact.manifest.digest, layer };
  });

async function layerIn(directory: string, tar: AsyncIterable<Buffer>, comp: string, context: Context) {
  const label = "the new layer";
  const compression = parseTarCompression(comp);
  const file = join(directory, "upper");
  await (await open(file, "wx", 0o600)).close();
  const task = context.progress.task("commit", `pack ${label}`);
  const counted = (async function* () {
    for await (const chunk of tar) {
      task.advance(chunk.length);
      yield chunk;
    }
  })();
  const { digest, size, diffId } = await writeTarFile(file, counted, compression, context.signal);
  task.done();
  const mediaType = layerType(compression.name);
  const bytes = async () => readChunks(file);
  const made: LayerBlob = { mediaType, digest, size, label, file, open: bytes, source: { label, open: bytes } };
  return { layer: made, diffId };
}

/** The configuration of the image below, with one layer more, a step in its history, and the changes. */
function configAbove({ config }: Artifact, diffId: string, { author, message, changes }: CommitWish) {
  // It was parsed and checked when the image was opened, or made by us.
  const below = JSON.parse(config.bytes.toString("utf8")) as {
    config?: Record<string, unknown> | null;
    rootfs: { diff_ids: string[] };
    history?: unknown;
  };
  const epoch = readEpoch();
  const created = epoch === undefined ? new Date().toISOString() : timeOf(epoch);
  const step: HistoryStep = {
    ...{ created, created_by: "rootling commit" },
    ...(author === undefined ? {} : { author }),
    ...(message === undefined ? {} : { comment: message }),
  };
  const history = Array.isArray(below.history) ? below.history : [];
  return documentOf(mediaTypes.config, {
    ...below,
    created,
    ...(author === undefined ? {} : { author }),
    config: changes.reduce(changed, below.config ?? {}),
    rootfs: { ...below.rootfs, diff_ids: [...below.rootfs.diff_ids, diffId] },
    history: [...history, step],
  });
}

/** A layer into the cache. What its source keeps there itself is there once it was opened. */
async function keep(cache: Blobs, blob: LayerBlob, context: Context): Promise<void> {
  const task = context.progress.task(`keep ${blob.digest}`, `keep ${blob.label}`, blob.size);
  const first = await blob.open();
  await first[Symbol.asyncIterator]().return?.();
  const content = new Ranges(blob);
  try {
    await cache.obtain(
      blob,
      async (offset) => content.range(offset, blob.size, () => {}),
      context.signal,
      (bytes) => task.advance(bytes),
    );
  } finally {
    await content.close();
  }
  task.done();
}
