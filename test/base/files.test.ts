/** Files: what a program that removes them says is told as an error of the file system. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { removeTree } from "../../src/base/files.ts";
import { failsWith, scratch } from "../support/image-support.ts";

/** Removes a tree by programs that fail with these words. */
async function removeWith(t: TestContext, said: { chmod: string; rm: string }): Promise<void> {
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
  const failing = { chmod: "Operation not permitted", rm: "Input/output error" };
  await assert.rejects(removeWith(t, failing), failsWith("E_IO", /removing.*see the system log/));
});

test("a tree that cannot be opened, so that it can be removed: the first reason is told", async (t) => {
  const full = { chmod: "No space left on device", rm: "Permission denied" };
  await assert.rejects(removeWith(t, full), failsWith("E_SPACE"));
});
