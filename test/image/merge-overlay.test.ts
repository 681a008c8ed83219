/** The merged tree is what the kernel's own overlayfs shows of the layers, each unpacked by itself. */
import assert from "node:assert/strict";
import { existsSync, lstatSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { capture } from "../../src/base/process.ts";
import { importToFile } from "../../src/commands/import-image.ts";
import { generateStack } from "../support/image-stacks.ts";
import { describeTree, type Given, scratch, tarOf, testContext, writeLayout } from "../support/image-support.ts";
import { needsRoot } from "../support/users.ts";

/**
 * What differs by design:
 * - Numbers of links. A link to a file of a lower layer is one file with it here and in every unpacker; overlayfs
 *   copies the file up, and the lower names that it had keep the old one. The links are compared with umoci's.
 * - A directory that a layer does not list, though it lists something in it: here it keeps what lower layers say of
 *   it; as a layer of overlayfs it has to exist, and whoever unpacked it made up its metadata. The generator lists all.
 */
const withoutLinks = (lines: string[]): string[] =>
  lines.map((line) =>
    line
      .split("|")
      .map((field, i) => (i === 3 ? "" : field))
      .join("|"),
  );

/** Unpacks one layer as a layer of overlayfs; `below` shows the layers beneath it. */
async function unpackLayer(entries: readonly Given[], directory: string, below: string | undefined): Promise<void> {
  mkdirSync(directory);
  const isWhiteout = ({ path }: Given) => /(^|\/)\.wh\./.test(path);
  // Links to files of lower layers, and to other such links.
  const own = new Set<string>();
  const foreign = entries.filter(({ path, kind, target }) => {
    if (kind === "link" && !own.has(target ?? "")) return true;
    own.add(path);
    return false;
  });
  const others = entries.filter((entry) => !isWhiteout(entry) && !foreign.includes(entry));
  const archive = `${directory}.tar`;
  const unpack = async (list: readonly Given[]) => {
    writeFileSync(archive, tarOf(list));
    const words = [
      "-x",
      "-f",
      archive,
      "-C",
      directory,
      "-p",
      "-P",
      "--numeric-owner",
      "--xattrs",
      "--xattrs-include=*",
    ];
    await capture("tar", [...words, "--delay-directory-restore"]);
  };
  await unpack(others);
  // What link(2) does in overlayfs: it copies the file up, and links the copy.
  for (const { path, target = "" } of foreign) {
    if (!existsSync(join(directory, target))) {
      await capture("cp", ["--archive", "--parents", target, directory], { cwd: below ?? "/" });
    }
    await capture("ln", [join(directory, target), join(directory, path)]);
  }
  for (const { path } of entries.filter(isWhiteout)) {
    const opaque = path.endsWith(".wh..wh..opq");
    const hidden = join(
      directory,
      opaque ? path.slice(0, -".wh..wh..opq".length) : path.replace(/\.wh\.([^/]*)$/, "$1"),
    );
    // Beside a directory of the same layer a whiteout can only mean what lies below it.
    if (lstatSync(hidden, { throwIfNoEntry: false })?.isDirectory()) {
      await capture("setfattr", ["-n", "trusted.overlay.opaque", "-v", "y", hidden]);
    } else if (!existsSync(hidden)) await capture("mknod", [hidden, "c", "0", "0"]);
  }
  // Copying and whiteouts changed the times of directories.
  await unpack(others.filter(({ kind }) => kind === "directory"));
  rmSync(archive);
}

/** Mounts the layers read-only, lowest first. */
async function mountLayers(layers: readonly string[], at: string): Promise<void> {
  mkdirSync(at, { recursive: true });
  const lower = [...layers].reverse().map((_, i, list) => `l${list.length - 1 - i}`);
  const options = `ro,lowerdir=${[...lower, "empty"].join(":")}`;
  await capture("mount", ["-t", "overlay", "-o", options, "none", at], { cwd: join(layers[0] ?? "/", "..") });
}

/** What overlayfs shows of a stack. */
async function asOverlay(t: TestContext, stack: readonly Given[][]): Promise<string[]> {
  const base = scratch(t);
  mkdirSync(join(base, "empty"));
  const layers: string[] = [];
  const mounted: string[] = [];
  try {
    for (const [index, entries] of stack.entries()) {
      const layer = join(base, `l${index}`);
      await unpackLayer(entries, layer, mounted.at(-1));
      layers.push(layer);
      const at = join(base, `m${index}`);
      await mountLayers(layers, at);
      mounted.push(at);
    }
    return await describeTree(mounted.at(-1) ?? "");
  } finally {
    for (const at of mounted.reverse()) await capture("umount", [at]);
  }
}

async function asMerged(t: TestContext, stack: readonly Given[][]): Promise<string[]> {
  const directory = scratch(t);
  writeLayout(
    join(directory, "layout"),
    stack.map((layer) => tarOf(layer)),
    { compression: "none" },
  );
  const { context, layout } = testContext(directory);
  const output = join(directory, "tree");
  await importToFile(context, layout, `oci:${directory}/layout`, { output, format: "dir" });
  return describeTree(output);
}

/** The root's own metadata is the layer directory's on one side. */
const compared = (lines: string[]): string[] => withoutLinks(lines.filter((line) => !line.startsWith("|")));

test("generated stacks are what overlayfs shows", needsRoot("overlayfs's own marks"), async (t) => {
  for (let seed = 100; seed < 140; seed++) {
    const stack = generateStack(seed, 2 + (seed % 5));
    const expected = compared(await asOverlay(t, stack));
    assert.deepEqual(compared(await asMerged(t, stack)), expected, `seed ${seed}: ${JSON.stringify(stack)}`);
  }
});

const directory = (path: string, mode = 0o755, mtime = 1_650_000_000): Given => ({
  path,
  kind: "directory",
  mode,
  mtime,
});
const symlink = (path: string, target: string): Given => ({ path, kind: "symlink", target, mode: 0o777 });

const stacks: Record<string, Given[][]> = {
  "a symlinked parent": [
    [directory("usr"), directory("usr/lib"), { path: "usr/lib/a" }, symlink("lib", "usr/lib")],
    [directory("lib", 0o700), { path: "lib/b" }],
  ],
  "a symlink that replaces a directory": [
    [directory("usr"), directory("lib"), { path: "lib/a" }],
    [symlink("lib", "usr")],
  ],
  "a directory, then a file, then a directory": [
    [directory("a"), directory("a/b"), { path: "a/b/old" }],
    [{ path: "a" }],
    [directory("a"), { path: "a/new" }],
  ],
  "a whiteout after what replaces it": [
    [directory("a"), { path: "a/x", content: "old" }, { path: "a/y" }],
    [directory("a"), directory("a/z"), { path: "a/z/new" }, { path: "a/.wh.x" }, { path: "a/.wh.y" }],
  ],
  "a whiteout before its directory": [
    [directory("a"), { path: "a/x" }],
    [{ path: ".wh.a" }, directory("a", 0o711), { path: "a/y" }],
  ],
  "a whiteout after its directory": [
    [directory("a"), { path: "a/x" }],
    [directory("a", 0o711), { path: "a/y" }, { path: ".wh.a" }],
  ],
  "an opaque directory whose mark comes last": [
    [directory("a"), directory("a/b"), { path: "a/b/x" }, { path: "a/y" }],
    [directory("a"), { path: "a/y", content: "new" }, { path: "a/.wh..wh..opq" }],
    [directory("a"), directory("a/b"), { path: "a/b/z" }],
  ],
  "a directory's metadata from the topmost entry": [
    [directory("a", 0o700, 1_600_000_000), { path: "a/x" }],
    [directory("a", 0o2775, 1_610_000_000), { path: "a/y" }],
    [directory("b")],
  ],
  "a whiteout of nothing": [[directory("a")], [directory("a"), { path: "a/.wh.never" }]],
  "a whiteout of a whole layer's directory, and back": [
    [directory("a"), { path: "a/x" }],
    [{ path: ".wh.a" }],
    [directory("a"), { path: "a/y" }],
  ],
  "a link whose target is removed above": [
    [
      { path: "a", content: "x" },
      { path: "b", kind: "link", target: "a" },
    ],
    [{ path: ".wh.a" }],
  ],
  "a link whose target is replaced above": [
    [
      { path: "a", content: "x", mode: 0o4755 },
      { path: "b", kind: "link", target: "a" },
    ],
    [{ path: "a", content: "new" }],
  ],
};

for (const [what, stack] of Object.entries(stacks)) {
  test(`as overlayfs shows it: ${what}`, needsRoot("overlayfs's own marks"), async (t) => {
    assert.deepEqual(compared(await asMerged(t, stack)), compared(await asOverlay(t, stack)));
  });
}
