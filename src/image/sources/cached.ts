/** An image that was made on this machine: manifest, configuration and layers are in the blob cache, and nowhere else. */
import { Failure } from "../../base/errors.ts";
import { digestHex } from "../digest.ts";
import { limits } from "../limits.ts";
import type { Digest, SourceImage } from "../types.ts";
import { readChunks } from "./files.ts";
import { assembleImage } from "./image.ts";
import { manifestFailure } from "./json.ts";
import { parseDocument } from "./manifest.ts";
import type { OpenContext } from "./source.ts";

/** Opens it. Throws E_NOT_FOUND where a part is no longer there. */
export async function openCached(digest: Digest, context: OpenContext): Promise<SourceImage> {
  const { cache, signal } = context;
  const document = { digest, bytes: await part(digest, limits.manifestBytes, context), mediaType: undefined };
  const parsed = parseDocument(document, digest);
  if (parsed.kind !== "manifest") throw manifestFailure("an index where a manifest is expected", digest);
  const { manifest } = parsed;
  return assembleImage(
    {
      ...{ document, manifest, name: digestHex(digest).slice(0, 12) },
      config: await part(manifest.config.digest, limits.configBytes, context),
      open: async (layer) => {
        const absent = async () => {
          throw gone(layer.digest);
        };
        const { path } = await cache.obtain(layer, absent, signal, () => {});
        return readChunks(path);
      },
      close: async () => {},
    },
    context,
  );
}

async function part(digest: Digest, limit: number, { cache }: OpenContext): Promise<Buffer> {
  const bytes = await cache.read(digest, limit);
  if (bytes === undefined) throw gone(digest);
  return bytes;
}

const gone = (digest: Digest): Failure =>
  new Failure("E_NOT_FOUND", "a part of the image is no longer in the blob cache", {
    where: digest,
    mend: "make the image again",
  });
