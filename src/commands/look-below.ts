/** What lies below an upper directory, of a lower one that may be the whole host: only what the upper could change. */
import { lstatSync, readdirSync, type Stats } from "node:fs";
import type { ByteString } from "../base/bytes.ts";
import type { Entry } from "../image/types.ts";

/** The names that the upper directory has too, and those in directories that it hides. No symlink is followed. */
export function lookBelow(
  lower: string,
  upper: ReadonlyMap<ByteString, Entry>,
  isHiding: (entry: Entry) => boolean,
): Map<ByteString, Entry> {
  const below = new Map<ByteString, Entry>();
  const look = (path: ByteString): Entry | undefined => {
    const status = path === "" || isReal(below.get(parentOf(path))) ? statusOf(lower, path) : undefined;
    const entry = status && entryOf(path, status);
    if (entry !== undefined) below.set(path, entry);
    return entry;
  };
  const hidden = new Set<ByteString>();
  for (const [path, entry] of [...upper].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const old = look(path);
    if (old?.kind !== "directory") continue;
    if (!isHiding(entry) && !(path !== "" && hidden.has(parentOf(path)))) continue;
    hidden.add(path);
    for (const name of readdirSync(pathOf(lower, path), { encoding: "buffer" }))
      look(`${path === "" ? "" : `${path}/`}${name.toString("latin1")}` as ByteString);
  }
  return below;
}

const parentOf = (path: ByteString): ByteString => path.slice(0, Math.max(0, path.lastIndexOf("/"))) as ByteString;

const isReal = (entry: Entry | undefined): boolean => entry?.kind === "directory";

const pathOf = (lower: string, path: ByteString): Buffer =>
  Buffer.concat([Buffer.from(lower === "/" ? "/" : `${lower}/`), Buffer.from(path, "latin1")]);

const statusOf = (lower: string, path: ByteString): Stats | undefined =>
  lstatSync(pathOf(lower, path), { throwIfNoEntry: false });

function entryOf(path: ByteString, status: Stats): Entry {
  const kind = status.isDirectory() ? "directory" : status.isSymbolicLink() ? "symlink" : "file";
  const { mode, uid, gid, size } = status;
  return { path, kind, mode: mode & 0o7777, uid, gid, size, mtime: Math.floor(status.mtimeMs / 1000) };
}
