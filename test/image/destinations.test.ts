/** Where outputs may go: what is refused whatever was asked for, and that nothing of what was there is touched then. */
import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, realpathSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { checkOutput, type OutputKind } from "../../src/base/destination.ts";
import { Failure } from "../../src/base/errors.ts";
import { moveIntoPlace } from "../../src/base/files.ts";
import { capture } from "../../src/base/process.ts";
import { importToFile } from "../../src/commands/import-image.ts";
import { preparedImage } from "../support/image-cases.ts";
import { describeTree, failsWith, scratch } from "../support/image-support.ts";
import { needsRoot } from "../support/users.ts";

const FORMATS = ["dir", "oci", "tar", "squashfs", "qcow2", "raw"] as const;
const KINDS: readonly OutputKind[] = ["file", "directory", "tree"];

test("no output takes the place of /, of where one is, or of one's home", async (t) => {
  for (const path of ["/", "//", "///", "/.", "/usr/.."]) {
    for (const kind of KINDS) await assert.rejects(checkOutput(path, kind, true), failsWith("E_NAME"), path);
  }
  const directory = realpathSync(scratch(t));
  const home = join(directory, "people/someone");
  mkdirSync(home, { recursive: true });
  const before = process.env.HOME;
  process.env.HOME = home;
  t.after(() => (process.env.HOME = before));
  for (const path of [home, join(directory, "people"), process.cwd(), join(process.cwd(), "..")]) {
    await assert.rejects(checkOutput(path, "tree", true), failsWith("E_NAME"), path);
  }
  // The beginning of a name is not a directory above.
  mkdirSync(join(directory, "peo"));
  assert.equal(await checkOutput(join(directory, "peo"), "tree", false), "beside");
});

test(
  "only a file replaces a file, and only a directory a directory, whatever was asked for",
  needsRoot("a device"),
  async (t) => {
    const { directory, source, context, layout } = preparedImage(t, [[{ path: "a", content: "a" }]]);
    const at = (name: string) => join(directory, name);
    writeFileSync(at("file"), "precious");
    mkdirSync(at("full"));
    writeFileSync(at("full/file"), "precious");
    symlinkSync("full", at("to-full"));
    symlinkSync("/dev/null", at("to-device"));
    await capture("mkfifo", [at("pipe")]);
    await capture("mknod", [at("device"), "c", "1", "3"]);
    const before = await describeTree(directory);
    const wrong: Record<(typeof FORMATS)[number], readonly string[]> = {
      dir: ["file", "to-full", "to-device", "pipe", "device"],
      oci: ["file", "to-full", "pipe"],
      tar: ["full", "to-full", "to-device", "pipe", "device"],
      squashfs: ["full", "to-full", "to-device", "pipe", "device"],
      qcow2: ["file", "to-full", "pipe"],
      raw: ["full", "to-full", "to-device", "pipe", "device"],
    };
    for (const format of FORMATS) {
      for (const name of wrong[format]) {
        const how = { output: at(name), format, force: true };
        await assert.rejects(importToFile(context, layout, source, how), failsWith("E_EXISTS"), `${format} ${name}`);
      }
    }
    const after = (await describeTree(directory)).filter((line) => !/^(cache|data|runtime)\b/.test(line));
    assert.deepEqual(after, before);
  },
);

for (const format of ["dir", "oci", "qcow2"] as const) {
  test(`${format}: an empty directory is as good as none, and stays one after a failure`, async (t) => {
    const bad = preparedImage(t, [[{ path: "a", kind: "link", target: "b" }]]);
    const { directory, source, context, layout } = preparedImage(t, [[{ path: "a", content: "a" }]]);
    const output = join(directory, "out");
    mkdirSync(output);
    await assert.rejects(importToFile(bad.context, layout, bad.source, { output, format }), failsWith("E_LAYER"));
    assert.deepEqual(readdirSync(output), []);
    await importToFile(context, layout, source, { output, format });
    assert.ok(readdirSync(output).length > 0);
  });
}

test("what came into an empty directory meanwhile is left alone", async (t) => {
  const directory = scratch(t);
  const [made, output] = [join(directory, "made"), join(directory, "out")];
  for (const path of [made, output]) mkdirSync(path);
  writeFileSync(join(output, "file"), "precious");
  await assert.rejects(moveIntoPlace(made, output, false), failsWith("E_EXISTS"));
  assert.equal(readFileSync(join(output, "file"), "utf8"), "precious");
});

test("that cannot be made is said of the output, in the same words by all", async (t) => {
  const { directory, source, context, layout } = preparedImage(t, [[{ path: "a" }]]);
  writeFileSync(join(directory, "file"), "precious");
  for (const format of FORMATS) {
    for (const [name, code, said] of [
      ["missing/new", "E_NOT_FOUND", /no such file or directory/],
      ["file/new", "E_NOT_FOUND", /a part of the path is no directory/],
      ["n".repeat(256), "E_NAME", /too long/],
    ] as const) {
      const output = join(directory, name);
      await assert.rejects(importToFile(context, layout, source, { output, format }), (error) => {
        assert.ok(error instanceof Failure);
        assert.deepEqual([error.code, error.where], [code, output], format);
        assert.match(error.what, said);
        return true;
      });
    }
  }
});

test("a directory in which something is mounted is not replaced", needsRoot("a mount"), async (t) => {
  const { directory, source, context, layout } = preparedImage(t, [[{ path: "a" }]]);
  const output = join(directory, "out");
  const mounted = join(output, "in it");
  mkdirSync(mounted, { recursive: true });
  await capture("mount", ["-t", "tmpfs", "none", mounted]);
  try {
    writeFileSync(join(mounted, "file"), "precious");
    for (const format of ["dir", "oci", "qcow2"] as const) {
      const how = { output, format, force: true };
      await assert.rejects(importToFile(context, layout, source, how), failsWith("E_EXISTS", /mounted/));
    }
    assert.equal(readFileSync(join(mounted, "file"), "utf8"), "precious");
  } finally {
    await capture("umount", [mounted]);
  }
});

test("a read-only file system is told of, and the old output stays", needsRoot("a mount"), async (t) => {
  const { directory, source, context, layout } = preparedImage(t, [[{ path: "a" }]]);
  const mounted = join(directory, "mounted");
  mkdirSync(mounted);
  await capture("mount", ["-t", "tmpfs", "none", mounted]);
  try {
    mkdirSync(join(mounted, "directory"));
    writeFileSync(join(mounted, "directory/file"), "precious");
    writeFileSync(join(mounted, "file"), "precious");
    await capture("mount", ["-o", "remount,ro", mounted]);
    const before = await describeTree(mounted);
    for (const format of FORMATS) {
      for (const name of ["new", ["dir", "oci", "qcow2"].includes(format) ? "directory" : "file"]) {
        const how = { output: join(mounted, name), format, force: true };
        await assert.rejects(importToFile(context, layout, source, how), failsWith("E_READ_ONLY"), `${format} ${name}`);
      }
    }
    assert.deepEqual(await describeTree(mounted), before);
  } finally {
    await capture("umount", [mounted]);
  }
});
