/** `rootling diff`: what a container changed, compared with its image. */

import { type ByteString, toText } from "../base/bytes.ts";
import { Failure } from "../base/errors.ts";
import { escapeText } from "../base/text.ts";
import { packing } from "../boot/files.ts";
import type { Entry } from "../image/types.ts";
import { type Container, getContainer, partsOf } from "../store/containers.ts";
import { type Cli, newCommand, showJson } from "./cli.ts";
import { planInDirectory, startWork, treeBelow } from "./container-files.ts";
import { FrameReader } from "./frames.ts";

/** A added, C changed, D deleted. */
type Kind = "A" | "C" | "D";

export const define = (cli: Cli) =>
  newCommand("diff", "Show what a container changed: A added, C changed, D deleted. Mount points are left out.", [
    "rootling diff web",
    "rootling diff --json web",
  ])
    .argument("<name>", "a container")
    .option("--json", "as JSON")
    .action(async (name: string, { json }: { json?: boolean }) => {
      const container = getContainer(cli.layout, name);
      const paths = partsOf(cli.layout, container);
      const list = async (path: string): Promise<Map<ByteString, Entry>> => {
        const entries = new Map<ByteString, Entry>();
        const plan = planInDirectory(cli, container, path, packing(`container ${name}`, "/", true));
        const running = await startWork(cli, cli.context("none"), plan, { stdout: "pipe" });
        const reader = new FrameReader(
          { entry: (entry) => entries.set(entry.path, entry), data: () => {}, end: () => {} },
          true,
        );
        for await (const chunk of running.child.stdout ?? []) reader.write(chunk as Buffer);
        await running.finished;
        reader.end();
        return entries;
      };
      const changes =
        container.form === "copied"
          ? compare(await list(await treeBelow(cli, container)), await list(paths.root))
          : await changesOf(cli, container, await list(paths.upper), list);
      const lines = [...changes]
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([path, kind]) => ({ kind, path: `/${path}` }));
      if (json) return cli.print(showJson(lines.map(({ kind, path }) => ({ kind, path: toText(path as ByteString) }))));
      if (lines.length > 0)
        cli.print(lines.map(({ kind, path }) => `${kind} ${escapeText(toText(path as ByteString))}`).join("\n"));
    });

type Entries = ReadonlyMap<ByteString, Entry>;

/** Of the host below a subhost only what could have been changed is looked at, not all that it holds. */
async function changesOf(
  cli: Cli,
  container: Container,
  upper: Entries,
  list: (path: string) => Promise<Entries>,
): Promise<Map<string, Kind>> {
  const { subhost } = container;
  if (subhost === undefined) return translate(await list(await treeBelow(cli, container)), upper);
  if (subhost.variant !== "overlay")
    throw new Failure(
      "E_CONFLICT",
      `the subhost ${container.name} has a directory as its root, and changes that itself`,
      {
        where: subhost.conf,
        mend: "only an overlay can be compared with what it lies on",
      },
    );
  const { lookBelow } = await import("./look-below.ts");
  return translate(lookBelow(await treeBelow(cli, container), upper, isHiding), upper);
}

const parentOf = (path: string): ByteString => path.slice(0, Math.max(0, path.lastIndexOf("/"))) as ByteString;

/** What rootling itself makes to mount on: files without any permission, and empty directories of the system. */
const isMountPoint = (entry: Entry, byParent: ReadonlySet<string>): boolean =>
  (entry.kind === "file" && entry.mode === 0 && entry.size === 0) ||
  (/^(dev|proc|sys)$/.test(entry.path) && !byParent.has(entry.path));

/** Overlayfs's marks: those of root, and those of user namespaces (Documentation/filesystems/overlayfs.rst). */
const mark = (entry: Entry, name: string): string | undefined =>
  ["trusted", "user"]
    .map((space) => entry.xattrs?.get(`${space}.overlay.${name}` as ByteString)?.toString("latin1"))
    .find((value) => value !== undefined);

/** A device 0/0, or in newer kernels an empty file with a mark. */
const isWhiteout = (entry: Entry): boolean =>
  (entry.kind === "character" && entry.major === 0 && entry.minor === 0) || mark(entry, "whiteout") !== undefined;

/** Nothing of the directory below is seen through it. */
const isHiding = (entry: Entry): boolean => entry.kind !== "directory" || mark(entry, "opaque") === "y";

const sameDirectory = (a: Entry, b: Entry): boolean => a.mode === b.mode && a.uid === b.uid && a.gid === b.gid;

/** From an upper directory to changes. */
function translate(below: ReadonlyMap<ByteString, Entry>, upper: ReadonlyMap<ByteString, Entry>): Map<string, Kind> {
  const changes = new Map<string, Kind>();
  const parents = new Set([...upper.keys()].filter(Boolean).map(parentOf));
  const replaced = new Set<string>();
  for (const [path, entry] of upper) {
    if (path === "" || isMountPoint(entry, parents)) continue;
    if (mark(entry, "redirect") !== undefined) {
      throw new Failure("E_OVERLAY", "a directory was renamed in a way that cannot be translated", {
        where: escapeText(path),
        mend: "this kernel's overlayfs makes redirects by default: set its parameter redirect_dir to off",
      });
    }
    const old = below.get(path);
    if (isWhiteout(entry)) {
      if (old !== undefined) changes.set(path, "D");
      continue;
    }
    if (old === undefined || [...replaced].some((above) => path.startsWith(`${above}/`))) {
      changes.set(path, below.has(path) ? "C" : "A");
    } else if (entry.kind !== "directory" || old.kind !== "directory" || !sameDirectory(entry, old)) {
      changes.set(path, "C");
    }
    // An opaque directory, and what is no directory any more, hide all that was below.
    if (old?.kind === "directory" && isHiding(entry)) replaced.add(path);
  }
  for (const path of below.keys()) {
    if (upper.has(path)) continue;
    const above = [...replaced].find((directory) => path.startsWith(`${directory}/`));
    // A deleted directory is one line.
    if (above !== undefined && (parentOf(path) === above || upper.has(parentOf(path)))) changes.set(path, "D");
  }
  return withParents(changes, below);
}

/** A directory in which something changed is changed too. */
function withParents(changes: Map<string, Kind>, below: ReadonlyMap<ByteString, Entry>): Map<string, Kind> {
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
function compare(below: ReadonlyMap<ByteString, Entry>, copy: ReadonlyMap<ByteString, Entry>): Map<string, Kind> {
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
