/** PAX extended headers (POSIX.1-2017, pax, "pax Interchange Format"): records `LENGTH KEY=VALUE\n`, all bytes. */
import { type ByteString, fromBytes } from "../base/bytes.ts";

export type PaxRecords = Map<ByteString, Buffer>;

const SPACE = 0x20;
const EQUALS = 0x3d;
const NEWLINE = 0x0a;

/** The records of a PAX header's body. Throws an Error (lower case) that says what is wrong with it. */
export function parsePax(body: Buffer): PaxRecords {
  const records: PaxRecords = new Map();
  let at = 0;
  while (at < body.length) {
    // GNU tar pads nothing, some writers end with NUL bytes inside the announced size.
    if (body[at] === 0 && body.subarray(at).every((byte) => byte === 0)) break;
    const space = body.indexOf(SPACE, at);
    const digits = space < 0 ? "" : fromBytes(body, at, space);
    if (!/^[1-9][0-9]{0,9}$/.test(digits)) throw new Error("a PAX record without length");
    const end = at + Number(digits);
    const equals = body.indexOf(EQUALS, space);
    if (end > body.length || equals < 0 || equals >= end - 1 || equals === space + 1 || body[end - 1] !== NEWLINE) {
      throw new Error("a PAX record with a wrong length");
    }
    addRecord(records, fromBytes(body, space + 1, equals), body.subarray(equals + 1, end - 1));
    at = end;
  }
  return records;
}

const OFFSET = "GNU.sparse.offset";
const LENGTH = "GNU.sparse.numbytes";
const MAP = "GNU.sparse.map" as ByteString;

/**
 * Later records win, but for the keys that GNU's sparse version 0.0 repeats: an offset and a length for each segment.
 * They become the map of version 0.1, which says the same in one record.
 */
function addRecord(records: PaxRecords, key: ByteString, value: Buffer): void {
  if (key !== OFFSET && key !== LENGTH) {
    records.set(key, value);
    return;
  }
  const map = records.get(MAP);
  records.set(MAP, map === undefined ? value : Buffer.concat([map, Buffer.from(","), value]));
}

/** One record in the form of the file. The length counts itself. */
export function formatPaxRecord(key: ByteString, value: Buffer): Buffer {
  const rest = key.length + value.length + 3;
  let length = rest + 1;
  while (rest + String(length).length !== length) length = rest + String(length).length;
  return Buffer.concat([Buffer.from(`${length} ${key}=`, "latin1"), value, Buffer.from("\n")]);
}
