/** The tar codec: byte for byte, in any pieces, and as GNU tar understands it. */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { capture } from "../../src/base/process.ts";
import { END_OF_ARCHIVE, encodeEntry, paddingAfter } from "../../src/image/tar-write.ts";
import type { Entry } from "../../src/image/types.ts";
import { bytes, describeTree, failsWith, readTar, scratch, tarOf } from "../support/image-support.ts";
import { needsRoot } from "../support/users.ts";

const byteText = (minimum: number, maximum: number) =>
  fc
    .array(
      fc.integer({ min: 1, max: 255 }).filter((byte) => byte !== 0x2f),
      { minLength: minimum, maxLength: maximum },
    )
    .map((list) => bytes(String.fromCharCode(...list)));

const path = fc.array(byteText(1, 80), { minLength: 1, maxLength: 6 }).map((parts) => bytes(parts.join("/")));

const anyEntry = fc
  .record({
    path,
    kind: fc.constantFrom("file", "directory", "symlink", "link", "character", "fifo" as const),
    mode: fc.integer({ min: 0, max: 0o7777 }),
    uid: fc.integer({ min: 0, max: 0xfffffffe }),
    gid: fc.integer({ min: 0, max: 0xfffffffe }),
    mtime: fc.integer({ min: -(2 ** 40), max: 2 ** 40 }),
    nanoseconds: fc.integer({ min: 0, max: 999_999_999 }),
    target: byteText(1, 300),
    content: fc.uint8Array({ maxLength: 1500 }),
    xattrs: fc.array(
      fc.tuple(fc.constantFrom("user.a", "security.capability", "user.\xe9"), fc.uint8Array({ maxLength: 80 })),
    ),
  })
  .map(({ content, nanoseconds, target, xattrs, kind, ...rest }) => {
    const body = kind === "file" ? Buffer.from(content) : Buffer.alloc(0);
    const entry: Entry = { ...rest, kind, size: body.length };
    if (nanoseconds > 0) entry.nanoseconds = nanoseconds;
    if (kind === "symlink" || kind === "link") entry.target = target;
    if (kind === "character") Object.assign(entry, { major: rest.uid % 4096, minor: rest.gid % (1 << 20) });
    if (xattrs.length > 0) entry.xattrs = new Map(xattrs.map(([name, value]) => [bytes(name), Buffer.from(value)]));
    return { entry, body };
  });

test("any entry comes back as it was, in any pieces", () => {
  fc.assert(
    fc.property(fc.array(anyEntry, { maxLength: 5 }), fc.integer({ min: 1, max: 2000 }), (list, piece) => {
      const parts = list.flatMap(({ entry, body }) => [
        encodeEntry(entry),
        body,
        paddingAfter(body.length) ?? Buffer.alloc(0),
      ]);
      const expected = list.map(({ entry, body }) => ({ ...entry, content: body.toString("latin1") }));
      assert.deepEqual(readTar(Buffer.concat([...parts, END_OF_ARCHIVE]), piece), expected);
    }),
    { numRuns: 400 },
  );
});

test("GNU tar unpacks what is written", needsRoot("owners and devices"), async (t) => {
  const directory = scratch(t);
  const entries = Array.from({ length: 40 }, (_, i) => ({
    path: `${"d".repeat(i * 6 + 1)}-é`,
    content: "x".repeat(i * 50),
    mode: 0o600 + (i % 8),
    uid: 1000 * i ** 2,
    mtime: 1_500_000_000 + i,
    xattrs: new Map([[bytes("user.n"), Buffer.from([i, 0, 10, 255])]]),
  }));
  const archive = join(directory, "a.tar");
  writeFileSync(archive, tarOf(entries.slice(0, 38)));
  const out = join(directory, "out");
  mkdirSync(out);
  await capture("tar", ["-x", "-f", archive, "-C", out, "-p", "--xattrs", "--xattrs-include=*", "--numeric-owner"]);
  const lines = await describeTree(out);
  assert.equal(lines.length, 39);
  for (const [i, entry] of entries.slice(0, 38).entries()) {
    const name = Buffer.from(entry.path).toString("latin1");
    const line = lines.find((candidate) => candidate.startsWith(`${name}|`));
    assert.match(
      line ?? "",
      new RegExp(`\\|100000 ${entry.mode.toString(8)}\\|${entry.uid}:0\\|1\\|${entry.mtime}\\|`),
      `${i}`,
    );
  }
});

test("damaged archives are refused with their place", () => {
  const good = tarOf([{ path: "a", content: "x".repeat(600) }, { path: "b" }]);
  const changed = (at: number, text: string) => {
    const copy = Buffer.from(good);
    copy.write(text, at, "latin1");
    return copy;
  };
  const sumOf = (archive: Buffer) => {
    archive.write("        ", 148, "latin1");
    let sum = 0;
    for (const byte of archive.subarray(0, 512)) sum += byte;
    archive.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
    return archive;
  };
  assert.throws(() => readTar(changed(0, "b")), failsWith("E_LAYER", /checksum.*test, byte 0/));
  assert.throws(() => readTar(sumOf(changed(124, "0000x"))), failsWith("E_LAYER", /size/));
  assert.throws(
    () => readTar(sumOf(changed(124, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"))),
    failsWith("E_LAYER", /negative/),
  );
  assert.throws(() => readTar(sumOf(changed(156, "Z"))), failsWith("E_LAYER", /unknown type/));
  assert.throws(() => readTar(good.subarray(0, 700)), failsWith("E_LAYER", /middle/));
  assert.throws(() => readTar(good.subarray(0, 1536)), failsWith("E_LAYER", /end mark/));
  assert.equal(readTar(good.subarray(0, 1536), 512, false).length, 1);
  assert.throws(() => readTar(Buffer.concat([END_OF_ARCHIVE.subarray(512), good])), failsWith("E_LAYER", /end mark/));
});
