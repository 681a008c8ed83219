/**
 * An image as what layouts and registries hold: a manifest that names a configuration and layers, all of them blobs.
 * Layers stay byte for byte what the source has, where it has them as blobs; others are compressed.
 */
import { open } from "node:fs/promises";
import { join } from "node:path";
import type { Context } from "../base/context.ts";
import { Failure, fileFailure } from "../base/errors.ts";
import { decompress } from "./decompress.ts";
import { digestOf } from "./digest.ts";
import {
  configOf,
  type Descriptor,
  type Document,
  layerType,
  manifestOf,
  mediaTypes,
  ociLayerType,
} from "./oci-documents.ts";
import { parseTarCompression, writeTarFile } from "./sinks/tar-file.ts";
import { readChunks } from "./sources/files.ts";
import type { Digest, LayerRef, SourceImage } from "./types.ts";

export interface LayerBlob extends Descriptor {
  label: string;
  /** The layer that it is of the source. */
  source: LayerRef;
  /** The file that was made for it, in `scratch`; undefined for a blob of the source. */
  file: string | undefined;
  /** The bytes, verified at their end. */
  open(): Promise<AsyncIterable<Buffer>>;
}

export interface Artifact {
  manifest: Document;
  config: Document;
  /** Lowest first. */
  layers: readonly LayerBlob[];
}

export interface ArtifactOptions {
  /** Compresses every layer anew, as `gzip:6` and the like say. */
  comp: string | undefined;
  /** Whether Docker's media types are replaced by OCI's, as a layout needs it: the manifest is another one then. */
  oci: boolean;
  /** A directory for layers that have to be compressed; whoever asks removes it. */
  scratch(): Promise<string>;
  /** Seconds since 1970, for a configuration that has to be made. */
  sourceDateEpoch: string | undefined;
}

/** What a layer is compressed with, where its source has it as no blob. */
const DEFAULT_COMPRESSION = "gzip";

/** The image with all of its layers. Throws E_DIGEST where one that is compressed anew is not what was promised. */
export async function artifactOf(image: SourceImage, options: ArtifactOptions, context: Context): Promise<Artifact> {
  const made = new Map<Digest, LayerBlob>();
  const layers: LayerBlob[] = [];
  const diffIds: Digest[] = [];
  for (const [index, layer] of image.layers.entries()) {
    const known = layer.diffId === undefined ? undefined : made.get(layer.diffId);
    const kept = options.comp === undefined ? keptBlob(layer, options.oci) : undefined;
    const { blob, diffId } =
      known !== undefined && layer.diffId !== undefined
        ? { blob: known, diffId: layer.diffId }
        : kept !== undefined && layer.diffId !== undefined
          ? { blob: kept, diffId: layer.diffId }
          : await compressed(layer, index, options, context);
    layers.push(blob);
    diffIds.push(diffId);
    if (blob.file !== undefined) made.set(diffId, blob);
  }
  const config = image.config === undefined ? configOf(image, diffIds, options.sourceDateEpoch) : asIs(image.config);
  const unchanged = layers.every(({ file, mediaType, source }) => file === undefined && mediaType === source.mediaType);
  const own = unchanged ? ownManifest(image, options.oci) : undefined;
  return { manifest: own ?? manifestOf(config, layers), config, layers };
}

const asIs = (bytes: Buffer): Document => ({
  ...{ mediaType: mediaTypes.config, bytes },
  ...{ digest: digestOf(bytes), size: bytes.length },
});

/** The image's manifest as it came, if it may stay. */
function ownManifest({ manifest }: SourceImage, oci: boolean): Document | undefined {
  if (manifest === undefined) return undefined;
  const json = JSON.parse(manifest.toString("utf8")) as { mediaType?: string; config: { mediaType?: string } };
  const mediaType = json.mediaType ?? mediaTypes.manifest;
  if (oci && (mediaType !== mediaTypes.manifest || json.config.mediaType !== mediaTypes.config)) return undefined;
  return { mediaType, bytes: manifest, digest: digestOf(manifest), size: manifest.length };
}

/** A layer that its source has as a blob. */
function keptBlob(layer: LayerRef, oci: boolean): LayerBlob | undefined {
  const { digest, size, mediaType, label } = layer;
  if (digest === undefined || size === undefined || mediaType === undefined) return undefined;
  const type = ociLayerType(mediaType);
  if (oci && type === undefined) return undefined;
  const shown = oci ? (type ?? mediaType) : mediaType;
  return { digest, size, mediaType: shown, label, source: layer, file: undefined, open: () => layer.open() };
}

/** A layer as a blob of its own. */
async function compressed(
  layer: LayerRef,
  index: number,
  { comp = DEFAULT_COMPRESSION, scratch }: ArtifactOptions,
  context: Context,
): Promise<{ blob: LayerBlob; diffId: Digest }> {
  const compression = parseTarCompression(comp);
  const file = join(await scratch(), `layer-${index}`);
  await create(file);
  const task = context.progress.task(`compress ${layer.label}`, `compress ${layer.label}`, layer.size);
  const counted = (async function* () {
    for await (const chunk of await layer.open()) {
      task.advance(chunk.length);
      yield chunk;
    }
  })();
  const written = await writeTarFile(file, decompress(counted, layer.label), compression, context.signal);
  task.done();
  const { digest, size, diffId } = written;
  if (layer.diffId !== undefined && layer.diffId !== diffId) {
    throw new Failure("E_DIGEST", "the unpacked layer does not have the DiffID that the configuration promises", {
      where: layer.label,
      mend: "the image is damaged or was tampered with; ask whoever made it",
    });
  }
  const mediaType = layerType(compression.name);
  const open = async () => readChunks(file);
  return { blob: { digest, size, mediaType, label: layer.label, source: layer, file, open }, diffId };
}

async function create(path: string): Promise<void> {
  try {
    await (await open(path, "wx", 0o600)).close();
  } catch (error) {
    throw fileFailure(error, "compressing a layer", path);
  }
}
