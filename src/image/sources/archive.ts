/** Archives of images: a tar whose members are blobs and manifests, read in place without unpacking. */
import type { FileHandle } from "node:fs/promises";
import { basename, posix } from "node:path";
import { throwIfAborted } from "../../base/context.ts";
import { Failure } from "../../base/errors.ts";
import { escapeText } from "../../base/text.ts";
import { compressionOf, decompress } from "../decompress.ts";
import { limits, tooLarge } from "../limits.ts";
import { cleanPath } from "../names.ts";
import { TarReader } from "../tar-read.ts";
import type { Entry, SourceImage } from "../types.ts";
import { openRegular, readChunks, readRange, readStart, refuseLarge, spool } from "./files.ts";
import { type LayoutFiles, openLayoutFiles } from "./layout.ts";
import type { OpenContext } from "./source.ts";

/** A member: where its bytes are, or what it is a link to. */
type Member = { offset: number; size: number } | { target: string };

/** The members of an archive. */
export class Archive {
  readonly where: string;
  readonly #handle: FileHandle;
  readonly #members: ReadonlyMap<string, Member>;

  constructor(where: string, handle: FileHandle, members: ReadonlyMap<string, Member>) {
    this.where = where;
    this.#handle = handle;
    this.#members = members;
  }

  has(path: string): boolean {
    return this.#members.has(path);
  }

  /** Bytes of a member. */
  sizeOf(path: string): number {
    return this.#find(path).size;
  }

  async open(path: string): Promise<AsyncIterable<Buffer>> {
    const { offset, size } = this.#find(path);
    return readRange(this.#handle, offset, size, this.where);
  }

  async read(path: string, limit: number): Promise<Buffer> {
    refuseLarge(this.#find(path).size, limit, `${this.where}: ${path}`);
    const parts: Buffer[] = [];
    for await (const part of await this.open(path)) parts.push(part);
    return Buffer.concat(parts);
  }

  close(): Promise<void> {
    return this.#handle.close();
  }

  #find(path: string): { offset: number; size: number } {
    let member = this.#members.get(path);
    // docker save made a layer that occurs twice a link to its first place.
    for (let steps = 0; member !== undefined && "target" in member && steps < 8; steps++) {
      member = this.#members.get(member.target);
    }
    if (member !== undefined && "offset" in member) return member;
    throw new Failure("E_NOT_FOUND", `the archive has no file ${escapeText(path.slice(0, 200))}`, {
      where: this.where,
      mend: "the archive is damaged or holds no image of this kind",
    });
  }
}

/** Opens an archive of images. A compressed one is unpacked into a temporary file first: members are read in any order. */
export async function openArchive(file: string, context: OpenContext): Promise<Archive> {
  const start = await readStart(file, 16);
  const plain = compressionOf(start, file) === "none";
  const { handle, size } = plain
    ? await openRegular(file)
    : await spool(limited(decompress(readChunks(file), file), file, context), context);
  return archiveIn(handle, size, file, context);
}

/** The archive in an open file, which is closed with it. `where` is what a user calls it. */
export async function archiveIn(
  handle: FileHandle,
  size: number,
  where: string,
  context: OpenContext,
): Promise<Archive> {
  try {
    return new Archive(where, handle, await indexMembers(handle, size, where, context));
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** A bomb is told by what it unpacks to, compared with what it is. */
async function* limited(chunks: AsyncIterable<Buffer>, file: string, context: OpenContext): AsyncGenerator<Buffer> {
  const { handle, size } = await openRegular(file);
  await handle.close();
  const most = Math.max(limits.ratioFloorBytes, size * context.settings.MAX_RATIO);
  let seen = 0;
  for await (const chunk of chunks) {
    seen += chunk.length;
    if (seen > most) throw tooLarge(`an archive that unpacks to more than ${most} bytes`, file);
    yield chunk;
  }
}

async function indexMembers(
  handle: FileHandle,
  size: number,
  where: string,
  context: OpenContext,
): Promise<Map<string, Member>> {
  const members = new Map<string, Member>();
  let count = 0;
  const add = (entry: Entry, offset: number) => {
    if (++count > limits.archiveEntries)
      throw tooLarge(`an archive of more than ${limits.archiveEntries} files`, where);
    const path = cleanPath(entry.path, where);
    // The last one of a name counts, as in extraction.
    members.delete(path);
    if (entry.kind === "file" && offset >= 0) members.set(path, { offset, size: entry.size });
    if (entry.kind === "link") members.set(path, { target: cleanPath(entry.target ?? entry.path, where) });
    if (entry.kind === "symlink") members.set(path, { target: posix.join(posix.dirname(path), entry.target ?? "") });
    return false;
  };
  const reader = new TarReader(basename(where), { entry: add, data: () => {}, end: () => {} });
  const task = context.progress.task(`read ${where}`, `read ${basename(where)}`, size);
  for await (const chunk of readRange(handle, 0, size, where)) {
    throwIfAborted(context.signal);
    reader.write(chunk);
    task.advance(chunk.length);
  }
  reader.end(false);
  task.done();
  return members;
}

/** Opens an image of an OCI layout in an archive, as `skopeo copy … oci-archive:FILE` makes it. */
export async function openOciArchive(
  file: string,
  reference: string | undefined,
  context: OpenContext,
): Promise<SourceImage> {
  const archive = await openArchive(file, context);
  const files: LayoutFiles = {
    where: file,
    name: basename(file).replace(/\.(tar|oci|tar\.[a-z0-9]+)$/, ""),
    read: (path, limit) => archive.read(path, limit),
    open: (path) => archive.open(path),
    close: () => archive.close(),
  };
  try {
    return await openLayoutFiles(files, reference, context);
  } catch (error) {
    await archive.close();
    throw error;
  }
}
