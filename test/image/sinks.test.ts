/** What every sink has to keep: the same tree, nothing half done, nothing replaced unasked. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { capture } from "../../src/base/process.ts";
import { importImage, importToFile } from "../../src/commands/import-image.ts";
import { compressionOptions } from "../../src/image/sinks/squashfs.ts";
import { generateStack } from "../support/image-stacks.ts";
import {
  bytes,
  describeTree,
  failsWith,
  type Given,
  scratch,
  tarOf,
  testContext,
  writeLayout,
} from "../support/image-support.ts";

const FORMATS = ["squashfs", "dir"] as const;

const entries: Given[] = [
  { path: "./", kind: "directory", mode: 0o711 },
  { path: "program", content: "p".repeat(300_000), mode: 0o4755, mtime: 1_700_000_001 },
  {
    path: "capable",
    content: "c",
    xattrs: new Map([[bytes("security.capability"), Buffer.from(`01000002${"00".repeat(16)}`, "hex")]]),
  },
  { path: "deep/er/file", content: "d" },
  { path: "link", kind: "link", target: "program" },
  { path: "null", kind: "character", major: 1, minor: 3 },
  { path: "old", content: "from before 1970 is 1970 to squashfs", mtime: 0 },
];

/** A tree written by a sink, as a directory. */
async function treeOf(output: string, format: (typeof FORMATS)[number], directory: string): Promise<string[]> {
  if (format === "dir") return describeTree(output);
  const unpacked = join(directory, "unsquashed");
  await capture("unsquashfs", ["-d", unpacked, "-no-progress", output]);
  return (await describeTree(unpacked)).filter((line) => !/^\.rootling/.test(line));
}

const prepared = (t: TestContext, layers: Given[][]) => {
  const directory = scratch(t);
  writeLayout(
    join(directory, "layout"),
    layers.map((layer) => tarOf(layer)),
  );
  return { directory, source: `oci:${directory}/layout`, ...testContext(directory) };
};

test("all sinks write the same tree", async (t) => {
  for (const layers of [[entries], generateStack(3, 4), generateStack(8, 4)]) {
    const { directory, source, context, layout } = prepared(t, layers);
    const trees: string[][] = [];
    for (const format of FORMATS) {
      const output = join(directory, `out-${format}`);
      await importToFile(context, layout, source, { output, format });
      trees.push(await treeOf(output, format, directory));
    }
    assert.deepEqual(trees[0], trees[1]);
    const stored = await importImage(context, layout, source);
    assert.deepEqual(await describeTree(stored.tree), trees[1]);
  }
});

test("a squashfs keeps the configuration, and SOURCE_DATE_EPOCH makes runs identical", async (t) => {
  const { directory, source, context, layout } = prepared(t, [entries]);
  process.env.SOURCE_DATE_EPOCH = "1700000000";
  t.after(() => delete process.env.SOURCE_DATE_EPOCH);
  const hashes = [];
  for (const name of ["a", "b"]) {
    const output = join(directory, name);
    await importToFile(context, layout, source, { output, format: "squashfs", comp: "gzip:1" });
    hashes.push(createHash("sha256").update(readFileSync(output)).digest("hex"));
  }
  assert.equal(hashes[0], hashes[1]);
  await capture("unsquashfs", ["-d", join(directory, "un"), "-no-progress", join(directory, "a")]);
  const config = JSON.parse(readFileSync(join(directory, "un/.rootling/config.json"), "utf8"));
  assert.equal(config.rootfs.type, "layers");
});

for (const format of FORMATS) {
  test(`${format}: an existing output is left alone, or replaced when asked to`, async (t) => {
    const { directory, source, context, layout } = prepared(t, [entries]);
    const output = join(directory, "out");
    if (format === "dir") mkdirSync(output);
    else writeFileSync(output, "precious");
    const before = format === "dir" ? "" : readFileSync(output, "utf8");
    await assert.rejects(importToFile(context, layout, source, { output, format }), failsWith("E_EXISTS"));
    assert.equal(format === "dir" ? "" : readFileSync(output, "utf8"), before);
    await importToFile(context, layout, source, { output, format, force: true });
    assert.ok((await treeOf(output, format, directory)).length > 5);
    assert.deepEqual(
      readdirSync(directory).filter((name) => name.endsWith(".tmp")),
      [],
    );
  });

  test(`${format}: a failure in the last layer leaves nothing behind`, async (t) => {
    const { directory, source, context, layout } = prepared(t, [[{ path: "a", kind: "link", target: "b" }], entries]);
    const output = join(directory, "out");
    const before = readdirSync(directory).concat("cache", "data").sort();
    await assert.rejects(importToFile(context, layout, source, { output, format }), failsWith("E_LAYER"));
    assert.deepEqual(readdirSync(directory).sort(), before);
  });

  test(`${format}: a full disk is told and leaves nothing behind`, async (t) => {
    const { directory, source, context, layout } = prepared(t, [
      [
        {
          path: "noise",
          content: Buffer.from(Array.from({ length: 3_000_000 }, (_, i) => (i * i * 2654435761) >>> 24)),
        },
      ],
    ]);
    const small = join(directory, "small");
    mkdirSync(small);
    await capture("mount", ["-t", "tmpfs", "-o", "size=64k", "none", small]);
    try {
      const output = join(small, "out");
      await assert.rejects(
        importToFile(context, layout, source, { output, format, force: true }),
        failsWith("E_SPACE"),
      );
      assert.deepEqual(readdirSync(small), []);
    } finally {
      await capture("umount", [small]);
    }
  });

  test(`${format}: Ctrl-C ends it and leaves nothing behind`, async (t) => {
    const content = Buffer.alloc(200 << 20, "not all the same ".repeat(99));
    const { directory, source } = prepared(t, [[{ path: "large", content }]]);
    const script = join(import.meta.dirname, "../support/image-import.ts");
    const work = join(directory, "work");
    mkdirSync(work);
    const child = spawn(process.execPath, [script, source, join(work, "out"), format], {
      env: { ...process.env, IMAGE_TEST_DIRECTORY: directory },
      stdio: ["ignore", "ignore", "pipe"],
    });
    let said = "";
    child.stderr.on("data", (chunk) => (said += chunk));
    const ended = new Promise((resolve) => child.on("close", resolve));
    while (readdirSync(work).length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    child.kill("SIGINT");
    assert.equal(await ended, 125);
    assert.match(said, /E_INTERRUPTED/);
    assert.deepEqual(readdirSync(work), []);
  });
}

test("a file system without xattrs works, and is told of once", async (t) => {
  const attributes = new Map([[bytes("user.note"), Buffer.from("x")]]);
  const { directory, source, context, layout, warnings } = prepared(t, [
    [
      { path: "a", content: "x", xattrs: attributes },
      { path: "b", content: "x", xattrs: attributes },
    ],
  ]);
  // ramfs keeps no user attributes.
  const mounted = join(directory, "mounted");
  mkdirSync(mounted);
  await capture("mount", ["-t", "ramfs", "none", mounted]);
  try {
    const output = join(mounted, "out");
    await importToFile(context, layout, source, { output, format: "dir" });
    assert.equal(readFileSync(join(output, "a"), "utf8"), "x");
    assert.equal(warnings.length, 1, warnings.join("\n"));
  } finally {
    await capture("umount", [mounted]);
  }
});

test("squashfs: an owner of the root that cannot be kept is told of", async (t) => {
  const { directory, source, context, layout, warnings } = prepared(t, [[{ path: "./", kind: "directory", uid: 3 }]]);
  await importToFile(context, layout, source, { output: join(directory, "out"), format: "squashfs" });
  assert.match(warnings.join("\n"), /3:0/);
});

test("compressions", () => {
  assert.deepEqual(compressionOptions("zstd:3"), ["-comp", "zstd", "-Xcompression-level", "3"]);
  assert.deepEqual(compressionOptions("lz4"), ["-comp", "lz4"]);
  for (const text of ["", "zstd:0", "zstd:23", "lz4:1", "gzip:x", "toString", "-x"]) {
    assert.throws(() => compressionOptions(text), failsWith("E_USAGE"), text);
  }
});
