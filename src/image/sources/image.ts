/** From manifest and configuration to an image, for all sources that have these. */
import { digestHex, parseDigest } from "../digest.ts";
import type { BlobInfo, Digest, LayerRef, SourceImage } from "../types.ts";
import { type Document, type Manifest, matchesPlatform, parseConfig, platformFailure } from "./manifest.ts";
import type { OpenContext } from "./source.ts";

export interface ImageParts {
  document: Document;
  manifest: Manifest;
  /** The configuration's bytes, verified. */
  config: Buffer;
  name: string;
  /** The stored bytes of a layer, verified at their end. */
  open(layer: BlobInfo & { label: string }): Promise<AsyncIterable<Buffer>>;
  close(): Promise<void>;
}

/** Throws E_MANIFEST or E_PLATFORM where the parts do not fit together or not this machine. */
export function assembleImage(parts: ImageParts, context: OpenContext): SourceImage {
  const { document, manifest, config, name, close } = parts;
  const blobs = manifest.layers.map((blob) => ({
    ...blob,
    open: (label: string) => parts.open({ ...blob, label }),
  }));
  const { digest, bytes } = document;
  return imageOfConfig({ digest, manifest: bytes, config, name, close }, blobs, context);
}

/** A layer as an image's manifest names it. */
interface StoredLayer {
  digest?: Digest;
  mediaType?: string;
  size: number;
  open(label: string): Promise<AsyncIterable<Buffer>>;
}

/** An image of a configuration and the layers that it promises the DiffIDs of. Throws like assembleImage. */
export function imageOfConfig(
  about: Pick<SourceImage, "digest" | "manifest" | "name" | "close"> & { config: Buffer },
  stored: readonly StoredLayer[],
  context: OpenContext,
): SourceImage {
  const config = parseConfig(about.config, stored.length, about.name);
  if (config.platform !== undefined && !matchesPlatform(config.platform, context.platform)) {
    throw platformFailure(context.platform, [config.platform], about.name);
  }
  const layers = stored.map(({ digest, mediaType, size, open }, index): LayerRef => {
    const diffId = parseDigest(config.diffIds[index], about.name);
    const label = `layer ${index + 1} of ${stored.length} (${digestHex(digest ?? diffId).slice(0, 12)})`;
    return { ...(digest && { digest }), ...(mediaType && { mediaType }), diffId, size, label, open: () => open(label) };
  });
  return { ...about, run: config.run, platform: config.platform ?? context.platform, layers };
}
