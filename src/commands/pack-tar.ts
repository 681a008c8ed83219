/** What the executor packs, as a tar: the way of a container's files to the image side. */
import { statSync } from "node:fs";
import type { ByteString } from "../base/bytes.ts";
import { type Context, throwIfAborted } from "../base/context.ts";
import { OWNER_NOTE, readOwnerNote } from "../image/owner-note.ts";
import { END_OF_ARCHIVE, encodeEntry, paddingAfter } from "../image/tar-write.ts";
import type { Entry } from "../image/types.ts";
import type { Plan } from "../plan/plan.ts";
import type { AtStore } from "./cli.ts";
import { startWork } from "./container-files.ts";
import { FrameReader } from "./frames.ts";

/** Takes entries, and gives those that are to be written: none, the last one, or with it some that were held back. */
export type EntryFilter = (entry: Entry) => readonly Entry[];

/**
 * Gives the root the time of the directory that it is: below what a plan may write into, it shows that of something
 * new. The same files then are the same bytes.
 */
export function withTimeOf(root: string, filter: EntryFilter = (entry) => [entry]): EntryFilter {
  const { mtimeNs } = statSync(root, { bigint: true });
  const nanoseconds = Number(((mtimeNs % SECOND) + SECOND) % SECOND);
  const mtime = Number((mtimeNs - BigInt(nanoseconds)) / SECOND);
  return (entry) => filter(entry.path === "" ? { ...entry, mtime, nanoseconds } : entry);
}

const SECOND = 1_000_000_000n;

/** The tar of what a plan with op `pack` gives. Owners that a note tells of are the owners. */
export async function* packedTar(
  cli: AtStore,
  context: Context,
  plan: Plan,
  filter: EntryFilter = (entry) => [entry],
): AsyncGenerator<Buffer> {
  const running = await startWork(cli, context, plan, { stdout: "pipe" });
  let parts: Buffer[] = [];
  let size = 0;
  let dropping = false;
  const reader = new FrameReader(
    {
      entry(entry) {
        const written = filter(asNoted(entry));
        dropping = written.length === 0;
        size = dropping ? 0 : entry.size;
        for (const one of written) parts.push(encodeEntry(one.path === "" ? { ...one, path: "." as ByteString } : one));
      },
      data: (slice) => void (dropping || parts.push(slice)),
      end() {
        const padding = paddingAfter(size);
        if (padding !== undefined) parts.push(padding);
        size = 0;
      },
    },
    false,
  );
  try {
    for await (const chunk of running.child.stdout ?? []) {
      throwIfAborted(context.signal);
      reader.write(chunk as Buffer);
      if (parts.length > 0) yield Buffer.concat(parts);
      parts = [];
    }
    await running.finished;
    reader.end();
    yield END_OF_ARCHIVE;
  } finally {
    await running.kill();
  }
}

/** Where an ordinary user could not give a file its owner, a note tells of it. */
function asNoted(entry: Entry): Entry {
  const note = entry.xattrs?.get(OWNER_NOTE);
  const owner = note && readOwnerNote(note);
  if (owner === undefined) return entry;
  const xattrs = new Map([...(entry.xattrs ?? [])].filter(([name]) => name !== OWNER_NOTE));
  return { ...entry, ...owner, xattrs };
}

/** Enroot's lock, and what it unpacks a bundle into. */
const OWN_NAMES = /^\.(?:lock$|enroot(?:\/|$))/;

/**
 * Leaves out what enroot does: its own files, /dev's content, and empty files and directories of mode 0, which are what
 * it, and rootling, make to mount on.
 */
export function enrootFilter(): EntryFilter {
  const dropped = new Set<string>();
  /** Directories of mode 0 in which nothing has come yet, each in the one before. */
  let held: Entry[] = [];
  return (entry) => {
    const { path, kind, mode, size, target } = entry;
    held = held.filter((above) => path.startsWith(`${above.path}/`));
    if (OWN_NAMES.test(path) || path.startsWith("dev/")) return [];
    if (kind === "link" && dropped.has(target ?? "")) return [];
    if (kind === "file" && mode === 0 && size === 0) {
      dropped.add(path);
      return [];
    }
    if (kind === "directory" && mode === 0 && path !== "") {
      held.push(entry);
      return [];
    }
    const written = [...held, entry];
    held = [];
    return written;
  };
}
