/** Every source gives the same image: a contract that each has to keep. */
import assert from "node:assert/strict";
import { appendFileSync, existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { importImage, importToFile } from "../../src/commands/import-image.ts";
import { digestHex, digestOf } from "../../src/image/digest.ts";
import { parseSource } from "../../src/image/sources/reference.ts";
import type { Digest } from "../../src/image/types.ts";
import {
  describeTree,
  failsWith,
  type Given,
  scratch,
  tarOf,
  testContext,
  writeLayout,
} from "../support/image-support.ts";
import { startRegistry } from "../support/registry.ts";

const lower: Given[] = [
  { path: "etc", kind: "directory" },
  { path: "etc/os-release", content: "ID=test\n" },
  { path: "gone", content: "x" },
];
const upper: Given[] = [
  { path: ".wh.gone" },
  { path: "bin", kind: "directory" },
  { path: "bin/tool", content: "#!/bin/sh\n", mode: 0o755 },
];
const merged = [...lower.slice(0, 2), ...upper.slice(1)];
const config = { Env: ["A=b"], Cmd: ["tool"], Labels: { note: "$(touch /canary)\n\u001b[31m" } };

test("a registry, a layout and a tarball give the same tree", async (t) => {
  const directory = scratch(t);
  const layers = [tarOf(lower), tarOf(upper)];
  writeLayout(join(directory, "layout"), layers, { config });
  for (const compression of ["zstd", "none"] as const) {
    writeLayout(join(directory, `layout-${compression}`), layers, { compression, config });
  }
  const registry = await startRegistry();
  t.after(registry.stop);
  for (const format of ["oci", "v2s2"] as const) await registry.push(`${directory}/layout`, `test/${format}:1`, format);
  const half = tarOf(merged).length >> 1;
  const parts = [tarOf(merged).subarray(0, half), tarOf(merged).subarray(half)];
  writeFileSync(join(directory, "plain.tar"), tarOf(merged));
  // Streams of several members: what pigz, bgzip and pzstd make.
  writeFileSync(join(directory, "several.bin"), Buffer.concat(parts.map((part) => gzipSync(part))));
  writeFileSync(join(directory, "frames.bin"), Buffer.concat(parts.map((part) => zstdCompressSync(part))));

  const sources = {
    oci: `docker://${registry.address}/test/oci:1`,
    v2s2: `docker://${registry.address}/test/v2s2:1`,
    layout: `oci:${directory}/layout:latest`,
    zstd: `oci:${directory}/layout-zstd`,
    none: `oci:${directory}/layout-none`,
    tar: `${directory}/plain.tar`,
    gzip: `file://${directory}/several.bin`,
    frames: `${directory}/frames.bin`,
  };
  let expected: string[] | undefined;
  for (const [name, source] of Object.entries(sources)) {
    const { context, layout } = testContext(join(directory, `store-${name}`));
    const image = await importImage(context, layout, source, { name: "it" });
    assert.deepEqual(image.refs, ["it"]);
    if (!["tar", "gzip", "frames"].includes(name)) {
      assert.deepEqual(image.run, config);
      assert.deepEqual(JSON.parse(readFileSync(image.config ?? "", "utf8")).config, config);
    }
    expected ??= await describeTree(image.tree);
    assert.deepEqual(await describeTree(image.tree), expected, name);
  }
  assert.equal(expected?.length, merged.length + 1);
  assert.equal(existsSync("/canary"), false);
});

test("a registry: missing images, flipped bytes, a pinned image without network", async (t) => {
  const directory = scratch(t);
  writeLayout(join(directory, "layout"), [tarOf(lower), tarOf(upper)]);
  const registry = await startRegistry();
  t.after(registry.stop);
  await registry.push(`${directory}/layout`, "one:1", "oci");
  const { context, layout } = testContext(directory);
  const from = (name: string) => importImage(context, layout, `docker://${registry.address}/${name}`);
  await assert.rejects(from("one:2"), failsWith("E_NOT_FOUND"));
  await assert.rejects(from("two"), failsWith("E_NOT_FOUND"));
  await assert.rejects(from(`one@sha256:${"0".repeat(64)}`), failsWith("E_NOT_FOUND"));
  const other = { os: "linux", architecture: "s390x" };
  await assert.rejects(
    importImage(context, layout, `docker://${registry.address}/one:1`, { platform: other }),
    failsWith("E_PLATFORM", /amd64|arm64/),
  );
  const stored = await from("one:1");
  const again = await importImage(context, layout, `docker://127.0.0.1:1/one@${stored.digest}`, { name: "pinned" });
  assert.deepEqual(again.refs, [`${registry.address}/one:1`, "pinned"].sort());

  // Each blob of the registry in turn gets a flipped byte.
  const manifest = JSON.parse(
    readFileSync(join(layout.blobs, digestHex(stored.digest as Digest)), "utf8").toString(),
  ) as {
    layers: { digest: Digest }[];
  };
  for (const { digest } of manifest.layers) {
    const hex = digestHex(digest);
    const path = registry.blobFile(digest);
    const whole = readFileSync(path);
    const flipped = Buffer.from(whole);
    flipped.writeUInt8(flipped.readUInt8(whole.length - 9) ^ 1, whole.length - 9);
    writeFileSync(path, flipped);
    const fresh = testContext(join(directory, hex));
    await assert.rejects(
      importImage(fresh.context, fresh.layout, `docker://${registry.address}/one:1`),
      failsWith("E_DIGEST"),
    );
    assert.deepEqual(readdirSync(fresh.layout.images), []);
    assert.deepEqual(readdirSync(fresh.layout.temporary), []);
    writeFileSync(path, whole);
    // Half a download of a process that was killed goes with the next one.
    writeFileSync(join(fresh.layout.blobs, `${hex}.1-00000000.tmp`), "half");
    // A blob that the cache damaged is noticed and fetched anew.
    writeFileSync(join(fresh.layout.blobs, hex), flipped);
    await importImage(fresh.context, fresh.layout, `docker://${registry.address}/one:1`);
    assert.deepEqual(readFileSync(join(fresh.layout.blobs, hex)), whole);
    assert.ok(readdirSync(fresh.layout.blobs).every((name) => /^[0-9a-f]{64}$/.test(name)));
  }
});

test("a layout: damaged blobs, a wrong DiffID, missing references", async (t) => {
  const directory = scratch(t);
  const { context, layout } = testContext(directory);
  const path = join(directory, "layout");
  writeLayout(path, [tarOf(lower)], { ref: "a" });
  await assert.rejects(importImage(context, layout, `oci:${path}:b`), failsWith("E_NOT_FOUND", /it holds: a/));
  await assert.rejects(importImage(context, layout, `oci:${directory}/none`), failsWith("E_NOT_FOUND"));
  for (const name of readdirSync(join(path, "blobs/sha256"))) {
    const blob = join(path, "blobs/sha256", name);
    const whole = readFileSync(blob);
    appendFileSync(blob, "x");
    await assert.rejects(importImage(context, layout, `oci:${path}`), failsWith("E_DIGEST"));
    writeFileSync(blob, whole);
  }
  await importImage(context, layout, `oci:${path}`);

  const lying = join(directory, "lying");
  writeLayout(lying, [tarOf(lower)], { compression: "none" });
  const index = JSON.parse(readFileSync(join(lying, "index.json"), "utf8"));
  const manifestPath = join(lying, "blobs/sha256", digestHex(index.manifests[0].digest));
  const other = tarOf(upper);
  writeFileSync(join(lying, "blobs/sha256", digestHex(digestOf(other))), other);
  const manifest = JSON.parse(readFileSync(manifestPath, "utf8"));
  Object.assign(manifest.layers[0], { digest: digestOf(other), size: other.length });
  const changed = Buffer.from(JSON.stringify(manifest));
  writeFileSync(join(lying, "blobs/sha256", digestHex(digestOf(changed))), changed);
  Object.assign(index.manifests[0], { digest: digestOf(changed), size: changed.length });
  writeFileSync(join(lying, "index.json"), JSON.stringify(index));
  const output = join(directory, "out.squashfs");
  await assert.rejects(
    importToFile(context, layout, `oci:${lying}`, { output, format: "squashfs" }),
    failsWith("E_DIGEST", /DiffID/),
  );
  assert.equal(existsSync(output), false);
  assert.deepEqual(
    readdirSync(directory).filter((name) => name.endsWith(".tmp")),
    [],
  );
});

test("source texts", () => {
  const hub = { kind: "docker", user: undefined, registry: "registry-1.docker.io", digest: undefined };
  assert.deepEqual(parseSource("docker://debian"), { ...hub, name: "library/debian", tag: "latest", short: "debian" });
  assert.deepEqual(parseSource("docker://a/b:1"), { ...hub, name: "a/b", tag: "1", short: "a/b" });
  assert.deepEqual(parseSource("docker://me@quay.io#a/b:1"), {
    ...hub,
    user: "me",
    registry: "quay.io",
    name: "a/b",
    tag: "1",
  });
  assert.deepEqual(parseSource("docker://localhost:5000/x"), {
    ...hub,
    registry: "localhost:5000",
    name: "x",
    tag: "latest",
  });
  assert.deepEqual(parseSource("oci:/a:b/c:d"), { kind: "oci", directory: "/a:b/c", reference: "d" });
  assert.deepEqual(parseSource("host:"), { kind: "host" });
  for (const text of [
    "",
    "docker://",
    "docker://UPPER",
    "docker://a/../b",
    "http://x/y",
    "debian:12",
    "oci:",
    "docker://a:b:c",
    "docker://x#y#z",
  ]) {
    assert.throws(() => parseSource(text), failsWith("E_SOURCE"), text);
  }
  for (const digest of ["sha256:../../x", `sha256:${"A".repeat(64)}`, `sha256:${"a".repeat(63)}`]) {
    assert.throws(() => parseSource(`docker://x@${digest}`), failsWith("E_DIGEST"), digest);
  }
});
