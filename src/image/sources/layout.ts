/** An OCI image layout: a directory with `index.json` and `blobs/` (image-spec, image-layout.md). */
import { basename, join, resolve } from "node:path";
import { Failure } from "../../base/errors.ts";
import { escapeText } from "../../base/text.ts";
import { digestHex, digestOf, Verifier, verified } from "../digest.ts";
import { limits } from "../limits.ts";
import type { BlobInfo, Digest, SourceImage } from "../types.ts";
import { readChunks, readSmall } from "./files.ts";
import { assembleImage } from "./image.ts";
import { manifestFailure, parseJson } from "./json.ts";
import { type Document, type IndexEntry, parseDocument, resolveManifest } from "./manifest.ts";
import type { OpenContext } from "./source.ts";

/** Opens the image `reference` of the layout; without one, the only image there. */
export async function openLayout(
  directory: string,
  reference: string | undefined,
  context: OpenContext,
): Promise<SourceImage> {
  const marker = join(directory, "oci-layout");
  const version = parseJson(await readSmall(marker, 4096), marker).imageLayoutVersion;
  if (version !== "1.0.0") throw manifestFailure("an image layout of an unknown version", marker);

  const indexPath = join(directory, "index.json");
  const bytes = await readSmall(indexPath, limits.manifestBytes);
  const index = parseDocument({ digest: digestOf(bytes), bytes, mediaType: undefined }, indexPath);
  if (index.kind !== "index") throw manifestFailure("not an index", indexPath);
  const entry = chooseReference(index.entries, reference, directory);

  const fetch = async (blob: BlobInfo & { mediaType?: string }): Promise<Document> => {
    const content = await readBlob(directory, blob.digest, limits.manifestBytes, blob.size);
    return { digest: blob.digest, bytes: content, mediaType: blob.mediaType };
  };
  const where = `${directory}${entry.refName === undefined ? "" : `:${entry.refName}`}`;
  const { document, manifest } = await resolveManifest(await fetch(entry), context.platform, fetch, where);
  const config = await readBlob(directory, manifest.config.digest, limits.configBytes, manifest.config.size);
  return assembleImage(
    {
      document,
      manifest,
      config,
      name: layoutName(directory, entry),
      open: async (layer) => {
        const path = blobPath(directory, layer.digest);
        return verified(readChunks(path), layer.digest, layer.size, path);
      },
      close: async () => {},
    },
    context,
  );
}

const layoutName = (directory: string, entry: IndexEntry): string =>
  entry.refName === undefined ? basename(resolve(directory)) : `${basename(resolve(directory))}:${entry.refName}`;

const blobPath = (directory: string, digest: Digest): string => join(directory, "blobs", "sha256", digestHex(digest));

async function readBlob(directory: string, digest: Digest, limit: number, size: number): Promise<Buffer> {
  const path = blobPath(directory, digest);
  const content = await readSmall(path, limit);
  const verifier = new Verifier(digest, size, path);
  verifier.update(content);
  verifier.end();
  return content;
}

function chooseReference(entries: readonly IndexEntry[], reference: string | undefined, directory: string): IndexEntry {
  const found = reference === undefined ? entries : entries.filter((entry) => entry.refName === reference);
  const [first, ...others] = found;
  if (first !== undefined && others.length === 0) return first;
  const names = entries.flatMap((entry) => (entry.refName === undefined ? [] : [escapeText(entry.refName)]));
  const list = names.length === 0 ? "it holds no named image" : `it holds: ${names.slice(0, 20).join(", ")}`;
  const what =
    first !== undefined
      ? "the image layout holds several images of that name"
      : `the image layout holds no image${reference === undefined ? "" : ` ${escapeText(reference)}`}`;
  throw new Failure("E_NOT_FOUND", what, { where: directory, mend: `${list}; name one with oci:DIRECTORY:REF` });
}
