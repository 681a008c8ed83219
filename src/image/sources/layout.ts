/** An OCI image layout: `index.json` and `blobs/` in a directory or an archive (image-spec, image-layout.md). */
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

/** Where the files of a layout are. */
export interface LayoutFiles {
  /** What a user calls it. */
  where: string;
  /** What an image in it is called. */
  name: string;
  /** A whole small file. Throws E_LIMIT when it is larger than `limit` bytes. */
  read(path: string, limit: number): Promise<Buffer>;
  open(path: string): Promise<AsyncIterable<Buffer>>;
  close(): Promise<void>;
}

/** Opens the image `reference` of the layout in a directory; without one, the only image there. */
export const openLayout = (
  directory: string,
  reference: string | undefined,
  context: OpenContext,
): Promise<SourceImage> => openLayoutFiles(filesOf(directory), reference, context);

const filesOf = (directory: string): LayoutFiles => ({
  where: directory,
  name: basename(resolve(directory)),
  read: (path, limit) => readSmall(join(directory, path), limit),
  open: async (path) => readChunks(join(directory, path)),
  close: async () => {},
});

/** Opens an image of a layout. Once it is open, it closes the files; if this fails, the caller does. */
export async function openLayoutFiles(
  files: LayoutFiles,
  reference: string | undefined,
  context: OpenContext,
): Promise<SourceImage> {
  const marker = `${files.where}/oci-layout`;
  const version = parseJson(await files.read("oci-layout", 4096), marker).imageLayoutVersion;
  if (version !== "1.0.0") throw manifestFailure("an image layout of an unknown version", marker);

  const indexPath = `${files.where}/index.json`;
  const bytes = await files.read("index.json", limits.manifestBytes);
  const index = parseDocument({ digest: digestOf(bytes), bytes, mediaType: undefined }, indexPath);
  if (index.kind !== "index") throw manifestFailure("not an index", indexPath);
  const entry = chooseReference(index.entries, reference, files.where);

  const fetch = async (blob: BlobInfo & { mediaType?: string }): Promise<Document> => {
    const content = await readBlob(files, blob.digest, limits.manifestBytes, blob.size);
    return { digest: blob.digest, bytes: content, mediaType: blob.mediaType };
  };
  const where = `${files.where}${entry.refName === undefined ? "" : `:${entry.refName}`}`;
  const { document, manifest } = await resolveManifest(await fetch(entry), context.platform, fetch, where);
  const config = await readBlob(files, manifest.config.digest, limits.configBytes, manifest.config.size);
  return assembleImage(
    {
      document,
      manifest,
      config,
      name: entry.refName === undefined ? files.name : `${files.name}:${entry.refName}`,
      open: async (layer) => {
        const path = blobPath(layer.digest);
        return verified(await files.open(path), layer.digest, layer.size, `${files.where}/${path}`);
      },
      close: files.close,
    },
    context,
  );
}

const blobPath = (digest: Digest): string => `blobs/sha256/${digestHex(digest)}`;

async function readBlob(files: LayoutFiles, digest: Digest, limit: number, size: number): Promise<Buffer> {
  const path = blobPath(digest);
  const content = await files.read(path, limit);
  const verifier = new Verifier(digest, size, `${files.where}/${path}`);
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
  throw new Failure("E_NOT_FOUND", what, {
    where: directory,
    mend: `${list}; name one behind a colon, as in oci:DIRECTORY:REF`,
  });
}
