/** What every sink has to keep: the same tree, nothing half done, nothing replaced unasked. */

import assert from "node:assert/strict";
import { createCipheriv, createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Failure } from "../../src/base/errors.ts";
import { ourselves, ownerName } from "../../src/base/owner.ts";
import { capture } from "../../src/base/process.ts";
import { importImage, importToFile, type OutputFormat, outputFormats } from "../../src/commands/import-image.ts";
import { programFailure } from "../../src/image/sinks/program.ts";
import { compressionOptions } from "../../src/image/sinks/squashfs.ts";
import { filesOfChain, treeOfDisk } from "../support/disks.ts";
import { importWords, preparedImage, startImport } from "../support/image-cases.ts";
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
import { needsRoot } from "../support/users.ts";

/** An initial RAM file system is no tree of its own: cpio keeps no attributes. */
const FORMATS = (Object.keys(outputFormats) as OutputFormat[]).filter((format) => format !== "initramfs");
/** Formats that are directories. */
const isDirectory = (format: OutputFormat) => format === "dir" || format === "oci" || format === "qcow2";

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
async function treeOf(output: string, format: OutputFormat, directory: string): Promise<string[]> {
  if (format === "dir") return describeTree(output);
  if (format === "raw") return treeOfDisk(output);
  if (format === "qcow2") return treeOfDisk(filesOfChain(output).at(-1) ?? "");
  const unpacked = mkdtempSync(join(directory, "unpacked-"));
  const tree = join(unpacked, "rootfs");
  if (format === "squashfs") await capture("unsquashfs", ["-d", tree, "-no-progress", output]);
  else if (format === "oci" || format === "oci-archive") {
    rmSync(unpacked, { recursive: true });
    const layout = format === "oci" ? output : `${unpacked}-layout`;
    if (format === "oci-archive") {
      await capture("skopeo", ["copy", "--insecure-policy", `oci-archive:${output}`, `oci:${layout}:latest`]);
    }
    await capture("umoci", ["unpack", "--image", `${layout}:latest`, unpacked]);
  } else {
    mkdirSync(tree);
    await capture("tar", ["-xf", output, "-C", tree, "-p", "-P", "--xattrs", "--xattrs-include=*", "--numeric-owner"]);
  }
  const lines = (await describeTree(tree)).filter((line) => !/^\.rootling/.test(line));
  rmSync(unpacked, { recursive: true });
  return lines;
}

/** Does not become smaller, and is more than the small file system of a test holds. */
const NOISE = createCipheriv("aes-128-ctr", Buffer.alloc(16), Buffer.alloc(16)).update(Buffer.alloc(300_000));

/** An import into `work` that has begun to write, and waits for the end of its image. */
async function startedImport(directory: string, format: OutputFormat) {
  const work = join(directory, "work");
  mkdirSync(work);
  const started = startImport(directory, importWords("-", join(work, "out"), format), "pipe");
  const archive = tarOf([{ path: "large", content: NOISE }]);
  started.child.stdin?.on("error", () => {}).write(archive.subarray(0, -600));
  while (readdirSync(work).length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  return { work, ...started };
}

test("all sinks write the same tree", needsRoot("owners and devices"), async (t) => {
  for (const layers of [[entries], generateStack(3, 4)]) {
    const { directory, source, context, layout } = preparedImage(t, layers);
    const trees: string[][] = [];
    for (const format of FORMATS) {
      const output = join(directory, `out-${format}`);
      await importToFile(context, layout, source, { output, format });
      trees.push(await treeOf(output, format, directory));
    }
    for (const [i, tree] of trees.entries()) assert.deepEqual(tree, trees[1], `${FORMATS[i]}`);
    const stored = await importImage(context, layout, source);
    assert.deepEqual(await describeTree(stored.tree), trees[1]);
  }
});

test(
  "a squashfs keeps the configuration, and SOURCE_DATE_EPOCH makes runs identical",
  needsRoot("devices"),
  async (t) => {
    const { directory, source, context, layout } = preparedImage(t, [entries]);
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
  },
);

for (const format of FORMATS) {
  test(
    `${format}: an existing output is left alone, or replaced when asked to`,
    format === "dir" ? {} : needsRoot("owners and devices"),
    async (t) => {
      const { directory, source, context, layout } = preparedImage(t, [entries]);
      const output = join(directory, "out");
      if (isDirectory(format)) mkdirSync(output);
      const precious = isDirectory(format) ? join(output, "file") : output;
      writeFileSync(precious, "precious");
      await assert.rejects(importToFile(context, layout, source, { output, format }), failsWith("E_EXISTS"));
      assert.equal(readFileSync(precious, "utf8"), "precious");
      await importToFile(context, layout, source, { output, format, force: true });
      assert.ok((await treeOf(output, format, directory)).length > 5);
      assert.deepEqual(
        readdirSync(directory).filter((name) => name.endsWith(".tmp")),
        [],
      );
    },
  );

  test(`${format}: a failure in the last layer leaves nothing behind`, async (t) => {
    const { directory, source, context, layout } = preparedImage(t, [
      [{ path: "a", kind: "link", target: "b" }],
      entries,
    ]);
    const output = join(directory, "out");
    const before = readdirSync(directory).concat("cache", "data").sort();
    await assert.rejects(importToFile(context, layout, source, { output, format }), failsWith("E_LAYER"));
    assert.deepEqual(readdirSync(directory).sort(), before);
  });

  test(`${format}: a wrong digest in the last layer that is read leaves nothing behind`, async (t) => {
    const { directory, source, context, layout } = preparedImage(t, [entries, [{ path: "above" }]]);
    const index = JSON.parse(readFileSync(join(directory, "layout/index.json"), "utf8"));
    const blob = (digest: string) => join(directory, "layout/blobs/sha256", digest.slice("sha256:".length));
    const manifest = JSON.parse(readFileSync(blob(index.manifests[0].digest), "utf8"));
    const lowest = blob(manifest.layers[0].digest);
    const damaged = readFileSync(lowest);
    // The header's time: the stream is whole, the bytes are others.
    damaged.writeUInt8(damaged.readUInt8(5) ^ 1, 5);
    writeFileSync(lowest, damaged);
    const output = join(directory, "out");
    const before = readdirSync(directory).concat("cache", "data").sort();
    await assert.rejects(importToFile(context, layout, source, { output, format }), failsWith("E_DIGEST"));
    assert.deepEqual(
      readdirSync(directory).filter((name) => !before.includes(name)),
      [],
    );
  });

  test(`${format}: what a killed import left goes with the next, and nothing else`, async (t) => {
    const { directory, source, context, layout } = preparedImage(t, [[{ path: "small" }]]);
    const { work, child, ended } = await startedImport(directory, format);
    child.kill("SIGKILL");
    await ended;
    const left = readdirSync(work);
    assert.equal(left.length, 1);
    // Of somebody who lives, and of another output.
    const others = [`out.${ownerName(ourselves())}.00000000.tmp`, `other${left[0]?.slice("out".length)}`];
    for (const name of others) writeFileSync(join(work, name), "");
    await importToFile(context, layout, source, { output: join(work, "out"), format });
    assert.deepEqual(readdirSync(work).sort(), ["out", ...others].sort());
  });

  test(`${format}: a full disk is told and leaves nothing behind`, needsRoot("a small file system"), async (t) => {
    const { directory, source, context, layout } = preparedImage(t, [[{ path: "noise", content: NOISE }]]);
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
    const { work, child, ended } = await startedImport(scratch(t), format);
    child.kill("SIGINT");
    const { status, said } = await ended;
    assert.equal(status, 125);
    assert.match(said, /E_INTERRUPTED/);
    assert.deepEqual(readdirSync(work), []);
  });
}

test(
  "dir: an empty mount point is filled in place, and empty again after a failure",
  needsRoot("a mount"),
  async (t) => {
    const good = preparedImage(t, [entries]);
    const bad = preparedImage(t, [[{ path: "a", kind: "link", target: "b" }], entries]);
    const output = join(good.directory, "mounted");
    mkdirSync(output);
    await capture("mount", ["-t", "tmpfs", "none", output]);
    try {
      mkdirSync(join(output, "lost+found"));
      await assert.rejects(
        importToFile(bad.context, bad.layout, bad.source, { output, format: "dir" }),
        failsWith("E_LAYER"),
      );
      assert.deepEqual(readdirSync(output), ["lost+found"]);
      await importToFile(good.context, good.layout, good.source, { output, format: "dir" });
      assert.equal((await describeTree(output)).length, 10);
      await assert.rejects(
        importToFile(good.context, good.layout, good.source, { output, format: "dir", force: true }),
        failsWith("E_EXISTS", /mount point/),
      );
    } finally {
      await capture("umount", [output]);
    }
  },
);

test(
  "tar and oci: the same image makes the same bytes, in each compression",
  needsRoot("owners and devices"),
  async (t) => {
    const { directory, source, context, layout } = preparedImage(t, [
      entries,
      [{ path: "more", content: "x".repeat(9000) }],
    ]);
    process.env.SOURCE_DATE_EPOCH = "1700000000";
    t.after(() => delete process.env.SOURCE_DATE_EPOCH);
    const hash = async (path: string) =>
      (await capture("sh", [
        "-c",
        'find "$1" -type f -exec sha256sum {} + | sed "s,/[ab]-,/," | sort',
        "-",
        path,
      ])) as string;
    let expected: string[] | undefined;
    for (const comp of ["none", "gzip", "zstd:5"]) {
      for (const format of comp === "gzip" ? (["tar", "oci", "oci-archive"] as const) : (["tar", "oci"] as const)) {
        const outputs = ["a", "b"].map((name) => join(directory, `${name}-${comp.replace(":", "")}-${format}`));
        for (const output of outputs) await importToFile(context, layout, source, { output, format, comp });
        assert.equal(await hash(outputs[0] ?? ""), await hash(outputs[1] ?? ""));
        const again = join(directory, `again-${comp.replace(":", "")}-${format}`);
        const from = `${format === "tar" ? "" : `${format}:`}${outputs[0]}`;
        await importToFile(context, layout, from, { output: again, format: "dir" });
        expected ??= await describeTree(again);
        assert.deepEqual(await describeTree(again), expected, `${format} ${comp}`);
        // By others too, once for each compression that they know: umoci 0.4.7 knows no zstd, GNU tar tells it by itself.
        if (comp === "gzip" || (format === "tar" && comp === "zstd:5"))
          assert.deepEqual(await treeOf(outputs[0] ?? "", format, directory), expected);
      }
    }
    for (const comp of ["", "none:1", "gzip:0", "zstd:23", "lz4", "-x", "toString"]) {
      const output = join(directory, "no");
      await assert.rejects(
        importToFile(context, layout, source, { output, format: "tar", comp }),
        failsWith("E_USAGE"),
        comp,
      );
    }
  },
);

test(
  "oci: the layers of the source are kept as they are, in a directory and in an archive",
  needsRoot("owners and devices"),
  async (t) => {
    const directory = scratch(t);
    const layers = [
      tarOf([{ path: "deep", kind: "directory" }, { path: "deep/er", kind: "directory" }, ...entries]),
      tarOf([{ path: "deep/er/.wh.file" }, { path: "deep/er", kind: "directory" }, { path: "x" }]),
    ];
    const config = { Env: ["A=b"] };
    const digest = writeLayout(join(directory, "layout"), layers, { config });
    const { context, layout } = testContext(directory);
    const source = `oci:${directory}/layout`;
    const write = async (name: string, format: OutputFormat, comp?: string, from = source) => {
      const output = join(directory, name);
      const how = { output, format, layers: "keep" as const, ...(comp === undefined ? {} : { comp }) };
      return { output, digest: (await importToFile(context, layout, from, how)).digest };
    };
    const kept = await write("kept", "oci");
    const archive = await write("archive.tar", "oci-archive");
    assert.deepEqual([kept.digest, archive.digest], [digest, digest]);
    const inspect = ["inspect", "--format", "{{.Digest}}", `oci-archive:${archive.output}:latest`];
    assert.equal((await capture("skopeo", inspect)).trim(), digest);
    const expected = await treeOf(join(directory, "layout"), "oci", directory);
    assert.deepEqual(await treeOf(kept.output, "oci", directory), expected);
    assert.deepEqual(await treeOf(archive.output, "oci-archive", directory), expected);
    // Compressed anew they are others, of the same content; Docker's archives and manifests get OCI's words.
    const anew = await write("anew", "oci", "gzip:9");
    assert.notEqual(anew.digest, digest);
    assert.deepEqual(await treeOf(anew.output, "oci", directory), expected);
    const saved = join(directory, "saved.tar");
    await capture("skopeo", ["copy", "--insecure-policy", `${source}:latest`, `docker-archive:${saved}:a/b:latest`]);
    const converted = await write("converted", "oci", undefined, `docker-archive:${saved}`);
    assert.deepEqual(await treeOf(converted.output, "oci", directory), expected);
    const again = await importImage(context, layout, `oci-archive:${archive.output}:latest`);
    assert.deepEqual([again.digest, again.layers.length, again.run], [digest, 2, config]);
  },
);

test("oci: nothing is left of a copy whose source is damaged", async (t) => {
  const directory = scratch(t);
  writeLayout(join(directory, "layout"), [tarOf(entries)], { compression: "none" });
  const blobs = join(directory, "layout/blobs/sha256");
  for (const name of readdirSync(blobs)) {
    const path = join(blobs, name);
    const bytes = readFileSync(path);
    const damaged = Buffer.from(bytes);
    damaged[bytes.length - 2] = (damaged[bytes.length - 2] ?? 0) ^ 1;
    writeFileSync(path, damaged);
    const { context, layout } = testContext(directory);
    for (const format of ["oci", "oci-archive"] as const) {
      const output = join(directory, "out");
      writeFileSync(output, "old");
      const how = { output, format, layers: "keep" as const, force: true };
      await assert.rejects(importToFile(context, layout, `oci:${directory}/layout`, how));
      assert.equal(readFileSync(output, "utf8"), "old");
      assert.deepEqual(
        readdirSync(directory).filter((file) => file.endsWith(".tmp")),
        [],
      );
    }
    writeFileSync(path, bytes);
  }
});

test("oci: the configuration is kept, as far as it stays true", async (t) => {
  const directory = scratch(t);
  const config = { Env: ["A=b"], Labels: { note: "$(touch /canary)" } };
  writeLayout(join(directory, "layout"), [tarOf(entries), tarOf([{ path: "x" }])], { config, ref: "v1" });
  const { context, layout } = testContext(directory);
  await importToFile(context, layout, `oci:${directory}/layout`, { output: join(directory, "flat"), format: "oci" });
  const image = await importImage(context, layout, `oci:${directory}/flat:v1`);
  assert.deepEqual(image.run, config);
  const written = JSON.parse(readFileSync(image.config ?? "", "utf8"));
  assert.equal(written.rootfs.diff_ids.length, 1);
  assert.equal(written.created, undefined);
  // What others make of it: umoci wants a time in the history, and shows it.
  const shown = await capture("umoci", ["stat", "--image", `${directory}/flat:v1`]);
  assert.match(shown, /1970-01-01T00:00:00Z.*rootling import/);
});

test("a file system without xattrs works, and is told of once", needsRoot("a mount"), async (t) => {
  const attributes = new Map([[bytes("user.note"), Buffer.from("x")]]);
  const { directory, source, context, layout, warnings } = preparedImage(t, [
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

test("squashfs: the root has its owner; where it cannot, that is told", async (t) => {
  const { directory, source, context, layout, warnings } = preparedImage(t, [
    [{ path: "a" }, { path: "./", kind: "directory", uid: 3, gid: 4 }],
  ]);
  const output = join(directory, "out");
  await importToFile(context, layout, source, { output, format: "squashfs" });
  assert.match(await capture("unsquashfs", ["-lln", output]), /^drwxr-xr-x 3\/4 .* squashfs-root$/m);
  assert.deepEqual(warnings, []);
  // No user namespace is to be had.
  writeFileSync(join(directory, "unshare"), "#!/bin/sh\nexit 1\n", { mode: 0o755 });
  const path = process.env.PATH;
  process.env.PATH = `${directory}:${path}`;
  t.after(() => (process.env.PATH = path));
  await importToFile(context, layout, source, { output, format: "squashfs", force: true });
  assert.match(warnings.join("\n"), /the owner 3:4/);
});

test("squashfs: an attribute that it has no place for is told of once, and left out", async (t) => {
  const directory = scratch(t);
  const xattrs = new Map(
    [bytes("system.posix_acl_access"), bytes("user.kept")].map((name) => [name, Buffer.from("v")]),
  );
  const files = ["a", "b"].map((path) => ({ path, content: "x", xattrs }));
  writeLayout(join(directory, "layout"), [tarOf(files)]);
  const { context, layout, warnings } = testContext(directory);
  const output = join(directory, "out.sqsh");
  await importToFile(context, layout, `oci:${directory}/layout`, { output, format: "squashfs" });
  assert.equal(warnings.filter((text) => /system\.posix_acl_access of a$/.test(text)).length, 1, warnings.join());
  const tree = await treeOf(output, "squashfs", directory);
  assert.equal(tree.filter((line) => /^[ab]\|.*\|user\.kept=0x76$/.test(line)).length, 2, tree.join("\n"));
});

test("compressions", () => {
  assert.deepEqual(compressionOptions("zstd:3"), ["-comp", "zstd", "-Xcompression-level", "3"]);
  assert.deepEqual(compressionOptions("lz4"), ["-comp", "lz4"]);
  for (const text of ["", "zstd:0", "zstd:23", "lz4:1", "gzip:x", "toString", "-x"]) {
    assert.throws(() => compressionOptions(text), failsWith("E_USAGE"), text);
  }
});

test("more hard links than a file system allows are told of as that", () => {
  const said = new Failure("E_PROGRAM", "tar: b: Cannot hard link to 'a': Too many links");
  assert.throws(
    () => {
      throw programFailure(said, "unpacking the image", "/out");
    },
    failsWith("E_LIMIT", /hard links/),
  );
});
