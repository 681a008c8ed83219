/** Writes tar entries: plain ustar where everything fits, a PAX header before it where not. */
import { type ByteString, toBytes } from "../base/bytes.ts";
import { formatPaxRecord } from "./pax.ts";
import { BLOCK } from "./tar-header.ts";
import type { ArchiveFormat, Entry, EntryKind } from "./types.ts";

const types: Record<EntryKind, string> = {
  file: "0",
  link: "1",
  symlink: "2",
  character: "3",
  block: "4",
  directory: "5",
  fifo: "6",
};

const ZEROS = Buffer.alloc(BLOCK);

/** The two blocks that end an archive. */
export const END_OF_ARCHIVE = Buffer.alloc(2 * BLOCK);

/** The zero bytes after `size` bytes of content; undefined where none are needed. */
export const paddingAfter = (size: number): Buffer | undefined =>
  size % BLOCK === 0 ? undefined : ZEROS.subarray(size % BLOCK);

/**
 * The header of an entry, with a PAX header before it where ustar cannot say everything. `type`: the typeflag, for
 * records of other kinds.
 */
export function encodeEntry(entry: Entry, type = types[entry.kind]): Buffer {
  const name = (entry.kind === "directory" ? `${entry.path}/` : entry.path) as ByteString;
  const records: Buffer[] = [];
  const add = (key: string, value: Buffer | string) =>
    records.push(formatPaxRecord(key as ByteString, typeof value === "string" ? Buffer.from(value) : value));

  const split = splitName(name);
  if (split === undefined) add("path", toBytes(name));
  const target = entry.target ?? ("" as ByteString);
  if (target.length > 100) add("linkpath", toBytes(target));
  if (entry.size > 0o77777777777) add("size", String(entry.size));
  if (entry.uid > 0o7777777) add("uid", String(entry.uid));
  if (entry.gid > 0o7777777) add("gid", String(entry.gid));
  if (entry.nanoseconds || entry.mtime < 0 || entry.mtime > 0o77777777777) add("mtime", formatTime(entry));
  for (const [key, value] of entry.xattrs ?? []) add(`SCHILY.xattr.${key}`, value);

  const [prefix, base] = split ?? ["", name.slice(0, 100)];
  const header = encodeBlock(entry, base as ByteString, prefix as ByteString, type);
  if (records.length === 0) return header;
  const body = Buffer.concat(records);
  const paxEntry: Entry = { path: entry.path, kind: "file", mode: 0o644, uid: 0, gid: 0, size: body.length, mtime: 0 };
  const paxHeader = encodeBlock(paxEntry, "PaxHeaders/entry" as ByteString, "" as ByteString, "x");
  return Buffer.concat([paxHeader, body, paddingAfter(body.length) ?? Buffer.alloc(0), header]);
}

/** Prefix and name of ustar's two fields; undefined where the name does not fit. */
function splitName(name: ByteString): [string, string] | undefined {
  if (name.length <= 100) return ["", name];
  if (name.length > 256) return undefined;
  // The slash between the two is not stored; a directory's trailing one has to stay with the name.
  const slash = name.lastIndexOf("/", Math.min(155, name.length - 2));
  if (slash <= 0 || name.length - slash - 1 > 100) return undefined;
  return [name.slice(0, slash), name.slice(slash + 1)];
}

function formatTime(entry: Entry): string {
  const nanoseconds = entry.nanoseconds ?? 0;
  const fraction = (value: number) => String(value).padStart(9, "0").replace(/0+$/, "");
  if (nanoseconds === 0) return String(entry.mtime);
  if (entry.mtime >= 0) return `${entry.mtime}.${fraction(nanoseconds)}`;
  return `-${-entry.mtime - 1}.${fraction(1_000_000_000 - nanoseconds)}`;
}

/** Blocks are cut from slabs: an allocation for each would cost more than what is written into it. */
const SLAB = 128 * BLOCK;
let slab = Buffer.alloc(SLAB);
let slabAt = 0;

function newBlock(): Buffer {
  if (slabAt === SLAB) {
    slab = Buffer.alloc(SLAB);
    slabAt = 0;
  }
  slabAt += BLOCK;
  return slab.subarray(slabAt - BLOCK, slabAt);
}

function encodeBlock(entry: Entry, name: ByteString, prefix: ByteString, type: string): Buffer {
  const block = newBlock();
  // The checksum counts its own field as blanks.
  let sum = 8 * 0x20;
  const text = (value: string, at: number, length: number) => {
    const end = Math.min(value.length, length);
    for (let i = 0; i < end; i++) {
      const byte = value.charCodeAt(i);
      block[at + i] = byte;
      sum += byte;
    }
  };
  const octal = (value: number, at: number, length: number) => {
    // What does not fit is in the PAX header, which wins.
    let rest = value >= 0 && value < 8 ** (length - 1) ? value : 0;
    for (let i = at + length - 2; i >= at; i--) {
      const digit = 0x30 + (rest % 8);
      block[i] = digit;
      sum += digit;
      rest = Math.floor(rest / 8);
    }
  };
  text(name, 0, 100);
  octal(entry.mode, 100, 8);
  octal(entry.uid, 108, 8);
  octal(entry.gid, 116, 8);
  octal(entry.size, 124, 12);
  octal(entry.mtime, 136, 12);
  text(type, 156, 1);
  text(entry.target ?? "", 157, 100);
  text("ustar\0" + "00", 257, 8);
  octal(entry.major ?? 0, 329, 8);
  octal(entry.minor ?? 0, 337, 8);
  text(prefix, 345, 155);
  const checksum = sum;
  octal(checksum, 148, 7);
  block[155] = 0x20;
  return block;
}

export const tarFormat: ArchiveFormat = { encode: encodeEntry, padding: paddingAfter, end: () => END_OF_ARCHIVE };
