/**
 * Reads tar archives as they arrive, a chunk at a time, without copying content: ustar (POSIX.1-2017, pax), PAX,
 * GNU's long names and base-256 numbers (tar(5) of FreeBSD), and sparse files, which come out whole. Everything that is not understood is an error:
 * better no tree than a wrong one.
 */
import { fromBytes } from "../base/bytes.ts";
import { Failure } from "../base/errors.ts";
import { limits, tooLarge } from "./limits.ts";
import { type PaxRecords, parsePax } from "./pax.ts";
import { Expander, type Sparse } from "./sparse.ts";
import {
  BLOCK,
  decodeHeader,
  extendSparse,
  type Header,
  headerToEntry,
  isZeroBlock,
  type LongNames,
} from "./tar-header.ts";
import type { Entry } from "./types.ts";

/** Gets what an archive holds, in its order. */
export interface TarHandler {
  /**
   * An entry whose `path` (and `target` of a hard link) are as the archive spells them. True asks for its content.
   * `offset` is where in the archive its content begins; -1 for a sparse file, which is not stored as it is.
   */
  entry(entry: Entry, offset: number): boolean;
  /** A piece of the content that was asked for: a view of the chunk, valid for good. */
  data(slice: Buffer): void;
  /** The content that was asked for is complete; called for empty content too. */
  end(): void;
}

type State = "header" | "segments" | "content" | "extension" | "padding" | "ended";

export class TarReader {
  readonly #label: string;
  readonly #handler: TarHandler;
  #state: State = "header";
  /** Bytes of the archive before the chunk that is read. */
  #offset = 0;
  readonly #partial = Buffer.alloc(BLOCK);
  #partialLength = 0;
  /** Where in the archive the block that is looked at ends. */
  #contentAt = 0;
  #remaining = 0;
  #padding = 0;
  #wanted = false;
  #zeroBlocks = 0;
  #extension: { type: string; parts: Buffer[] } | undefined;
  #global: PaxRecords = new Map();
  #local: PaxRecords | undefined;
  #long: LongNames = {};
  /** A header of GNU's old sparse form whose further blocks are read. */
  #unfinished: Header | undefined;
  #expander: Expander | undefined;
  #holes = 0;
  /** Bytes of the attributes of all entries. */
  #attributes = 0;

  constructor(label: string, handler: TarHandler) {
    this.#label = label;
    this.#handler = handler;
  }

  /** Takes the next chunk. Throws E_LAYER or E_LIMIT with the offset. */
  write(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length && this.#state !== "ended") {
      if (this.#state === "header" || this.#state === "segments") at = this.#readHeader(chunk, at);
      else if (this.#state === "padding") at = this.#skipPadding(chunk, at);
      else at = this.#readBody(chunk, at);
    }
    this.#offset += chunk.length;
  }

  /**
   * The archive is over. Throws E_LAYER when it was cut: within an entry, or, with `strict`, before the two zero
   * blocks. Archives whose digest is known may lack these, as some writers forget them.
   */
  end(strict: boolean): void {
    const between = this.#state === "ended" || (this.#state === "header" && this.#partialLength === 0);
    if (!between || this.#local !== undefined) throw this.#failure("the archive ends in the middle of an entry", 0);
    if (strict && this.#state !== "ended") throw this.#failure("the archive ends without its end mark", 0);
  }

  #readHeader(chunk: Buffer, start: number): number {
    if (this.#partialLength === 0 && chunk.length - start >= BLOCK) {
      this.#contentAt = this.#offset + start + BLOCK;
      this.#block(chunk, start);
      return start + BLOCK;
    }
    const end = Math.min(chunk.length, start + BLOCK - this.#partialLength);
    chunk.copy(this.#partial, this.#partialLength, start, end);
    this.#partialLength += end - start;
    if (this.#partialLength === BLOCK) {
      this.#partialLength = 0;
      this.#contentAt = this.#offset + end;
      this.#block(this.#partial, 0);
    }
    return end;
  }

  #block(block: Buffer, at: number): void {
    if (this.#unfinished === undefined) this.#header(block, at);
    else this.#moreSegments(this.#unfinished, block, at);
  }

  #moreSegments(header: Header, block: Buffer, at: number): void {
    const more = this.#attempt(at, () => extendSparse(block, at, header.sparse?.map ?? []));
    if (more) return;
    this.#unfinished = undefined;
    this.#beginEntry(header, at);
  }

  #header(block: Buffer, at: number): void {
    if (isZeroBlock(block, at)) {
      if (++this.#zeroBlocks === 2) this.#state = "ended";
      return;
    }
    if (this.#zeroBlocks > 0) throw this.#failure("an entry follows an end mark", at);
    const header = this.#attempt(at, () => decodeHeader(block, at));
    if ("xgXLK".includes(header.type)) this.#beginExtension(header, at);
    else if (header.sparse?.extended) {
      this.#unfinished = header;
      this.#state = "segments";
    } else this.#beginEntry(header, at);
  }

  #beginExtension(header: Header, at: number): void {
    if (header.size < 0) throw this.#failure("a header has a negative size", at);
    const limit = header.type === "L" || header.type === "K" ? limits.nameBytes + 1 : limits.paxBytes;
    if (header.size > limit) {
      throw tooLarge(`a header of ${header.size} bytes where at most ${limit} are allowed`, this.#place(at));
    }
    this.#extension = { type: header.type, parts: [] };
    this.#beginBody(header.size, "extension");
  }

  #beginEntry(header: Header, at: number): void {
    const pax = this.#local ?? this.#global;
    const { entry, storedSize, sparse } = this.#attempt(at, () => headerToEntry(header, pax, this.#long));
    this.#local = undefined;
    this.#long = {};
    this.#extension = undefined;
    if (entry?.xattrs !== undefined) this.#countAttributes(entry, at);
    this.#expander = sparse && this.#attempt(at, () => this.#expand(sparse, storedSize, at));
    this.#wanted = entry !== undefined && this.#handler.entry(entry, sparse === undefined ? this.#contentAt : -1);
    this.#beginBody(storedSize, "content");
  }

  #expand(sparse: Sparse, stored: number, at: number): Expander {
    this.#holes += Math.max(0, sparse.size - stored);
    if (this.#holes > limits.holeBytes) {
      throw tooLarge(`sparse files with ${this.#holes} bytes of holes`, this.#place(at));
    }
    return new Expander(sparse, stored, (slice) => {
      if (this.#wanted) this.#handler.data(slice);
    });
  }

  #beginBody(size: number, state: "content" | "extension"): void {
    this.#state = state;
    this.#remaining = size;
    this.#padding = (BLOCK - (size % BLOCK)) % BLOCK;
    if (size === 0) this.#endBody();
  }

  #readBody(chunk: Buffer, start: number): number {
    const end = Math.min(chunk.length, start + this.#remaining);
    if (this.#extension !== undefined) this.#extension.parts.push(chunk.subarray(start, end));
    else if (this.#expander !== undefined) this.#expandPiece(this.#expander, chunk.subarray(start, end), start);
    else if (this.#wanted) this.#handler.data(chunk.subarray(start, end));
    this.#remaining -= end - start;
    if (this.#remaining === 0) this.#endBody();
    return end;
  }

  #expandPiece(expander: Expander, slice: Buffer, at: number): void {
    this.#attempt(at, () => expander.write(slice));
  }

  #endBody(): void {
    const expander = this.#expander;
    this.#expander = undefined;
    if (expander !== undefined) this.#attempt(0, () => expander.end());
    if (this.#extension !== undefined) this.#endExtension(this.#extension.type, Buffer.concat(this.#extension.parts));
    else if (this.#wanted) this.#handler.end();
    this.#wanted = false;
    this.#state = this.#padding === 0 ? "header" : "padding";
  }

  #endExtension(type: string, body: Buffer): void {
    this.#extension = undefined;
    if (type === "L" || type === "K") {
      const nul = body.indexOf(0);
      const text = fromBytes(body, 0, nul < 0 ? body.length : nul);
      if (type === "L") this.#long.name = text;
      else this.#long.target = text;
      return;
    }
    const records = this.#attempt(0, () => parsePax(body));
    if (type === "g") this.#global = this.#limited(mergeRecords(this.#global, records), limits.globalBytes);
    else this.#local = this.#limited(mergeRecords(this.#local ?? this.#global, records), limits.paxBytes);
  }

  #countAttributes(entry: Entry, at: number): void {
    for (const value of entry.xattrs?.values() ?? []) this.#attributes += value.length;
    if (this.#attributes <= this.#offset + at + limits.sharedAttributeBytes) return;
    throw tooLarge(`attributes of ${this.#attributes} bytes by global headers`, this.#place(at));
  }

  /** Headers add up, and what a global one says counts for every entry. */
  #limited(records: PaxRecords, limit: number): PaxRecords {
    let size = 0;
    for (const [key, value] of records) size += key.length + value.length;
    if (size > limit) throw tooLarge(`extended headers of ${size} bytes together`, this.#place(0));
    return records;
  }

  #skipPadding(chunk: Buffer, start: number): number {
    const end = Math.min(chunk.length, start + this.#padding);
    this.#padding -= end - start;
    if (this.#padding === 0) this.#state = "header";
    return end;
  }

  #attempt<T>(at: number, decode: () => T): T {
    try {
      return decode();
    } catch (error) {
      if (error instanceof Failure) throw error;
      throw this.#failure((error as Error).message, at);
    }
  }

  #place(at: number): string {
    return `${this.#label}, byte ${this.#offset + at}`;
  }

  #failure(what: string, at: number): Failure {
    return new Failure("E_LAYER", what, {
      where: this.#place(at),
      mend: "the archive is damaged or of a kind that is not supported; make it with GNU tar, bsdtar or an image builder",
    });
  }
}

/** Later records win; an empty value removes the key, as POSIX says. */
function mergeRecords(older: PaxRecords, newer: PaxRecords): PaxRecords {
  const merged = new Map(older);
  for (const [key, value] of newer) {
    if (value.length === 0 && !key.startsWith("SCHILY.xattr.")) merged.delete(key);
    else merged.set(key, value);
  }
  return merged;
}
