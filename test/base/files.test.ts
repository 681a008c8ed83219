/** Files: what a program that removes them says is told as an error of the file system. */
import assert from "node:assert/strict";
import { chmodSync, existsSync, linkSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { removeTree } from "../../src/base/files.ts";
import { capture } from "../../src/base/process.ts";
import { failsWith, scratch } from "../support/image-support.ts";

/** Removes a tree by programs that fail with these words. */
async function removeWith(t: TestContext, said: { find: string; rm: string }): Promise<void> {
  const directory = scratch(t);
  for (const [name, words] of Object.entries(said)) {
    writeFileSync(join(directory, name), `#!/bin/sh\necho "${name}: 'x': ${words}" >&2\nexit 1\n`, { mode: 0o755 });
  }
  const { PATH } = process.env;
  process.env.PATH = directory;
  try {
    // A name that no file system takes: Node's own way fails, and the programs are asked.
    await removeTree(join(directory, "x".repeat(300)));
  } finally {
    process.env.PATH = PATH ?? "";
  }
}

test("a disk that fails while a tree is removed is told of as that", async (t) => {
  const failing = { find: "Operation not permitted", rm: "Input/output error" };
  await assert.rejects(removeWith(t, failing), failsWith("E_IO", /removing.*see the system log/));
});

test("a tree that cannot be opened, so that it can be removed: the first reason is told", async (t) => {
  const full = { find: "No space left on device", rm: "Permission denied" };
  await assert.rejects(removeWith(t, full), failsWith("E_SPACE"));
});

// Root needs no permission, so that an ordinary user has to be made.
const asRoot = process.getuid?.() === 0 ? test : () => {};

asRoot("a tree with closed directories goes; a file that another tree has too keeps its mode", async (t) => {
  const directory = scratch(t);
  const tree = join(directory, "tree");
  mkdirSync(join(tree, "closed/deeper"), { recursive: true });
  writeFileSync(join(directory, "kept"), "x", { mode: 0o400 });
  linkSync(join(directory, "kept"), join(tree, "closed/deeper/same"));
  await capture("chown", ["-R", "65534:65534", directory]);
  for (const closed of ["closed/deeper", "closed"]) chmodSync(join(tree, closed), 0o000);
  const script = `import("${new URL("../../src/base/files.ts", import.meta.url)}").then((files) => files.removeTree(process.argv[1]))`;
  const words = ["--reuid=65534", "--regid=65534", "--clear-groups", process.execPath, "--eval", script, tree];
  await capture("setpriv", words, { env: { PATH: `.:${process.env.PATH}` } });
  assert.equal(existsSync(tree), false);
  assert.equal(statSync(join(directory, "kept")).mode & 0o777, 0o400);
});
