/**
 * The listing of a layer: its entries without their content, and which of its files a merged tree has under which
 * name. Kept with a stored image, it lets another image with the same layer take these files from that tree, and
 * spares reading the layer.
 *
 * The form is our own: frames of a length (four bytes, big-endian) and as many bytes of zstd, each of them a JSON array
 * of rows. Byte strings are JSON's strings as they are, values of attributes base64.
 */
import { zstdCompressSync, zstdDecompressSync } from "node:zlib";
import type { ByteString } from "../base/bytes.ts";
import { digestOf } from "./digest.ts";
import type { Digest, Entry, EntryKind } from "./types.ts";

/** An entry as the layer spells it, and what its file is called in the tree; undefined if it is not there. */
export interface Listed {
  readonly entry: Entry;
  readonly name: ByteString | undefined;
}

type Row = [
  name: ByteString | 0 | 1,
  path: ByteString,
  kind: EntryKind,
  mode: number,
  uid: number,
  gid: number,
  size: number,
  mtime: number,
  rest?: { n?: number; t?: ByteString; d?: [number, number]; x?: [ByteString, string][] },
];

/** Rows of a frame: some hundred kilobytes. */
const ROWS = 4096;

/** Collects the listing of a layer while it is merged. */
export class ListingWriter {
  #rows: Row[] = [];
  readonly #frames: Buffer[] = [];

  /** `name`: what the file of this entry is called in the tree. */
  add(entry: Entry, name: ByteString | undefined): void {
    const { path, kind, mode, uid, gid, size, mtime, nanoseconds, target, major, minor, xattrs } = entry;
    const row: Row = [name === undefined ? 0 : name === path ? 1 : name, path, kind, mode, uid, gid, size, mtime];
    if (nanoseconds || target !== undefined || major !== undefined || xattrs !== undefined) {
      row.push({
        ...(nanoseconds ? { n: nanoseconds } : {}),
        ...(target === undefined ? {} : { t: target }),
        ...(major === undefined ? {} : { d: [major, minor ?? 0] }),
        ...(xattrs === undefined ? {} : { x: [...xattrs].map(([key, value]) => [key, value.toString("base64")]) }),
      });
    }
    if (this.#rows.push(row) === ROWS) this.#flush();
  }

  /** The whole listing and its digest. */
  finish(): { bytes: Buffer; digest: Digest } {
    if (this.#rows.length > 0) this.#flush();
    const bytes = Buffer.concat(this.#frames);
    return { bytes, digest: digestOf(bytes) };
  }

  #flush(): void {
    const frame = zstdCompressSync(JSON.stringify(this.#rows));
    const length = Buffer.alloc(4);
    length.writeUInt32BE(frame.length);
    this.#frames.push(length, frame);
    this.#rows = [];
  }
}

/** The entries of a listing whose digest was verified, in the order of the layer. */
export function* readListing(bytes: Buffer): Generator<Listed> {
  for (let at = 0; at < bytes.length; ) {
    const end = at + 4 + bytes.readUInt32BE(at);
    const rows = JSON.parse(zstdDecompressSync(bytes.subarray(at + 4, end)).toString()) as Row[];
    for (const row of rows) yield listedOf(row);
    at = end;
  }
}

function listedOf([name, path, kind, mode, uid, gid, size, mtime, rest]: Row): Listed {
  const entry: Entry = { path, kind, mode, uid, gid, size, mtime };
  if (rest?.n !== undefined) entry.nanoseconds = rest.n;
  if (rest?.t !== undefined) entry.target = rest.t;
  if (rest?.d !== undefined) [entry.major, entry.minor] = rest.d;
  if (rest?.x !== undefined) entry.xattrs = new Map(rest.x.map(([key, value]) => [key, Buffer.from(value, "base64")]));
  return { entry, name: name === 0 ? undefined : name === 1 ? path : name };
}
