/** From manifest and configuration to an image, for all sources that have these. */
import { digestHex, parseDigest } from "../digest.ts";
import type { BlobInfo, LayerRef, SourceImage } from "../types.ts";
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
  const { manifest, document } = parts;
  const config = parseConfig(parts.config, manifest.layers.length, parts.name);
  if (config.platform !== undefined && !matchesPlatform(config.platform, context.platform)) {
    throw platformFailure(context.platform, [config.platform], parts.name);
  }
  const layers = manifest.layers.map((blob, index): LayerRef => {
    const label = `layer ${index + 1} of ${manifest.layers.length} (${digestHex(blob.digest).slice(0, 12)})`;
    return {
      digest: blob.digest,
      diffId: parseDigest(config.diffIds[index], parts.name),
      size: blob.size,
      label,
      open: () => parts.open({ ...blob, label }),
    };
  });
  return {
    digest: document.digest,
    name: parts.name,
    config: parts.config,
    run: config.run,
    platform: config.platform ?? context.platform,
    layers,
    close: parts.close,
  };
}
