/** The merged tree is what umoci makes by unpacking layer upon layer, as root and as an ordinary user. */
import assert from "node:assert/strict";
import { chmodSync, chownSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { capture } from "../../src/base/process.ts";
import { importToFile } from "../../src/commands/import-image.ts";
import { importWords } from "../support/image-cases.ts";
import { generateStack } from "../support/image-stacks.ts";
import { bytes, describeTree, type Given, scratch, tarOf, testContext, writeLayout } from "../support/image-support.ts";
import { needsRoot } from "../support/users.ts";

/** `nobody`: there on every machine, and without any rights. */
const ORDINARY = 65534;

/** One of each kind, with what is kept differently for an ordinary user. */
const everyKind: Given[] = [
  { path: "d", kind: "directory", uid: 5, gid: 6 },
  { path: "d/read-only", kind: "directory", mode: 0o555, uid: 5 },
  { path: "d/read-only/file", content: "inside", uid: 200, gid: 70_000 },
  {
    path: "set-uid",
    content: "x",
    mode: 0o4755,
    xattrs: new Map([[bytes("user.note"), Buffer.from("\xff\0\n=", "latin1")]]),
  },
  {
    path: "capable",
    content: "program",
    mode: 0o755,
    xattrs: new Map([[bytes("security.capability"), Buffer.from("0100000200200000000000000000000000000000", "hex")]]),
  },
  { path: "tty", kind: "character", major: 5, minor: 0, uid: 9 },
  { path: "disk", kind: "block", major: 8, minor: 1, mode: 0o660 },
  { path: "pipe", kind: "fifo", uid: 4 },
  { path: "link", kind: "link", target: "set-uid" },
  { path: "symlink", kind: "symlink", mode: 0o777, target: "/outside/../x", uid: 3 },
  { path: "symlink-too", kind: "link", target: "symlink" },
  { path: "protected", content: "x", mode: 0o400, uid: 77 },
  { path: `${"long/".repeat(30)}name`, content: "deep" },
];
const withParents = [
  ...Array.from({ length: 30 }, (_, i): Given => ({ path: "long/".repeat(i + 1).slice(0, -1), kind: "directory" })),
  ...everyKind,
];

const STACKS = 40;

const amRoot = process.getuid?.() === 0;

test("generated stacks equal umoci's unpacking", needsRoot("directories that are closed to their owner"), async (t) => {
  for (let seed = 1; seed <= STACKS; seed++) {
    const directory = scratch(t);
    const layers = generateStack(seed, 2 + (seed % 4));
    writeLayout(
      join(directory, "layout"),
      layers.map((layer) => tarOf(layer)),
    );
    const { context, layout } = testContext(directory);
    const output = join(directory, "tree");
    await importToFile(context, layout, `oci:${directory}/layout`, { output, format: "dir" });
    await capture("umoci", ["unpack", "--image", `${directory}/layout:latest`, join(directory, "bundle")]);
    const expected = await describeTree(join(directory, "bundle", "rootfs"));
    assert.deepEqual(await describeTree(output), expected, `seed ${seed}: ${JSON.stringify(layers)}`);
  }
});

test("root's tree of every kind of file equals umoci's", needsRoot("owners and devices"), async (t) => {
  const directory = scratch(t);
  writeLayout(join(directory, "layout"), [tarOf(withParents)]);
  const { context, layout } = testContext(directory);
  const output = join(directory, "tree");
  await importToFile(context, layout, `oci:${directory}/layout`, { output, format: "dir" });
  await capture("umoci", ["unpack", "--image", `${directory}/layout:latest`, join(directory, "bundle")]);
  assert.deepEqual(await describeTree(output), await describeTree(join(directory, "bundle", "rootfs")));
});

test("an ordinary user's tree equals umoci's rootless one", async (t) => {
  const directory = scratch(t);
  writeLayout(join(directory, "layout"), [tarOf(withParents), ...generateStack(7, 2).map((layer) => tarOf(layer))]);
  const own = join(directory, "own");
  mkdirSync(own);
  if (amRoot) chownSync(own, ORDINARY, ORDINARY);
  chmodSync(directory, 0o755);
  const asOrdinary = (...words: string[]) =>
    capture(
      "env",
      amRoot ? ["setpriv", `--reuid=${ORDINARY}`, `--regid=${ORDINARY}`, "--clear-groups", ...words] : [...words],
      { env: { HOME: own, IMAGE_TEST_DIRECTORY: own } },
    );
  await asOrdinary(...importWords(`oci:${directory}/layout`, join(own, "tree"), "dir"));
  await asOrdinary("umoci", "unpack", "--rootless", "--image", `${directory}/layout:latest`, join(own, "bundle"));
  assert.deepEqual(await describeTree(join(own, "tree")), await describeTree(join(own, "bundle", "rootfs")));
  await capture("chmod", ["-R", "u+rwX", own]);
});
