/** From the layers of an image and one more to an image: in the store, or in a layout. */
import { open } from "node:fs/promises";
import { join } from "node:path";
import type { Context } from "../base/context.ts";
import type { Artifact, LayerBlob } from "../image/artifact.ts";
import { changed } from "../image/config-change.ts";
import { writeArtifact } from "../image/copy.ts";
import { documentOf, type HistoryStep, layerType, manifestOf, mediaTypes, timeOf } from "../image/oci-documents.ts";
import { Ranges } from "../image/ranges.ts";
import type { LayoutOptions } from "../image/sinks/layout-output.ts";
import { parseTarCompression, writeTarFile } from "../image/sinks/tar-file.ts";
import { readChunks } from "../image/sources/files.ts";
import { cachedSource } from "../image/sources/reference.ts";
import { Blobs } from "../store/blobs.ts";
import type { StoredImage } from "../store/images.ts";
import type { Cli } from "./cli.ts";
import { importImage, readEpoch } from "./import-image.ts";
import { openArtifact } from "./open-artifact.ts";

export interface CommitWish {
  /** The stored image below: a name or a digest. */
  below: string;
  /** What the new layer is called in progress. */
  label: string;
  /** The tar of the new layer. */
  layer: AsyncIterable<Buffer>;
  /** Compression of the layer. */
  comp: string;
  /** Of the step in the history. */
  author: string | undefined;
  message: string | undefined;
  /** Instructions such as `ENV A=b`. */
  changes: readonly string[];
}

/** What became of it. */
export interface Committed {
  artifact: Artifact;
  layer: LayerBlob;
}

/** Makes the image and hands it to `use`, which keeps it somewhere. */
async function committed<T>(
  cli: Cli,
  context: Context,
  wish: CommitWish,
  use: (made: Committed) => Promise<T>,
): Promise<T> {
  const registry = { env: process.env, uid: process.geteuid?.() ?? 0 };
  const opened = await openArtifact(cli, context, wish.below, { layers: "keep", registry, oci: true });
  try {
    const { layer, diffId } = await layerIn(await opened.scratch(), wish, context);
    const config = configAbove(opened.artifact, diffId, wish);
    const layers = [...opened.artifact.layers, layer];
    return await use({ artifact: { config, layers, manifest: manifestOf(config, layers) }, layer });
  } finally {
    await opened.close();
  }
}

/** Stores the image under a name. Its blobs are kept in the cache, where a push finds them. */
export const commitToStore = (cli: Cli, context: Context, name: string, wish: CommitWish) =>
  committed(cli, context, wish, async ({ artifact, layer }): Promise<{ image: StoredImage; layer: LayerBlob }> => {
    const cache = new Blobs(cli.layout);
    for (const blob of artifact.layers) await keep(cache, blob, context);
    for (const { digest, bytes } of [artifact.config, artifact.manifest]) await cache.write(digest, bytes);
    const image = await importImage(context, cli.layout, cachedSource(artifact.manifest.digest), { name });
    return { image, layer };
  });

/** Writes a layout with the image. */
export const commitToFile = (cli: Cli, context: Context, tag: string, options: LayoutOptions, wish: CommitWish) =>
  committed(cli, context, wish, async ({ artifact, layer }) => {
    await writeArtifact(artifact, tag, options, context);
    return { digest: artifact.manifest.digest, layer };
  });

async function layerIn(directory: string, { label, layer, comp }: CommitWish, context: Context) {
  const compression = parseTarCompression(comp);
  const file = join(directory, "upper");
  await (await open(file, "wx", 0o600)).close();
  const task = context.progress.task("commit", `pack ${label}`);
  const counted = (async function* () {
    for await (const chunk of layer) {
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
