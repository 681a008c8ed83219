/**
 * Sparse files of tar archives: GNU's old form and the PAX forms 0.0, 0.1 and 1.0 (GNU tar's manual, "Storing Sparse
 * Files"; tar(5) of FreeBSD). An archive stores the segments that hold data; the file that comes out has zeros between.
 */

import type { ByteString } from "../base/bytes.ts";
import { escapeText } from "../base/text.ts";
import type { PaxRecords } from "./pax.ts";

/** A piece of the file that holds data. */
export interface Segment {
  offset: number;
  bytes: number;
}

/** How a sparse file is stored. */
export interface Sparse {
  /** Undefined for PAX 1.0: there the map comes before the data, as text in whole blocks. */
  map: Segment[] | undefined;
  /** Bytes of the file as it comes out. */
  size: number;
}

/** Segments of one file: GNU tar writes one for each hole, and files of a million holes are no accident. */
const MAXIMAL_SEGMENTS = 1 << 20;
const BLOCK = 512;

/** Throws an Error (lower case) unless the map is in order, within the file, and of as many bytes as are stored. */
export function checkMap(map: readonly Segment[], size: number, stored: number): void {
  let end = 0;
  let total = 0;
  for (const { offset, bytes } of map) {
    if (offset < end || bytes < 0 || offset + bytes > size) throw new Error("a sparse file with a map that cannot be");
    end = offset + bytes;
    total += bytes;
  }
  if (total !== stored) throw new Error("a sparse file with a map that does not fit what is stored");
}

export function addSegment(map: Segment[], offset: number, bytes: number): void {
  if (map.length >= MAXIMAL_SEGMENTS) throw new Error("a sparse file with too many holes");
  map.push({ offset, bytes });
}

const record = (pax: PaxRecords, key: string): string | undefined => pax.get(key as ByteString)?.toString("latin1");

/** What PAX records say of a sparse file; undefined where they say nothing. Throws an Error (lower case). */
export function sparseOfPax(pax: PaxRecords): Sparse | undefined {
  const map = record(pax, "GNU.sparse.map");
  const major = record(pax, "GNU.sparse.major") ?? "0";
  const size = record(pax, "GNU.sparse.realsize") ?? record(pax, "GNU.sparse.size");
  if (map === undefined && size === undefined && major === "0") return undefined;
  if (size === undefined) throw new Error("a sparse file without its size");
  if (major === "1" && record(pax, "GNU.sparse.minor") === "0") return { map: undefined, size: decimal(size) };
  if (major !== "0") throw new Error(`a sparse file of the unknown version "${escapeText(major.slice(0, 20))}"`);
  const numbers = map === undefined || map === "" ? [] : map.split(",", 2 * MAXIMAL_SEGMENTS + 2).map(decimal);
  if (numbers.length % 2 !== 0) throw new Error("a sparse file with a map that cannot be");
  const segments: Segment[] = [];
  for (let i = 0; i < numbers.length; i += 2) addSegment(segments, numbers[i] as number, numbers[i + 1] as number);
  return { map: segments, size: decimal(size) };
}

function decimal(text: string): number {
  const value = Number(text);
  if (!/^[0-9]{1,16}$/.test(text) || !Number.isSafeInteger(value)) {
    throw new Error("a sparse file with a number that cannot be");
  }
  return value;
}

const ZEROS = Buffer.alloc(1 << 20);

/** Takes what an archive stores of a sparse file, and passes on the whole file. */
export class Expander {
  readonly #size: number;
  readonly #pass: (slice: Buffer) => void;
  /** Bytes of data that the archive stores: what is left of its own bytes once a PAX 1.0 map was read. */
  #stored: number;
  #map: Segment[] | undefined;
  #text: MapText | undefined;
  #written = 0;
  #index = 0;
  #inSegment = 0;

  constructor(sparse: Sparse, stored: number, pass: (slice: Buffer) => void) {
    this.#size = sparse.size;
    this.#stored = stored;
    this.#pass = pass;
    this.#map = sparse.map;
    if (sparse.map === undefined) this.#text = new MapText();
    else checkMap(sparse.map, sparse.size, stored);
  }

  /** Takes stored bytes. Throws an Error (lower case) where a map is wrong. */
  write(slice: Buffer): void {
    const rest = this.#text === undefined ? slice : this.#readMap(this.#text, slice);
    for (let at = 0; at < rest.length; ) {
      const segment = this.#map?.[this.#index];
      if (segment === undefined) throw new Error("a sparse file with more data than its map says");
      this.#zerosUntil(segment.offset + this.#inSegment);
      const length = Math.min(segment.bytes - this.#inSegment, rest.length - at);
      if (length > 0) this.#pass(rest.subarray(at, at + length));
      at += length;
      this.#written += length;
      this.#inSegment += length;
      if (this.#inSegment === segment.bytes) {
        this.#index++;
        this.#inSegment = 0;
      }
    }
  }

  /** All that is stored was given: passes on the last hole. */
  end(): void {
    if (this.#map === undefined) throw new Error("a sparse file that ends within its map");
    this.#zerosUntil(this.#size);
  }

  #readMap(text: MapText, slice: Buffer): Buffer {
    const used = text.write(slice);
    if (text.map !== undefined) {
      this.#stored -= text.length;
      checkMap(text.map, this.#size, this.#stored);
      this.#map = text.map;
      this.#text = undefined;
    }
    return slice.subarray(used);
  }

  #zerosUntil(offset: number): void {
    while (this.#written < offset) {
      const length = Math.min(offset - this.#written, ZEROS.length);
      this.#pass(ZEROS.subarray(0, length));
      this.#written += length;
    }
  }
}

/** PAX 1.0's map: the number of segments, then offset and length of each, a decimal number a line, in whole blocks. */
class MapText {
  /** The map, once it was read to the end of its last block. */
  map: Segment[] | undefined;
  /** Bytes that were taken. */
  length = 0;
  #digits = "";
  #count: number | undefined;
  #offset: number | undefined;
  readonly #segments: Segment[] = [];

  /** Takes bytes up to the end of the map; returns how many. */
  write(slice: Buffer): number {
    for (let at = 0; at < slice.length; at++) {
      if (this.#segments.length !== this.#count) this.#byte(slice[at] as number);
      this.length++;
      if (this.#segments.length === this.#count && this.length % BLOCK === 0) {
        this.map = this.#segments;
        return at + 1;
      }
    }
    return slice.length;
  }

  #byte(byte: number): void {
    if (byte !== 0x0a) {
      this.#digits += String.fromCharCode(byte);
      if (this.#digits.length > 16) throw new Error("a sparse file with a number that cannot be");
      return;
    }
    const value = decimal(this.#digits);
    this.#digits = "";
    if (this.#count === undefined) {
      if (value > MAXIMAL_SEGMENTS) throw new Error("a sparse file with too many holes");
      this.#count = value;
    } else if (this.#offset === undefined) this.#offset = value;
    else {
      this.#segments.push({ offset: this.#offset, bytes: value });
      this.#offset = undefined;
    }
  }
}
