/** The 512 bytes of a tar header: what they say, alone and together with extended headers. */
import { type ByteString, fromBytes } from "../base/bytes.ts";
import { escapeText } from "../base/text.ts";
import type { PaxRecords } from "./pax.ts";
import { addSegment, type Segment, type Sparse, sparseOfPax } from "./sparse.ts";
import type { Entry, EntryKind } from "./types.ts";

export const BLOCK = 512;
const ZERO_BLOCK = Buffer.alloc(BLOCK);

/** The fields of one header block. */
export interface Header {
  name: ByteString;
  mode: number;
  uid: number;
  gid: number;
  size: number;
  mtime: number;
  type: string;
  target: ByteString;
  major: number;
  minor: number;
  /** Of GNU's old sparse files: the first segments, and whether blocks with more of them follow. */
  sparse?: Sparse & { map: Segment[]; extended: boolean };
}

/** GNU's long name and long link target, from the entries that precede. */
export interface LongNames {
  name?: ByteString;
  target?: ByteString;
}

export const isZeroBlock = (block: Buffer, at: number): boolean =>
  block[at] === 0 && block.compare(ZERO_BLOCK, 0, BLOCK, at, at + BLOCK) === 0;

/** Decodes the block at `at`. Throws an Error (lower case) that says what is wrong with it. */
export function decodeHeader(block: Buffer, at: number): Header {
  checkSum(block, at);
  const magic = fromBytes(block, at + 257, at + 263);
  const device = magic.startsWith("ustar");
  const name = text(block, at, 100);
  // Only POSIX's own format has a prefix; GNU's ("ustar ") keeps other things there.
  const prefix = magic === "ustar\0" ? text(block, at + 345, 155) : "";
  const type = String.fromCharCode(block[at + 156] ?? 0);
  return {
    ...(type === "S" ? { sparse: decodeSparse(block, at) } : {}),
    name: (prefix === "" ? name : `${prefix}/${name}`) as ByteString,
    mode: number(block, at + 100, 8, "mode") & 0o7777,
    uid: number(block, at + 108, 8, "owner"),
    gid: number(block, at + 116, 8, "group"),
    size: number(block, at + 124, 12, "size"),
    mtime: number(block, at + 136, 12, "time"),
    type,
    target: text(block, at + 157, 100),
    major: device ? number(block, at + 329, 8, "device number") : 0,
    minor: device ? number(block, at + 337, 8, "device number") : 0,
  };
}

/** GNU's old header of sparse files keeps four segments, and the real size: tar(5) of FreeBSD, "GNU Tar Archives". */
function decodeSparse(block: Buffer, at: number): Sparse & { map: Segment[]; extended: boolean } {
  if (!fromBytes(block, at + 257, at + 265).startsWith("ustar  ")) {
    throw new Error("a sparse file in a form other than GNU's, which is not supported");
  }
  const map: Segment[] = [];
  decodeSegments(block, at + 386, 4, map);
  return { map, size: number(block, at + 483, 12, "size"), extended: block[at + 482] !== 0 };
}

/** Adds the segments of a block that extends a sparse header. True when another one follows. */
export function extendSparse(block: Buffer, at: number, map: Segment[]): boolean {
  decodeSegments(block, at, 21, map);
  return block[at + 504] !== 0;
}

function decodeSegments(block: Buffer, at: number, count: number, map: Segment[]): void {
  for (let i = 0; i < count; i++) {
    const start = at + i * 24;
    // Unused places are all zero bytes.
    if (block[start] === 0 && block[start + 12] === 0) return;
    addSegment(map, number(block, start, 12, "sparse map"), number(block, start + 12, 12, "sparse map"));
  }
}

function checkSum(block: Buffer, at: number): void {
  let sum = 8 * 0x20;
  let signed = sum;
  for (let i = 0; i < BLOCK; i++) {
    if (i === 148) i = 156;
    const byte = block[at + i] as number;
    sum += byte;
    signed += byte > 127 ? byte - 256 : byte;
  }
  const stored = number(block, at + 148, 8, "checksum");
  // Some old writers added up signed bytes.
  if (stored !== sum && stored !== signed) throw new Error("a header has a wrong checksum");
}

function text(block: Buffer, start: number, length: number): ByteString {
  let end = start;
  while (end < start + length && block[end] !== 0) end++;
  return fromBytes(block, start, end);
}

/** Octal digits between blanks, or GNU's base-256: first bit set, then a signed big-endian number. */
function number(block: Buffer, start: number, length: number, what: string): number {
  const first = block[start] as number;
  if (first & 0x80) return base256(block, start, length, what);
  let value = 0;
  let at = start;
  const end = start + length;
  while (at < end && block[at] === 0x20) at++;
  for (; at < end; at++) {
    const byte = block[at] as number;
    if (byte === 0 || byte === 0x20) break;
    if (byte < 0x30 || byte > 0x37) throw new Error(`a header has a ${what} that is not octal`);
    value = value * 8 + byte - 0x30;
  }
  return value;
}

function base256(block: Buffer, start: number, length: number, what: string): number {
  const negative = ((block[start] as number) & 0x40) !== 0;
  let value = negative ? BigInt((block[start] as number) - 256) : BigInt((block[start] as number) & 0x7f);
  for (let i = 1; i < length; i++) value = value * 256n + BigInt(block[start + i] as number);
  const result = Number(value);
  if (!Number.isSafeInteger(result)) throw new Error(`a header has a ${what} that is too large`);
  return result;
}

const kinds: Record<string, EntryKind> = {
  "0": "file",
  "\0": "file",
  "7": "file",
  S: "file",
  "1": "link",
  "2": "symlink",
  "3": "character",
  "4": "block",
  "5": "directory",
  "6": "fifo",
};

/** What a header stands for. */
export interface Described {
  entry: Entry | undefined;
  /** Bytes of content in the archive. */
  storedSize: number;
  /** How they make a file that has holes. */
  sparse?: Sparse;
}

/**
 * The entry that a header describes together with the PAX records and long names before it, and how many bytes of
 * content follow. No entry for a volume label, which names nothing. Throws an Error (lower case).
 */
export function headerToEntry(header: Header, pax: PaxRecords, long: LongNames): Described {
  if (header.type === "V") return { entry: undefined, storedSize: 0 };
  const sparse = header.sparse ?? (pax.size === 0 ? undefined : sparseOfPax(pax));
  // The name in the header of a PAX sparse file is for readers that do not know the form.
  const given = sparse === undefined ? undefined : paxText(pax, "GNU.sparse.name");
  const path = given ?? paxText(pax, "path") ?? long.name ?? header.name;
  let kind = kinds[header.type];
  if (kind === undefined) throw new Error(`an entry of the unknown type "${escapeText(header.type)}"`);
  // Before POSIX a directory was a file whose name ends with a slash.
  if (kind === "file" && header.type === "\0" && path.endsWith("/")) kind = "directory";
  const size = paxNumber(pax, "size") ?? header.size;
  if (size < 0) throw new Error("an entry has a negative size");
  const entry: Entry = {
    path,
    kind,
    mode: header.mode,
    uid: identity(paxNumber(pax, "uid") ?? header.uid),
    gid: identity(paxNumber(pax, "gid") ?? header.gid),
    // Only files have content: for all other kinds the common writers store none, whatever the field says.
    size: kind === "file" ? size : 0,
    mtime: header.mtime,
  };
  readTime(pax, entry);
  if (kind === "symlink" || kind === "link") entry.target = paxText(pax, "linkpath") ?? long.target ?? header.target;
  if (kind === "character" || kind === "block") Object.assign(entry, deviceOf(header));
  const xattrs = readXattrs(pax);
  if (xattrs !== undefined) entry.xattrs = xattrs;
  if (sparse === undefined || kind !== "file") return { entry, storedSize: entry.size };
  entry.size = sparse.size;
  return { entry, storedSize: size, sparse };
}

/** Of other numbers mknod(2) takes the low bits: a device 4096/0 would become 0/0, which overlayfs reads as a whiteout. */
function deviceOf({ major, minor }: Header): { major: number; minor: number } {
  const valid = major >= 0 && major < 1 << 12 && minor >= 0 && minor < 1 << 20;
  if (!valid) throw new Error(`a device number that does not exist: ${major}/${minor}`);
  return { major, minor };
}

function identity(id: number): number {
  // 2^32 - 1 means "unchanged" to chown(2).
  if (id < 0 || id > 0xfffffffe) throw new Error(`an owner or group that does not exist: ${id}`);
  return id;
}

const paxText = (pax: PaxRecords, key: string): ByteString | undefined => {
  const value = pax.get(key as ByteString);
  if (value === undefined) return undefined;
  if (value.includes(0)) throw new Error(`the PAX record ${key} holds a NUL byte`);
  return fromBytes(value);
};

const paxNumber = (pax: PaxRecords, key: string): number | undefined => {
  const value = pax.get(key as ByteString);
  if (value === undefined) return undefined;
  const digits = fromBytes(value);
  if (!/^[0-9]{1,16}$/.test(digits) || !Number.isSafeInteger(Number(digits))) {
    throw new Error(`the PAX record ${key} is not a number that can be`);
  }
  return Number(digits);
};

/** `mtime` of a PAX header: decimal seconds, possibly negative and with a fraction. */
function readTime(pax: PaxRecords, entry: Entry): void {
  const value = pax.get("mtime" as ByteString)?.toString("latin1");
  if (value === undefined) return;
  const match = /^(-?)([0-9]{1,15})(?:\.([0-9]*))?$/.exec(value);
  if (match === null) throw new Error("the PAX record mtime is not a time");
  const seconds = Number(match[2]);
  const nanoseconds = Number((match[3] ?? "").slice(0, 9).padEnd(9, "0"));
  const negative = match[1] === "-";
  entry.mtime = negative ? (nanoseconds > 0 ? -seconds - 1 : 0 - seconds) : seconds;
  if (nanoseconds > 0) entry.nanoseconds = negative ? 1_000_000_000 - nanoseconds : nanoseconds;
}

const XATTR = "SCHILY.xattr.";
const LIBARCHIVE = "LIBARCHIVE.xattr.";

function readXattrs(pax: PaxRecords): Map<ByteString, Buffer> | undefined {
  let xattrs: Map<ByteString, Buffer> | undefined;
  for (const [key, value] of pax) {
    if (key.startsWith(XATTR)) {
      xattrs ??= new Map();
      // A copy: the record is a view of a chunk that would be kept alive.
      xattrs.set(key.slice(XATTR.length) as ByteString, Buffer.from(value));
    } else if (key.startsWith(LIBARCHIVE)) {
      // bsdtar writes each attribute in both forms, unless told otherwise: names percent-encoded, values in base64.
      const name = percentDecoded(key.slice(LIBARCHIVE.length));
      if (pax.has(`${XATTR}${name}` as ByteString)) continue;
      xattrs ??= new Map();
      xattrs.set(name, Buffer.from(fromBytes(value), "base64"));
    }
  }
  for (const name of xattrs?.keys() ?? []) {
    // xattr(7): names end with NUL. GNU tar takes such a record for one without a value.
    if (name.includes("\0")) throw new Error("an attribute's name holds a NUL byte");
    if (name === "") throw new Error("an attribute has no name");
  }
  return xattrs;
}

const percentDecoded = (text: string): ByteString =>
  text.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))) as ByteString;
