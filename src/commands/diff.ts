/** `rootling diff`: what a container changed, compared with its image. */

import { type ByteString, toText } from "../base/bytes.ts";
import { escapeText } from "../base/text.ts";
import type { Entry } from "../image/types.ts";
import { getContainer } from "../store/containers.ts";
import { containerPaths } from "../store/layout.ts";
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
      const paths = containerPaths(cli.layout, name);
      const context = cli.context("none");
      const list = (path: string) => entriesIn(cli, context, container, path);
      const below = await list(await treeBelow(cli, container));
      const copied = container.form === "copied";
      const changes = copied ? compare(below, await list(paths.root)) : translate(below, await list(paths.upper));
      const lines = [...changes]
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([path, kind]) => ({ kind, path: `/${path}` }));
      if (json) return cli.print(showJson(lines.map(({ kind, path }) => ({ kind, path: toText(path as ByteString) }))));
      if (lines.length > 0)
        cli.print(lines.map(({ kind, path }) => `${kind} ${escapeText(toText(path as ByteString))}`).join("\n"));
    });

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
    if (old?.kind === "directory" && (isOpaque(entry) || entry.kind !== "directory")) replaced.add(path);
  }
  for (const path of below.keys()) {
    if (upper.has(path)) continue;
    const above = [...replaced].find((directory) => path.startsWith(`${directory}/`));
    // A deleted directory is one line.
    if (above !== undefined && (parentOf(path) === above || upper.has(parentOf(path)))) changes.set(path, "D");
  }
  return withParents(changes, below);
}
