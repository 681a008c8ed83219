/** Archives and documents made to hang, fill or fool: threats.md rows 16, 17, 19 and 28. Each was found by a generator. */
import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { gzipSync } from "node:zlib";
import type { Failure, FailureCode } from "../../src/base/errors.ts";
import { importImage } from "../../src/commands/import-image.ts";
import { buildImage } from "../../src/image/build.ts";
import { digestHex, digestOf } from "../../src/image/digest.ts";
import { formatPaxRecord } from "../../src/image/pax.ts";
import type { Sink } from "../../src/image/sinks/sink.ts";
import { parseJson } from "../../src/image/sources/json.ts";
import { END_OF_ARCHIVE } from "../../src/image/tar-write.ts";
import { Blobs } from "../../src/store/blobs.ts";
import { listImages } from "../../src/store/images.ts";
import { bytes, failsWith, type Given, scratch, tarOf, testContext, writeLayout } from "../support/image-support.ts";

/** A sink that takes everything and keeps nothing. */
const nowhere = async (): Promise<Sink> => ({
  entry: () => {},
  data: () => {},
  end: () => {},
  flush: () => undefined,
  commit: async () => {},
  abort: async () => {},
});

/** Reads layers, lowest first, through the merge. */
async function build(t: TestContext, layers: readonly Buffer[], env: Record<string, string> = {}) {
  const { context } = testContext(scratch(t), env);
  const image = {
    digest: digestOf("test"),
    name: "test",
    run: {},
    platform: { os: "linux", architecture: "amd64" },
    layers: layers.map((layer, index) => ({
      label: `layer ${index + 1}`,
      open: async () =>
        (async function* () {
          yield layer;
        })(),
    })),
    close: async () => {},
  };
  return buildImage(image, nowhere, context);
}

/** A header of type `type` before what follows, with its size as it should not be. */
function extension(type: string, body: Buffer, size?: Buffer): Buffer {
  const block = tarOf([{ path: "header", content: body }], false);
  block.write(type, 156, "latin1");
  size?.copy(block, 124);
  block.fill(0x20, 148, 156);
  const sum = block.subarray(0, 512).reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}

const files = (count: number): Given[] => Array.from({ length: count }, (_, i) => ({ path: `f${i}` }));
const record = (key: string, length: number): Buffer => formatPaxRecord(bytes(key), Buffer.alloc(length, "x"));

const minus512 = Buffer.from("fffffffffffffffffffffe00", "hex");

const refused: Record<string, { layers: () => Buffer[]; code: FailureCode; env?: Record<string, string> }> = {
  "an extended header that ends before it begins": {
    layers: () => [Buffer.concat([tarOf([{ path: "a" }], false), extension("x", Buffer.alloc(0), minus512)])],
    code: "E_LAYER",
  },
  "a long name that ends before it begins": {
    layers: () => [Buffer.concat([extension("L", Buffer.alloc(0), minus512), END_OF_ARCHIVE])],
    code: "E_LAYER",
  },
  "an attribute whose name holds NUL": {
    layers: () => [tarOf([{ path: "a", xattrs: new Map([[bytes("user.a\0b"), Buffer.from("x")]]) }])],
    code: "E_LAYER",
  },
  "an attribute without a name": {
    layers: () => [tarOf([{ path: "a", xattrs: new Map([[bytes(""), Buffer.from("x")]]) }])],
    code: "E_LAYER",
  },
  "an attribute whose name holds NUL, as libarchive writes it": {
    layers: () => [Buffer.concat([extension("x", record("LIBARCHIVE.xattr.user.a%00b", 4)), tarOf([{ path: "a" }])])],
    code: "E_LAYER",
  },
  "a device that mknod would make a whiteout": {
    layers: () => [tarOf([{ path: "a", kind: "character", major: 4096, minor: 0 }])],
    code: "E_LAYER",
  },
  "a minor number that mknod would cut to 0": {
    layers: () => [tarOf([{ path: "a", kind: "character", major: 0, minor: 1 << 20 }])],
    code: "E_LAYER",
  },
  "a hard link to itself": {
    layers: () => [tarOf([{ path: "a", kind: "link", target: "./a" }])],
    code: "E_LAYER",
  },
  "directories that names only imply": {
    layers: () => [tarOf(Array.from({ length: 20 }, (_, i): Given => ({ path: `${i}/${"d/".repeat(400)}f` })))],
    code: "E_LIMIT",
    env: { ROOTLING_MAX_ENTRIES: "2000" },
  },
  "the same in a layer that repeats a name": {
    layers: () => [
      tarOf([
        { path: "a" },
        { path: "a" },
        ...Array.from({ length: 20 }, (_, i): Given => ({ path: `${i}/${"d/".repeat(400)}f` })),
      ]),
    ],
    code: "E_LIMIT",
    env: { ROOTLING_MAX_ENTRIES: "2000" },
  },
  "a large attribute for every entry": {
    layers: () => [Buffer.concat([extension("g", record("SCHILY.xattr.user.big", 900_000)), tarOf(files(100))])],
    code: "E_LIMIT",
  },
  "a smaller attribute for very many entries": {
    layers: () => [Buffer.concat([extension("g", record("SCHILY.xattr.user.big", 60_000)), tarOf(files(2000))])],
    code: "E_LIMIT",
  },
  "global headers that add up": {
    layers: () => [Buffer.concat(Array.from({ length: 10 }, (_, i) => extension("g", record(`comment.${i}`, 10_000))))],
    code: "E_LIMIT",
  },
  "extended headers that add up": {
    layers: () => [Buffer.concat(Array.from({ length: 3 }, (_, i) => extension("x", record(`comment.${i}`, 500_000))))],
    code: "E_LIMIT",
  },
  "a bomb in many small layers": {
    layers: () => {
      const layer = gzipSync(tarOf([{ path: "zeros", content: Buffer.alloc(300 << 20) }]));
      return [layer, layer, layer, layer];
    },
    code: "E_LIMIT",
  },
};

for (const [what, { layers, code, env }] of Object.entries(refused)) {
  test(`refused: ${what}`, async (t) => {
    await assert.rejects(
      build(t, layers(), env),
      (error: Failure) => failsWith(code)(error) && error.mend !== undefined,
    );
  });
}

test("a million names too many in one layer are counted", async (t) => {
  const names = tarOf(files(5000));
  await assert.rejects(build(t, [names], { ROOTLING_MAX_ENTRIES: "4999" }), failsWith("E_LIMIT", /MAX_ENTRIES/));
  await build(t, [names], { ROOTLING_MAX_ENTRIES: "5000" });
});

test("documents of megabytes in one string, and of a hundred thousand brackets, are read or refused", () => {
  const long = JSON.stringify({ label: "x\\".repeat(3_500_000) });
  assert.equal(Object.keys(parseJson(Buffer.from(long), "test")).length, 1);
  const deep = `{"a":${"[".repeat(100_000)}${"]".repeat(100_000)}}`;
  try {
    parseJson(Buffer.from(deep), "test");
  } catch (error) {
    failsWith("E_MANIFEST")(error);
  }
});

test("indexes in indexes end at a limit", async (t) => {
  const directory = scratch(t);
  const layout = join(directory, "layout");
  writeLayout(layout, [tarOf([{ path: "a" }])]);
  const type = "application/vnd.oci.image.index.v1+json";
  let index = JSON.parse(readFileSync(join(layout, "index.json"), "utf8")) as object;
  for (let depth = 0; depth < 1000; depth++) {
    const text = Buffer.from(JSON.stringify({ ...index, mediaType: type }));
    writeFileSync(join(layout, "blobs/sha256", digestHex(digestOf(text))), text);
    index = { schemaVersion: 2, manifests: [{ mediaType: type, digest: digestOf(text), size: text.length }] };
  }
  writeFileSync(join(layout, "index.json"), JSON.stringify(index));
  const { context, layout: store } = testContext(directory);
  await assert.rejects(importImage(context, store, `oci:${layout}`), failsWith("E_LIMIT", /nested/));
});

test("a flipped byte in any blob is found, and nothing is stored", async (t) => {
  const directory = scratch(t);
  const layout = join(directory, "layout");
  writeLayout(layout, [tarOf([{ path: "a", content: "a".repeat(5000) }]), tarOf([{ path: "b", content: "b" }])]);
  const blobs = join(layout, "blobs/sha256");
  const { context, layout: store } = testContext(directory);
  for (const name of readdirSync(blobs)) {
    const whole = readFileSync(join(blobs, name));
    for (const at of [0, Math.floor(whole.length / 2), whole.length - 1]) {
      const damaged = Buffer.from(whole);
      damaged[at] = (damaged[at] as number) ^ 1;
      writeFileSync(join(blobs, name), damaged);
      await assert.rejects(importImage(context, store, `oci:${layout}`), (error: Failure) =>
        ["E_DIGEST", "E_LAYER", "E_MANIFEST"].includes(error.code),
      );
    }
    writeFileSync(join(blobs, name), whole);
  }
  assert.deepEqual(listImages(store), []);
  assert.deepEqual(readdirSync(store.temporary), []);
  await importImage(context, store, `oci:${layout}`);
});

test("what the cache holds is verified again", async (t) => {
  const { layout } = testContext(scratch(t));
  const cache = new Blobs(layout);
  const content = Buffer.from("a manifest");
  const digest = digestOf(content);
  await cache.write(digest, content);
  assert.deepEqual(await cache.read(digest, 100), content);
  writeFileSync(join(layout.blobs, digestHex(digest)), "A manifest");
  assert.equal(await cache.read(digest, 100), undefined);
  const download = async () =>
    (async function* () {
      yield content;
    })();
  const { signal } = new AbortController();
  const { path, cached } = await cache.obtain({ digest, size: content.length }, download, signal, () => {});
  assert.equal(cached, false);
  assert.deepEqual(readFileSync(path), content);
});

test("digests in any form but one are refused before they become paths", async (t) => {
  const directory = scratch(t);
  const { context, layout: store } = testContext(directory);
  const hex = "a".repeat(64);
  const bad = ["sha256:../../x", `sha256:${"A".repeat(64)}`, `sha256:${"a".repeat(63)}`, `sha256:${hex}a`];
  for (const digest of [
    ...bad,
    `sha512:${hex}${hex}`,
    `md5:${hex}`,
    hex,
    `sha256:${hex}\n`,
    `SHA256:${hex}`,
    "",
    null,
  ]) {
    const layout = join(directory, "layout");
    mkdirSync(layout, { recursive: true });
    writeFileSync(join(layout, "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
    writeFileSync(join(layout, "index.json"), JSON.stringify({ schemaVersion: 2, manifests: [{ digest, size: 5 }] }));
    await assert.rejects(importImage(context, store, `oci:${layout}`), failsWith("E_DIGEST"), String(digest));
  }
});
