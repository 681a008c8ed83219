/**
 * The OCI sink: an image layout of one layer, the merged tree, with the configuration kept as far as it stays true.
 * The same image always gives the same bytes.
 */
import { open } from "node:fs/promises";
import { join } from "node:path";
import { fileFailure } from "../../base/errors.ts";
import { configOf, layerType, manifestOf, tagOf } from "../oci-documents.ts";
import { type LayoutOptions, openLayoutOutput } from "./layout-output.ts";
import type { OpenSink } from "./sink.ts";
import { parseTarCompression, TarFile } from "./tar-file.ts";

export interface OciOptions extends LayoutOptions {
  /** Compression of the layer. */
  comp: string;
  /** Seconds since 1970: the image's time of creation. */
  sourceDateEpoch?: string | undefined;
}

/** A sink that writes an image layout. */
export function ociSink({ comp, sourceDateEpoch, ...options }: OciOptions): OpenSink {
  const compression = parseTarCompression(comp);
  return async (image) => {
    const layout = await openLayoutOutput(options);
    const layer = join(layout.scratch, "layer");
    const file = await beginFile(layer, compression).catch(async (error: unknown) => {
      await layout.abort();
      throw fileFailure(error, "creating the image layout", layer);
    });
    return {
      entry: (entry) => file.entry(entry),
      data: (slice) => file.data(slice),
      end: () => file.end(),
      flush: () => file.flush(),
      commit: async (root) => {
        const { digest, size, diffId } = await file.commit(root);
        await layout.adopt({ digest, size }, layer);
        const config = configOf(image, [diffId], sourceDateEpoch);
        await layout.document(config);
        const manifest = manifestOf(config, [{ mediaType: layerType(compression.name), digest, size }]);
        await layout.document(manifest);
        await layout.commit(manifest, tagOf(image.name));
      },
      abort: async () => {
        await file.abort();
        await layout.abort();
      },
    };
  };
}

async function beginFile(path: string, compression: ReturnType<typeof parseTarCompression>): Promise<TarFile> {
  await (await open(path, "wx", 0o644)).close();
  return new TarFile(path, compression);
}
