/**
 * Writes an initial RAM file system: a cpio archive in the format newc (Linux, Documentation/driver-api/early-userspace/
 * buffer-format.rst). It holds no extended attributes, and times in whole seconds of 32 bits.
 */
import { type ByteString, fromText, toBytes } from "../base/bytes.ts";
import { Failure } from "../base/errors.ts";
import { escapeText } from "../base/text.ts";
import type { ArchiveFormat, Entry, EntryKind } from "./types.ts";

/** stat(2)'s file types. */
const types: Record<Exclude<EntryKind, "link">, number> = {
  file: 0o100000,
  directory: 0o040000,
  symlink: 0o120000,
  character: 0o020000,
  block: 0o060000,
  fifo: 0o010000,
};

const LARGEST = 0xffffffff;

/** One archive: names of the same file are told by its number, and a directory comes before what is in it. */
export class CpioFormat implements ArchiveFormat {
  /** Numbers of files that have been written, for names that come later. */
  readonly #files = new Map<ByteString, { number: number; entry: Entry }>();
  readonly #directories = new Set<ByteString>();
  #number = 0;

  encode(entry: Entry): Buffer {
    const parts = this.#missingParents(entry.path);
    if (entry.kind === "link") parts.push(this.#encodeLink(entry));
    else {
      const number = ++this.#number;
      if (entry.kind === "file") this.#files.set(entry.path, { number, entry });
      if (entry.kind === "directory") this.#directories.add(entry.path);
      parts.push(header(entry, number, types[entry.kind]));
      if (entry.kind === "symlink") parts.push(padded(toBytes(entry.target ?? ("" as ByteString))));
    }
    return Buffer.concat(parts);
  }

  padding(size: number): Buffer | undefined {
    return size % 4 === 0 ? undefined : Buffer.alloc(4 - (size % 4));
  }

  end(): Buffer {
    const last = { path: fromText("TRAILER!!!"), kind: "file", mode: 0, uid: 0, gid: 0, size: 0, mtime: 0 } as const;
    const bytes = header(last, 0, 0);
    // Loaders join archives end to end, each at a multiple of four bytes; 512 is what others write.
    return Buffer.concat([bytes, Buffer.alloc(512 - (bytes.length % 512))]);
  }

  /** The kernel makes nothing below a directory that is not there; its own entry may come later and sets it right. */
  #missingParents(path: ByteString): Buffer[] {
    const parts = path.split("/");
    const made: Buffer[] = [];
    for (let i = 1; i < parts.length; i++) {
      const parent = parts.slice(0, i).join("/") as ByteString;
      if (this.#directories.has(parent)) continue;
      this.#directories.add(parent);
      const entry: Entry = { path: parent, kind: "directory", mode: 0o755, uid: 0, gid: 0, size: 0, mtime: 0 };
      made.push(header(entry, ++this.#number, types.directory));
    }
    return made;
  }

  #encodeLink({ path, target }: Entry): Buffer {
    const found = target === undefined ? undefined : this.#files.get(target);
    if (found === undefined) throw new Failure("E_INTERNAL", `a link without its file: ${escapeText(path)}`);
    return header({ ...found.entry, path, size: 0 }, found.number, types.file);
  }
}

const padded = (bytes: Buffer): Buffer =>
  bytes.length % 4 === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(4 - (bytes.length % 4))]);

function header(entry: Entry, number: number, type: number): Buffer {
  const name = Buffer.concat([toBytes(entry.path), Buffer.alloc(1)]);
  const size = entry.kind === "symlink" ? (entry.target ?? "").length : entry.size;
  if (size > LARGEST) {
    throw new Failure("E_LIMIT", `an initial RAM file system holds no file of ${size} bytes`, {
      where: escapeText(entry.path),
    });
  }
  // Two names of each file: which ones have others is not known yet, and who unpacks only remembers more.
  const links = entry.kind === "file" && type !== 0 ? 2 : 1;
  const device = entry.kind === "character" || entry.kind === "block";
  const time = Math.min(Math.max(entry.mtime, 0), LARGEST);
  const fields = [number, type | entry.mode, entry.uid, entry.gid, links, time, size, 0, 0];
  fields.push(device ? (entry.major ?? 0) : 0, device ? (entry.minor ?? 0) : 0, name.length, 0);
  const hex = fields.map((field) => field.toString(16).toUpperCase().padStart(8, "0")).join("");
  return padded(Buffer.concat([Buffer.from(`070701${hex}`), name]));
}
