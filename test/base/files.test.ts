/** Files: what a program that removes them says is told as an error of the file system. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { removeTree } from "../../src/base/files.ts";
import { failsWith, scratch } from "../support/image-support.ts";

test("a disk that fails while a tree is removed is told of as that", async (t) => {
  const directory = scratch(t);
  writeFileSync(join(directory, "rm"), "#!/bin/sh\necho \"rm: cannot remove 'x': Input/output error\" >&2\nexit 1\n", {
    mode: 0o755,
  });
  const { PATH } = process.env;
  t.after(() => (process.env.PATH = PATH ?? ""));
  process.env.PATH = directory;
  // A name that no file system takes: Node's own way fails, and the program is asked.
  await assert.rejects(removeTree(join(directory, "x".repeat(300))), failsWith("E_IO", /removing.*see the system log/));
});
