/**
 * unsquashfs's pseudo files (squashfs-tools 4.5, README-4.5): a line for each name, then the content of all files, one
 * after the other. Turned into a tar on the way: no name ever touches a disk.
 */
import { type ByteString, fromBytes } from "../../base/bytes.ts";
import { Failure } from "../../base/errors.ts";
import { limits, tooLarge } from "../limits.ts";
import { RESERVED } from "../names.ts";
import { END_OF_ARCHIVE, encodeEntry, paddingAfter } from "../tar-write.ts";
import type { Entry, EntryKind } from "../types.ts";

const NEWLINE = 0x0a;

/** The tar of what a pseudo file describes. Throws E_LAYER for what is none. */
export async function* pseudoToTar(chunks: AsyncIterable<Buffer>, where: string): AsyncGenerator<Buffer> {
  const input = new Input(chunks, where);
  /** Files in the order of their content, which is that of their lines. */
  const entries: Entry[] = [];
  for (let line = await input.line(); line !== "# START OF DATA - DO NOT MODIFY"; line = await input.line()) {
    const entry = line.startsWith("#") ? undefined : parseLine(line, where);
    if (entry !== undefined) entries.push(entry);
  }
  await input.line();
  for (const entry of entries) {
    if (entry.kind === "link") continue;
    if (isReserved(entry.path)) {
      for await (const _ of input.content(entry.size));
      continue;
    }
    yield encodeEntry(entry);
    yield* input.content(entry.size);
    const padding = paddingAfter(entry.size);
    if (padding !== undefined) yield padding;
  }
  // A link may be listed before its file.
  for (const entry of entries) if (entry.kind === "link") yield encodeEntry(entry);
  yield END_OF_ARCHIVE;
  await input.end();
}

/** The configuration that rootling added is no part of the tree. */
const isReserved = (path: ByteString): boolean => path === RESERVED || path.startsWith(`${RESERVED}/`);

const kinds: Record<string, EntryKind> = { D: "directory", R: "file", S: "symlink", C: "character", B: "block" };

/** `NAME TYPE TIME MODE UID GID …`, in which a backslash stands before blanks and the like in NAME. */
function parseLine(line: string, where: string): Entry | undefined {
  const [, escaped = "", type = "", rest = ""] = /^((?:[^\\ ]|\\.)+) ([A-Za-z]) (.*)$/s.exec(line) ?? [];
  const path = unescaped(escaped);
  if (type === "L") {
    const target = unescaped(rest);
    return { path, kind: "link", mode: 0o644, uid: 0, gid: 0, size: 0, mtime: 0, target };
  }
  const [, time, mode = "", uid, gid, detail = ""] = /^(\d+) ([0-7]+) (\d+) (\d+) ?(.*)$/s.exec(rest) ?? [];
  if (time === undefined) throw malformed(where);
  // Type I is a FIFO or a socket. Sockets are of no use without whoever made them, and no tar holds any.
  if (type === "I" && detail === "s") return undefined;
  const kind = type === "I" ? "fifo" : kinds[type];
  if (kind === undefined) throw malformed(where);
  const entry: Entry = {
    path: path === "/" ? ("./" as ByteString) : path,
    kind,
    mode: Number.parseInt(mode, 8) & 0o7777,
    uid: Number(uid),
    gid: Number(gid),
    size: kind === "file" ? Number(detail.split(" ")[0]) : 0,
    mtime: Number(time),
  };
  if (!Number.isSafeInteger(entry.size)) throw malformed(where);
  if (kind === "symlink") entry.target = detail as ByteString;
  if (kind === "character" || kind === "block") {
    const [major, minor] = detail.split(" ").map(Number);
    Object.assign(entry, { major, minor });
  }
  return entry;
}

const unescaped = (text: string): ByteString => text.replace(/\\(.)/gs, "$1") as ByteString;

const malformed = (where: string): Failure =>
  new Failure("E_LAYER", "unsquashfs lists a name that cannot be understood, such as one with a line end in it", {
    where,
    mend: "import it as root, who unpacks it instead",
  });

/** Lines, then counted bytes, of a stream. */
class Input {
  readonly #iterator: AsyncIterator<Buffer>;
  readonly #where: string;
  #rest: Buffer = Buffer.alloc(0);

  constructor(chunks: AsyncIterable<Buffer>, where: string) {
    this.#iterator = chunks[Symbol.asyncIterator]();
    this.#where = where;
  }

  async line(): Promise<ByteString> {
    let text = "";
    for (;;) {
      const end = this.#rest.indexOf(NEWLINE);
      text += fromBytes(this.#rest, 0, end < 0 ? this.#rest.length : end);
      if (text.length > 4 * limits.nameBytes) throw tooLarge("a name that is too long", this.#where);
      if (end >= 0) {
        this.#rest = this.#rest.subarray(end + 1);
        return text as ByteString;
      }
      await this.#next();
    }
  }

  async *content(size: number): AsyncGenerator<Buffer> {
    for (let left = size; left > 0; ) {
      if (this.#rest.length === 0) await this.#next();
      const slice = this.#rest.subarray(0, left);
      this.#rest = this.#rest.subarray(slice.length);
      left -= slice.length;
      yield slice;
    }
  }

  /** Waits for the good end of whoever writes. */
  async end(): Promise<void> {
    if (this.#rest.length > 0 || !(await this.#iterator.next()).done) throw malformed(this.#where);
  }

  async #next(): Promise<void> {
    const next = await this.#iterator.next();
    if (next.done) throw new Failure("E_LAYER", "the squashfs file is damaged or cut", { where: this.#where });
    this.#rest = next.value;
  }
}
