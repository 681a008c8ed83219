/** Extended attributes that hold ids: file capabilities, which belong to a root, and access control lists. */
import type { ByteString } from "../base/bytes.ts";

type Attributes = ReadonlyMap<ByteString, Buffer>;

/** What ids become. */
interface Moves {
  uid(id: number): number;
  gid(id: number): number;
}

const CAPABILITIES = "security.capability";
const LISTS: readonly string[] = ["system.posix_acl_access", "system.posix_acl_default"];

/** The attributes with their ids moved; the same ones where nothing changes. Malformed values stay: to the kernel they are nothing. */
export function mappedAttributes(xattrs: Attributes, moves: Moves): Attributes {
  let changed: Map<ByteString, Buffer> | undefined;
  for (const [name, value] of xattrs) {
    const mapped =
      name === CAPABILITIES
        ? mappedCapabilities(value, moves)
        : LISTS.includes(name)
          ? mappedList(value, moves)
          : value;
    if (mapped !== value) changed = (changed ?? new Map(xattrs)).set(name, mapped);
  }
  return changed ?? xattrs;
}

/** Sizes of `struct vfs_cap_data` and `struct vfs_ns_cap_data` by revision: linux/capability.h. */
const CAPABILITY_SIZES: Readonly<Record<number, number>> = { 1: 12, 2: 20, 3: 24 };
const REVISION = 24;
const FLAGS = 0xff_ffff;

/**
 * Capabilities count where the root of their user namespace is who the attribute names (capabilities(7), "File
 * capability extended attribute versioning"): revision 3 names it, the older ones mean uid 0. So they move with it.
 */
function mappedCapabilities(value: Buffer, moves: Moves): Buffer {
  if (value.length < 4) return value;
  const magic = value.readUInt32LE(0);
  const revision = magic >>> REVISION;
  if (value.length !== CAPABILITY_SIZES[revision]) return value;
  const root = revision === 3 ? value.readUInt32LE(20) : 0;
  const moved = moves.uid(root);
  if (moved === root) return value;
  const size = moved === 0 ? 20 : 24;
  const result = Buffer.alloc(size);
  // Revision 1 has one word of each set, the others have two.
  value.copy(result, 0, 0, Math.min(value.length, 20));
  result.writeUInt32LE((((moved === 0 ? 2 : 3) << REVISION) | (magic & FLAGS)) >>> 0, 0);
  if (moved !== 0) result.writeUInt32LE(moved, 20);
  return result;
}

/** linux/posix_acl_xattr.h: a version of four bytes, then entries of tag, permissions (two bytes each) and id (four). */
const LIST_VERSION = 2;
const LIST_HEADER = 4;
const LIST_ENTRY = 8;
const NAMED_USER = 0x02;
const NAMED_GROUP = 0x08;

function mappedList(value: Buffer, moves: Moves): Buffer {
  if (value.length < LIST_HEADER || (value.length - LIST_HEADER) % LIST_ENTRY !== 0) return value;
  if (value.readUInt32LE(0) !== LIST_VERSION) return value;
  const result = Buffer.from(value);
  for (let at = LIST_HEADER; at < result.length; at += LIST_ENTRY) {
    const tag = result.readUInt16LE(at);
    if (tag !== NAMED_USER && tag !== NAMED_GROUP) continue;
    const id = result.readUInt32LE(at + 4);
    result.writeUInt32LE(tag === NAMED_USER ? moves.uid(id) : moves.gid(id), at + 4);
  }
  return result.equals(value) ? value : result;
}
