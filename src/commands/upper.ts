/** What a container changed, as its upper directory has it, or a copy beside the image's tree. */
import type { ByteString } from "../base/bytes.ts";
import type { Context } from "../base/context.ts";
import { Failure } from "../base/errors.ts";
import { escapeText } from "../base/text.ts";
import { packing } from "../boot/files.ts";
import type { Entry } from "../image/types.ts";
import type { Container } from "../store/containers.ts";
import type { AtStore } from "./cli.ts";
import { planInDirectory, startWork } from "./container-files.ts";
import { FrameReader } from "./frames.ts";

/** A added, C changed, D deleted. */
export type Kind = "A" | "C" | "D";

/** The entries of a directory of the store by their paths, without content, with the ids of the container. */
export async function entriesIn(
  cli: AtStore,
  context: Context,
  container: Container,
  path: string,
): Promise<Map<ByteString, Entry>> {
  const entries = new Map<ByteString, Entry>();
  const plan = planInDirectory(cli, container, path, packing(`container ${container.name}`, "/", true));
  const running = await startWork(cli, context, plan, { stdout: "pipe" });
  const reader = new FrameReader(
    { entry: (entry) => entries.set(entry.path, entry), data: () => {}, end: () => {} },
    true,
  );
  for await (const chunk of running.child.stdout ?? []) reader.write(chunk as Buffer);
  await running.finished;
  reader.end();
  return entries;
}

export const parentOf = (path: string): ByteString => path.slice(0, Math.max(0, path.lastIndexOf("/"))) as ByteString;

/** What rootling itself makes to mount on: files without any permission, and empty directories of the system. */
export const isMountPoint = (entry: Entry, byParent: ReadonlySet<string>): boolean =>
  (entry.kind === "file" && entry.mode === 0 && entry.size === 0) ||
  (/^(dev|proc|sys)$/.test(entry.path) && !byParent.has(entry.path));

/** Overlayfs's marks: those of root, and those of user namespaces (Documentation/filesystems/overlayfs.rst). */
const mark = (entry: Entry, name: string): string | undefined =>
  ["trusted", "user"]
    .map((space) => entry.xattrs?.get(`${space}.overlay.${name}` as ByteString)?.toString("latin1"))
    .find((value) => value !== undefined);

/** A device 0/0, or in newer kernels an empty file with a mark. */
export const isWhiteout = (entry: Entry): boolean =>
  (entry.kind === "character" && entry.major === 0 && entry.minor === 0) || mark(entry, "whiteout") !== undefined;

/** A directory that hides what lower ones have in it. */
export const isOpaque = (entry: Entry): boolean => mark(entry, "opaque") === "y";

/** The entry without what overlayfs notes of it. */
export function withoutMarks(entry: Entry): Entry {
  if (entry.xattrs === undefined) return entry;
  const { xattrs, ...rest } = entry;
  const kept = new Map([...xattrs].filter(([name]) => !/^(trusted|user)\.overlay\./.test(name)));
  return kept.size === 0 ? rest : { ...rest, xattrs: kept };
}

/** Overlayfs's marks that a layer has no word for, and the parameter of the kernel that makes them. */
const UNTRANSLATABLE = [
  ["redirect", "a directory was renamed", "redirect_dir"],
  ["metacopy", "a file has no content of its own", "metacopy"],
] as const;

/** Throws E_OVERLAY for such a mark. */
export function refuseUntranslatable(entry: Entry): void {
  const found = UNTRANSLATABLE.find(([name]) => mark(entry, name) !== undefined);
  if (found === undefined) return;
  const [, what, parameter] = found;
  throw new Failure("E_OVERLAY", `${what} in a way that cannot be translated`, {
    where: escapeText(entry.path),
    mend: `this kernel's overlayfs does so by default: set its parameter ${parameter} to off`,
  });
}

export const sameDirectory = (a: Entry, b: Entry): boolean => a.mode === b.mode && a.uid === b.uid && a.gid === b.gid;

/** A directory in which something changed is changed too. */
export function withParents(changes: Map<string, Kind>, below: ReadonlyMap<ByteString, Entry>): Map<string, Kind> {
  for (const path of [...changes.keys()]) {
    for (let at = parentOf(path); at !== ""; at = parentOf(at)) {
      if (!changes.has(at) && below.has(at)) changes.set(at, "C");
    }
  }
  return changes;
}

const sameFile = (a: Entry, b: Entry): boolean =>
  sameDirectory(a, b) &&
  a.kind === b.kind &&
  a.size === b.size &&
  (a.kind === "directory" || (a.mtime === b.mtime && a.nanoseconds === b.nanoseconds)) &&
  a.target === b.target &&
  a.major === b.major &&
  a.minor === b.minor;

/** A copy is compared by kind, owner, mode, size, time and target; content is not read. */
export function compare(
  below: ReadonlyMap<ByteString, Entry>,
  copy: ReadonlyMap<ByteString, Entry>,
): Map<string, Kind> {
  const changes = new Map<string, Kind>();
  const parents = new Set([...copy.keys()].filter(Boolean).map(parentOf));
  for (const [path, entry] of copy) {
    if (path === "") continue;
    const old = below.get(path);
    if (old === undefined && isMountPoint(entry, parents)) continue;
    if (old === undefined) changes.set(path, "A");
    else if (!sameFile(old, entry)) changes.set(path, "C");
  }
  for (const path of below.keys()) {
    if (!copy.has(path) && (parentOf(path) === "" || copy.has(parentOf(path)))) changes.set(path, "D");
  }
  return withParents(changes, below);
}
