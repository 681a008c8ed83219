/** The stream that the executor's ops pack and unpack speak (executor/pack.c), as entries. */
import { type ByteString, fromBytes, toBytes } from "../base/bytes.ts";
import { Failure } from "../base/errors.ts";
import type { TarHandler } from "../image/tar-read.ts";
import type { Entry, EntryKind } from "../image/types.ts";

const KINDS: Readonly<Record<string, EntryKind>> = {
  f: "file",
  d: "directory",
  l: "symlink",
  h: "link",
  c: "character",
  b: "block",
  p: "fifo",
};

const LETTERS = Object.fromEntries(Object.entries(KINDS).map(([letter, kind]) => [kind, letter]));

/** Ends the stream. */
export const END_OF_FRAMES = Buffer.from(".\0");

/** The head of an entry; `size` bytes of content follow it. */
export function encodeFrame(entry: Entry): Buffer {
  const { kind, mode, uid, gid, size, mtime, nanoseconds = 0, major = 0, minor = 0, xattrs = new Map() } = entry;
  const fields = [LETTERS[kind], mode, uid, gid, size, mtime, nanoseconds, major, minor];
  const zero = Buffer.alloc(1);
  return Buffer.concat([
    Buffer.from(`${fields.join("\0")}\0`, "latin1"),
    ...[toBytes(entry.path), zero, toBytes(entry.target ?? ("" as ByteString)), zero],
    Buffer.from(`${xattrs.size}\0`),
    ...[...xattrs].flatMap(([name, value]) => [toBytes(name), Buffer.from(`\0${value.length}\0`), value]),
  ]);
}

/** Fields of a head before its attributes. */
const HEAD = 12;

/** Takes the stream a chunk at a time. `list`: entries have no content. */
export class FrameReader {
  readonly #handler: Pick<TarHandler, "data" | "end"> & { entry(entry: Entry): void };
  readonly #list: boolean;
  #waiting: Buffer = Buffer.alloc(0);
  #content = 0;
  #ended = false;

  constructor(handler: Pick<TarHandler, "data" | "end"> & { entry(entry: Entry): void }, list: boolean) {
    this.#handler = handler;
    this.#list = list;
  }

  /** Throws E_EXECUTOR for what is no such stream. */
  write(chunk: Buffer): void {
    let rest = this.#waiting.length === 0 ? chunk : Buffer.concat([this.#waiting, chunk]);
    for (;;) {
      if (this.#content > 0) {
        const slice = rest.subarray(0, this.#content);
        if (slice.length > 0) this.#handler.data(slice);
        this.#content -= slice.length;
        rest = rest.subarray(slice.length);
        if (this.#content > 0) break;
        this.#handler.end();
      }
      const used = this.#ended ? 0 : this.#head(rest);
      if (used === 0) break;
      rest = rest.subarray(used);
    }
    this.#waiting = rest;
  }

  /** Throws unless the stream came to its end. */
  end(): void {
    if (!this.#ended || this.#waiting.length > 0) {
      throw new Failure("E_EXECUTOR", "the files of the container came only in part", { mend: "try again" });
    }
  }

  /** Reads a head; the bytes it took, 0 if there are not enough yet. */
  #head(bytes: Buffer): number {
    let at = 0;
    const next = (): string | undefined => {
      const end = bytes.indexOf(0, at);
      if (end < 0) return undefined;
      const text = fromBytes(bytes, at, end);
      at = end + 1;
      return text;
    };
    const fields: string[] = [];
    while (fields.length < HEAD) {
      const field = next();
      if (field === undefined) return 0;
      if (field === "." && fields.length === 0) {
        this.#ended = true;
        return at;
      }
      fields.push(field);
    }
    const xattrs = new Map<ByteString, Buffer>();
    for (let count = Number(fields[HEAD - 1]); count > 0; count--) {
      const [name, length] = [next(), next()];
      if (name === undefined || length === undefined || at + Number(length) > bytes.length) return 0;
      xattrs.set(name as ByteString, bytes.subarray(at, at + Number(length)));
      at += Number(length);
    }
    this.#entry(entryOf(fields, xattrs));
    return at;
  }

  #entry(entry: Entry): void {
    this.#content = this.#list ? 0 : entry.size;
    this.#handler.entry(entry);
    if (this.#content === 0) this.#handler.end();
  }
}

function entryOf(fields: readonly string[], xattrs: Map<ByteString, Buffer>): Entry {
  const [mode = 0, uid = 0, gid = 0, size = 0, mtime = 0, nanoseconds = 0, major = 0, minor = 0] = fields
    .slice(1, 9)
    .map(Number);
  const kind = KINDS[fields[0] ?? ""];
  if (kind === undefined || !Number.isSafeInteger(size)) {
    throw new Failure("E_EXECUTOR", "the executor wrote something that is no file", { mend: "please report this" });
  }
  const target = fields[10] as ByteString;
  return {
    path: fields[9] as ByteString,
    ...{ kind, mode, uid, gid, size, mtime, nanoseconds },
    ...(target === "" ? {} : { target }),
    ...(kind === "character" || kind === "block" ? { major, minor } : {}),
    ...(xattrs.size > 0 ? { xattrs } : {}),
  };
}
