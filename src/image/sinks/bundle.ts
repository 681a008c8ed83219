/** The root of a bundle: any sink, without what an ordinary user cannot unpack, and what is learnt in passing. */
import type { ByteString } from "../../base/bytes.ts";
import type { Entry } from "../types.ts";
import { type OpenSink, passing } from "./sink.ts";

/** What a bundle has to know of its root. */
export interface SeenRoot {
  /** Bytes that the root takes on a disk, roughly. */
  bytes: number;
  /** It has /etc/rc, the script that starts a root of enroot's. */
  hasScript: boolean;
}

/** Of a block and of what a name takes. */
const BLOCK = 4096;

/**
 * Leaves out devices: nobody but root makes them, and a container has its own /dev. Fills `seen`.
 * `newest`: no time is later, in seconds since 1970. The root's own is its unpacking's anyway.
 */
export function bundleSink(open: OpenSink, seen: SeenRoot, newest = Number.POSITIVE_INFINITY): OpenSink {
  return async (image, root) => {
    const sink = await open(image, root);
    const devices = new Set<ByteString>();
    let dropping = false;
    Object.assign(seen, { bytes: 0, hasScript: false });
    return {
      ...passing(sink),
      entry: (entry) => {
        const { path, kind, target, size } = entry;
        dropping = kind === "character" || kind === "block" || (kind === "link" && devices.has(target ?? path));
        if (dropping) return void devices.add(path);
        seen.bytes += Math.ceil(size / BLOCK) * BLOCK + BLOCK;
        seen.hasScript ||= path === "etc/rc";
        sink.entry(entry.mtime > newest ? atTime(entry, newest) : entry);
      },
      data: (slice) => (dropping ? undefined : sink.data(slice)),
      end: () => (dropping ? undefined : sink.end()),
      commit: (merged) => sink.commit(atTime(merged, 0)),
    };
  };
}

const atTime = ({ nanoseconds: _, ...entry }: Entry, mtime: number): Entry => ({ ...entry, mtime });
