/** Images that want to do harm: threats.md rows 9, 10, 16, 17, 19, 20, 22 and 28. Canaries outside never change. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { Failure, type FailureCode } from "../../src/base/errors.ts";
import { importToFile } from "../../src/commands/import-image.ts";
import { digestOf } from "../../src/image/digest.ts";
import { cleanPath, whiteoutOf } from "../../src/image/names.ts";
import { parseDocument } from "../../src/image/sources/manifest.ts";
import { TarReader } from "../../src/image/tar-read.ts";
import { preparedImage } from "../support/image-cases.ts";
import { generateStack, randomFrom } from "../support/image-stacks.ts";
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

/** Unpacks layers beside a canary, which has to stay as it is. */
async function unpack(t: TestContext, layers: readonly (readonly Given[])[], env: Record<string, string> = {}) {
  const { directory, source, context, layout, warnings } = preparedImage(t, layers, { env });
  const outside = join(directory, "outside");
  mkdirSync(outside);
  writeFileSync(join(outside, "canary"), "alive");
  const output = join(directory, "work", "tree");
  mkdirSync(join(directory, "work"));
  const before = await describeTree(outside, { rootTime: true });
  try {
    await importToFile(context, layout, source, { output, format: "dir" });
    return { tree: await describeTree(output), output, warnings };
  } finally {
    assert.deepEqual(await describeTree(outside, { rootTime: true }), before);
    assert.deepEqual(
      readdirSync(join(directory, "work")).filter((name) => name !== "tree"),
      [],
    );
  }
}

const link = (path: string, target: string): Given => ({ path, kind: "symlink", target, mode: 0o777 });

const refused: Record<string, { layers: Given[][]; code: FailureCode; env?: Record<string, string> }> = {
  "a name with ..": { layers: [[{ path: "../outside/canary", content: "x" }]], code: "E_LAYER" },
  "a name with .. inside": { layers: [[{ path: "a/../../outside/canary", content: "x" }]], code: "E_LAYER" },
  "a hard link out of the tree": {
    layers: [[{ path: "a", kind: "link", target: "../outside/canary" }]],
    code: "E_LAYER",
  },
  "a hard link to nothing": { layers: [[{ path: "a", kind: "link", target: "etc/passwd" }]], code: "E_LAYER" },
  "hard links to each other": {
    layers: [
      [
        { path: "a", kind: "link", target: "b" },
        { path: "b", kind: "link", target: "a" },
      ],
    ],
    code: "E_LAYER",
  },
  "an absolute hard link": { layers: [[{ path: "a", kind: "link", target: "/etc/passwd" }]], code: "E_LAYER" },
  // Long enough for an extended header: the others end at the first NUL.
  "a name with NUL": { layers: [[{ path: `${"a".repeat(120)}\0b`, content: "x" }]], code: "E_LAYER" },
  "a symlink with NUL": { layers: [[link("a", `${"b".repeat(120)}\0c`)]], code: "E_LAYER" },
  "a symlink as the root": {
    layers: [[link("./", "../outside")], [{ path: "canary", content: "x" }]],
    code: "E_LAYER",
  },
  "a file as the root": { layers: [[{ path: "/", content: "x" }]], code: "E_LAYER" },
  "a name through a symlink of its layer": {
    layers: [[link("a", "../../outside"), { path: "a/canary", content: "x" }]],
    code: "E_LAYER",
  },
  "a whiteout of ..": { layers: [[{ path: "a/.wh..." }]], code: "E_LAYER" },
  "a whiteout of the directory itself": { layers: [[{ path: "a/.wh.." }]], code: "E_LAYER" },
  "a name below a whiteout": { layers: [[{ path: ".wh.a/../../outside" }]], code: "E_LAYER" },
  "a name below a whiteout's name": { layers: [[{ path: ".wh.a/b" }]], code: "E_LAYER" },
  "a very deep name": { layers: [[{ path: "a/".repeat(2000) }]], code: "E_LIMIT" },
  "a very long name": { layers: [[{ path: "a".repeat(256) }]], code: "E_LIMIT" },
  "a name longer than any path": { layers: [[{ path: "ab/".repeat(4096) }]], code: "E_LIMIT" },
  "too many names": {
    layers: [Array.from({ length: 20 }, (_, i): Given => ({ path: `f${i}` }))],
    code: "E_LIMIT",
    env: { ROOTLING_MAX_ENTRIES: "19" },
  },
};

for (const [what, { layers, code, env }] of Object.entries(refused)) {
  test(`refused: ${what}`, async (t) => {
    await assert.rejects(unpack(t, layers, env), failsWith(code));
  });
}

test("refused: a gigabyte of zeros in a megabyte", async (t) => {
  const size = 1 << 30;
  const directory = scratch(t);
  // The layer is refused before its end, where its digest would be looked at: only what is stored has to be made.
  const header = tarOf([{ path: "zeros", content: Buffer.alloc(0) }], false);
  header.write(`${size.toString(8).padStart(11, "0")}\0`, 124, "latin1");
  header.fill(0x20, 148, 156);
  header.write(
    `${header
      .reduce((sum, byte) => sum + byte, 0)
      .toString(8)
      .padStart(6, "0")}\0 `,
    148,
    "latin1",
  );
  const zeros = gzipSync(Buffer.alloc(1 << 25));
  const bomb = Buffer.concat([gzipSync(header), ...Array.from({ length: 33 }, () => zeros)]);
  writeLayout(join(directory, "layout"), [bomb], { compression: "none" });
  const { context, layout } = testContext(directory);
  const output = join(directory, "out.squashfs");
  await assert.rejects(
    importToFile(context, layout, `oci:${directory}/layout`, { output, format: "squashfs" }),
    failsWith("E_LIMIT", /ROOTLING_MAX_RATIO/),
  );
  assert.equal(existsSync(output), false);
});

test("a symlink of a lower layer is never walked through", async (t) => {
  const { tree } = await unpack(t, [
    [link("escape", "../../outside"), link("up", "/")],
    [
      { path: "escape/canary", content: "overwritten" },
      { path: "up/etc/passwd", content: "mine" },
    ],
  ]);
  assert.match(tree.join("\n"), /^escape\/canary\|100000/m);
  assert.match(tree.join("\n"), /^escape\|40000/m);
});

test("an entry below a file of a higher layer is dropped", async (t) => {
  const { tree } = await unpack(t, [[{ path: "a/b", content: "x" }], [link("a", "/etc")]]);
  assert.equal(tree.length, 2);
});

test("of names given twice the last wins, as in extraction", async (t) => {
  const { tree, output } = await unpack(t, [
    [
      { path: "same", content: "first" },
      { path: "was-directory", kind: "directory" },
      { path: "was-directory/inside", content: "gone" },
      { path: "was-file", content: "x" },
      { path: "./same", content: "second" },
      { path: "was-directory", content: "now a file" },
      { path: "was-file", kind: "directory", mode: 0o700 },
      { path: "was-file/inside", content: "there" },
    ],
    [{ path: "above", content: "x" }],
  ]);
  assert.equal(readFileSync(join(output, "same"), "utf8"), "second");
  assert.equal(readFileSync(join(output, "was-directory"), "utf8"), "now a file");
  assert.equal(readFileSync(join(output, "was-file/inside"), "utf8"), "there");
  assert.equal(tree.length, 6);
});

test("what would steer an overlayfs never enters a tree", async (t) => {
  const value = Buffer.from("y");
  const { tree } = await unpack(t, [
    [{ path: "hidden", content: "x" }],
    [
      { path: "opaque", kind: "directory", xattrs: new Map([[bytes("user.overlay.opaque"), value]]) },
      {
        path: "redirect",
        kind: "directory",
        xattrs: new Map([[bytes("trusted.overlay.redirect"), Buffer.from("/etc")]]),
      },
      { path: "kept", content: "", xattrs: new Map([[bytes("user.kept"), value]]) },
      { path: "hidden", kind: "character", major: 0, minor: 0 },
    ],
  ]);
  assert.doesNotMatch(tree.join("\n"), /overlay|device/);
  assert.match(tree.join("\n"), /user\.kept/);
  assert.doesNotMatch(tree.join("\n"), /^hidden/m);
});

test("an absolute name lies in the tree", async (t) => {
  const { tree } = await unpack(t, [
    [
      { path: "/etc/passwd", content: "mine" },
      { path: "//usr//bin/./tool", content: "x" },
    ],
  ]);
  assert.deepEqual(tree.map((line) => line.split("|")[0]).sort(), [
    "",
    "etc",
    "etc/passwd",
    "usr",
    "usr/bin",
    "usr/bin/tool",
  ]);
});

test("names that other systems take for one another stay apart", async (t) => {
  // One letter in two cases, one character in two forms of Unicode.
  const names = ["a", "A", "\u00e9", "e\u0301"];
  const lower = names.map((path): Given => ({ path, content: "lower" }));
  const { tree } = await unpack(t, [lower, [{ path: "A", content: "upper" }, { path: ".wh.e\u0301" }]]);
  const found = tree.map((line) => Buffer.from(line.split("|")[0] ?? "", "latin1").toString());
  assert.deepEqual(found.sort(), ["", "A", "a", "\u00e9"]);
});

test("FIFOs and devices are made, or left out, and never opened", async (t) => {
  const { tree } = await unpack(t, [
    [
      { path: "pipe", kind: "fifo" },
      { path: "zero", kind: "character", major: 1, minor: 5 },
      { path: "disk", kind: "block", major: 7, minor: 0 },
      { path: "etc/passwd", kind: "fifo" },
      { path: ".rootling", kind: "fifo" },
    ],
    [
      { path: "again", kind: "link", target: "pipe" },
      { path: "zero/canary", content: "x" },
    ],
    [{ path: "disk", content: "a file now" }],
  ]);
  const kinds = Object.fromEntries(tree.map((line) => [line.split("|")[0], line.split("|")[1]?.split(" ")[0]]));
  assert.deepEqual(
    [kinds.pipe, kinds.again, kinds.zero, kinds.disk, kinds["etc/passwd"], kinds[".rootling"]],
    ["10000", "10000", "40000", "100000", "10000", undefined],
  );
});

test("an image has no say in /.rootling", async (t) => {
  const { tree, warnings } = await unpack(t, [[{ path: ".rootling/config.json", content: "{}" }]]);
  assert.equal(tree.length, 1);
  assert.match(warnings.join("\n"), /reserved/);
});

test("what failures quote of an image is escaped", async (t) => {
  await assert.rejects(unpack(t, [[{ path: "a\u001b[31m\u202e/../x" }]]), (error: unknown) => {
    assert(error instanceof Failure);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: none of them may be there
    assert.doesNotMatch(error.what, /[\u0000-\u001f\u202e]/);
    return true;
  });
});

test("manifests that can be read in two ways are refused", () => {
  const blob = { digest: `sha256:${"0".repeat(64)}`, size: 1 };
  const manifest = { schemaVersion: 2, config: blob, layers: [] };
  const index = { schemaVersion: 2, manifests: [] };
  const oci = "application/vnd.oci.image.manifest.v1+json";
  const read = (text: string, mediaType?: string) => {
    const content = Buffer.from(text);
    return parseDocument({ digest: digestOf(content), bytes: content, mediaType }, "test");
  };
  assert.equal(read(JSON.stringify(manifest), oci).kind, "manifest");
  assert.equal(read(JSON.stringify(index)).kind, "index");
  const bad: [string, string?][] = [
    [JSON.stringify({ ...manifest, ...index })],
    [JSON.stringify({ ...manifest, mediaType: "application/vnd.oci.image.index.v1+json" })],
    [JSON.stringify({ ...manifest, mediaType: oci }), "application/vnd.docker.distribution.manifest.v2+json"],
    [JSON.stringify(index), oci],
    [JSON.stringify({ ...manifest, schemaVersion: 1 })],
    [JSON.stringify({ ...manifest, layers: [{ digest: "sha256:../../x", size: 1 }] })],
    [JSON.stringify({ ...manifest, layers: [{ ...blob, size: -1 }] })],
    [JSON.stringify(manifest).replace('"layers":[]', '"layers":[],"l\\u0061yers":[]')],
    ["[]"],
    ["{"],
  ];
  for (const [text, mediaType] of bad) {
    assert.throws(
      () => read(text, mediaType),
      (error: unknown) => error instanceof Failure && ["E_MANIFEST", "E_DIGEST"].includes(error.code),
      text,
    );
  }
  const many = { schemaVersion: 2, manifests: Array.from({ length: 1001 }, () => blob) };
  assert.throws(() => read(JSON.stringify(many)), failsWith("E_LIMIT"));
});

test("clean names are clean, whatever is in them", () => {
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom("a", "..", ".", "", "\0", ".wh.b", "...", "é\xff")),
      fc.boolean(),
      (parts, slash) => {
        let clean: string;
        try {
          clean = cleanPath(bytes((slash ? "/" : "") + parts.join("/")), "test");
          whiteoutOf(bytes(clean), "test");
        } catch (error) {
          return error instanceof Failure;
        }
        const found = clean.split("/");
        return (
          clean === "" || found.every((part) => part !== "" && part !== "." && part !== ".." && !part.includes("\0"))
        );
      },
    ),
  );
});

test("mutated archives are read or refused, never worse", () => {
  const random = randomFrom(1);
  const archives = Array.from({ length: 20 }, (_, seed) => tarOf(generateStack(seed + 1, 1)[0] ?? []));
  for (let round = 0; round < 3000; round++) {
    const archive = Buffer.from(archives[round % archives.length] as Buffer);
    for (let i = 0; i < 1 + random() * 4; i++)
      archive[Math.floor(random() * archive.length)] = Math.floor(random() * 256);
    const cut = random() < 0.3 ? archive.subarray(0, Math.floor(random() * archive.length)) : archive;
    let content = 0;
    const handler = { entry: () => true, data: (slice: Buffer) => void (content += slice.length), end: () => {} };
    const reader = new TarReader("test", handler);
    try {
      for (let at = 0; at < cut.length; at += 700) reader.write(cut.subarray(at, at + 700));
      reader.end(true);
    } catch (error) {
      assert(error instanceof Failure && ["E_LAYER", "E_LIMIT"].includes(error.code), String(error));
    }
    assert(content <= cut.length);
  }
});
