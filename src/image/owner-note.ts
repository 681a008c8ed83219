/**
 * The note of an owner that an ordinary user could not give a file: the attribute `user.rootlesscontainers`, whose value
 * is rootlesscontaine.rs' protobuf `message Resource { uint32 uid = 1; uint32 gid = 2; }`.
 */
import type { ByteString } from "../base/bytes.ts";

export const OWNER_NOTE = "user.rootlesscontainers" as ByteString;

/** Says that an id is the caller's own, where the other one is not: rootlesscontaine.rs' NoopID. */
const OWN_ID = 0xffffffff;

/** The value of the note. */
export function ownerNote(uid: number, gid: number): Buffer {
  const bytes: number[] = [];
  const field = (tag: number, value: number) => {
    bytes.push(tag);
    let rest = value === 0 ? OWN_ID : value;
    for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
    bytes.push(rest);
  };
  field(0x08, uid);
  field(0x10, gid);
  return Buffer.from(bytes);
}

/** The owner that a note tells of; undefined for what is no such note. */
export function readOwnerNote(note: Buffer): { uid: number; gid: number } | undefined {
  const owner = { uid: 0, gid: 0 };
  for (let at = 0; at < note.length; ) {
    const tag = note[at++];
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = note[at++];
      if (byte === undefined || factor > 2 ** 35) return undefined;
      value += (byte & 127) * factor;
      if (byte < 128) break;
    }
    const id = value === OWN_ID ? 0 : value;
    if (id > OWN_ID) return undefined;
    if (tag === 0x08) owner.uid = id;
    else if (tag === 0x10) owner.gid = id;
    else return undefined;
  }
  return owner;
}
