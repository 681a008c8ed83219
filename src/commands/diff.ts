/** `rootling diff`: what a container changed, compared with its image. */

import { type ByteString, toText } from "../base/bytes.ts";
import { Failure } from "../base/errors.ts";
import { escapeText } from "../base/text.ts";
import type { Entry } from "../image/types.ts";
import { type Container, getContainer, partsOf } from "../store/containers.ts";
import { type Cli, newCommand, showJson } from "./cli.ts";
import { treeBelow } from "./container-files.ts";
import {
  compare,
  entriesIn,
  isMountPoint,
  isOpaque,
  isWhiteout,
  type Kind,
  parentOf,
  refuseUntranslatable,
  sameDirectory,
  withParents,
} from "./upper.ts";

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
      const context = cli.context("none");
      const list = (path: string) => entriesIn(cli, context, container, path);
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

/** Nothing of the directory below is seen through it. */
const isHiding = (entry: Entry): boolean => entry.kind !== "directory" || isOpaque(entry);

/** From an upper directory to changes. */
function translate(below: ReadonlyMap<ByteString, Entry>, upper: ReadonlyMap<ByteString, Entry>): Map<string, Kind> {
  const changes = new Map<string, Kind>();
  const parents = new Set([...upper.keys()].filter(Boolean).map(parentOf));
  const replaced = new Set<string>();
  for (const [path, entry] of upper) {
    if (path === "" || isMountPoint(entry, parents)) continue;
    refuseUntranslatable(entry);
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
