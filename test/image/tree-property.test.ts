/** Any tree, through the merge and a sink and back: names in any bytes, any order, links, holes. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { buildImage } from "../../src/image/build.ts";
import { tarSink } from "../../src/image/sinks/tar.ts";
import { Expander, type Segment } from "../../src/image/sparse.ts";
import { END_OF_ARCHIVE, encodeEntry, paddingAfter } from "../../src/image/tar-write.ts";
import type { Digest, Entry, SourceImage } from "../../src/image/types.ts";
import { bytes, readTar, scratch, testContext } from "../support/image-support.ts";

/** A part of a path: any bytes but NUL and slash, and not what has a meaning of its own. */
const part = fc
  .array(
    fc.integer({ min: 1, max: 255 }).filter((byte) => byte !== 0x2f),
    { minLength: 1, maxLength: 255 },
  )
  .map((list) => String.fromCharCode(...list))
  .filter((name) => name !== "." && name !== ".." && !name.startsWith(".wh.") && name !== ".rootling");

const node = fc.record({
  // Few different names, so that trees become deep and names meet.
  parts: fc.array(
    fc.oneof({ weight: 3, arbitrary: fc.constantFrom("a", "b", "c.wh.d", "\xff") }, { weight: 1, arbitrary: part }),
    {
      minLength: 1,
      maxLength: 5,
    },
  ),
  kind: fc.constantFrom("file", "file", "directory", "symlink", "link", "character", "block", "fifo" as const),
  mode: fc.integer({ min: 0, max: 0o7777 }),
  uid: fc.integer({ min: 0, max: 0xfffffffe }),
  gid: fc.integer({ min: 0, max: 0xfffffffe }),
  mtime: fc.integer({ min: -(2 ** 33), max: 2 ** 34 }),
  nanoseconds: fc.integer({ min: 0, max: 999_999_999 }),
  content: fc.uint8Array({ maxLength: 1200 }),
  xattr: fc.option(fc.uint8Array({ maxLength: 60 }), { nil: undefined }),
});

type Node = typeof node extends fc.Arbitrary<infer T> ? T : never;

/** What of `nodes` is a tree: no name twice, nothing below what is no directory, links to files that are there. */
function treeOf(nodes: readonly Node[]): { entry: Entry; body: Buffer }[] {
  const kinds = new Map<string, string>();
  const tree: { entry: Entry; body: Buffer }[] = [];
  const parentsOf = (path: string) =>
    path
      .split("/")
      .slice(0, -1)
      .map((_, i, parts) => parts.slice(0, i + 1).join("/"));
  for (const { parts, content, kind, xattr, nanoseconds, ...rest } of nodes) {
    const path = parts.join("/");
    if (
      path.length > 3000 ||
      kinds.has(path) ||
      parentsOf(path).some((above) => (kinds.get(above) ?? "directory") !== "directory")
    )
      continue;
    const target = tree.find(({ entry }) => entry.kind === "file")?.entry.path;
    if (kind === "link" && target === undefined) continue;
    for (const above of parentsOf(path)) {
      if (kinds.has(above)) continue;
      kinds.set(above, "directory");
      tree.push({ entry: { ...rest, path: bytes(above), kind: "directory", size: 0 }, body: Buffer.alloc(0) });
    }
    kinds.set(path, kind);
    const body = kind === "file" ? Buffer.from(content) : Buffer.alloc(0);
    const entry: Entry = { ...rest, path: bytes(path), kind, size: body.length };
    if (kind === "symlink") entry.target = bytes(parts.join("\\") || "x");
    if (kind === "link") entry.target = target ?? bytes("");
    else if (nanoseconds > 0) entry.nanoseconds = nanoseconds;
    // A device 0/0 is a whiteout.
    if (kind === "character" || kind === "block")
      Object.assign(entry, { major: 1 + (rest.uid % 255), minor: rest.gid % 255 });
    if (xattr !== undefined && kind !== "link") entry.xattrs = new Map([[bytes("user.\xe9"), Buffer.from(xattr)]]);
    tree.push({ entry, body });
  }
  return tree;
}

const layerOf = (tree: readonly { entry: Entry; body: Buffer }[]): Buffer =>
  Buffer.concat([
    ...tree.flatMap(({ entry, body }) => [encodeEntry(entry), body, paddingAfter(body.length) ?? Buffer.alloc(0)]),
    END_OF_ARCHIVE,
  ]);

const imageOf = (layers: readonly Buffer[]): SourceImage => ({
  digest: `sha256:${"0".repeat(64)}` as Digest,
  name: "it",
  run: {},
  platform: { os: "linux", architecture: "amd64" },
  layers: layers.map((layer, i) => ({
    label: `layer ${i}`,
    open: async () =>
      (async function* () {
        yield layer;
      })(),
  })),
  close: async () => {},
});

test("any tree comes back from a tar as it was, from one layer and from two", async (t) => {
  const directory = scratch(t);
  const { context } = testContext(directory);
  const output = join(directory, "out.tar");
  await fc.assert(
    fc.asyncProperty(
      fc.array(node, { maxLength: 25 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      async (nodes, cut) => {
        const tree = treeOf(nodes);
        const at = Math.floor(tree.length * cut);
        const expected = new Map(
          tree.map(({ entry, body }) => [entry.path, { ...entry, content: body.toString("latin1") }]),
        );
        for (const layers of [[layerOf(tree)], [layerOf(tree.slice(0, at)), layerOf(tree.slice(at))]]) {
          await buildImage(imageOf(layers), tarSink({ output, comp: "none", force: true }), context);
          const found = readTar(readFileSync(output));
          assert.equal(found.length, expected.size + 1);
          for (const entry of found.filter(({ path }) => path !== ".")) {
            const wanted = expected.get(entry.path);
            // Which of its names is the file, and which the link, is for the merge to say.
            if (entry.kind !== "link" && wanted?.kind !== "link") assert.deepEqual(entry, wanted);
          }
        }
      },
    ),
    { numRuns: 60 },
  );
});

test("any sparse file comes out whole, in any pieces", () => {
  const segments = fc.array(fc.tuple(fc.integer({ min: 0, max: 3000 }), fc.uint8Array({ maxLength: 700 })), {
    maxLength: 40,
  });
  fc.assert(
    fc.property(
      segments,
      fc.integer({ min: 0, max: 5000 }),
      fc.boolean(),
      fc.integer({ min: 1, max: 900 }),
      (list, tail, inline, piece) => {
        const map: Segment[] = [];
        const expected: Buffer[] = [];
        let at = 0;
        for (const [hole, data] of list) {
          expected.push(Buffer.alloc(hole), Buffer.from(data));
          map.push({ offset: at + hole, bytes: data.length });
          at += hole + data.length;
        }
        expected.push(Buffer.alloc(tail));
        const text = `${map.length}\n${map.map(({ offset, bytes: length }) => `${offset}\n${length}\n`).join("")}`;
        const head = Buffer.alloc(inline ? Math.ceil(text.length / 512) * 512 : 0);
        head.write(text);
        const stored = Buffer.concat([head, ...list.map(([, data]) => Buffer.from(data))]);
        const found: Buffer[] = [];
        const expander = new Expander({ map: inline ? undefined : map, size: at + tail }, stored.length, (slice) =>
          found.push(slice),
        );
        for (let i = 0; i < stored.length; i += piece) expander.write(stored.subarray(i, i + piece));
        expander.end();
        assert.ok(Buffer.concat(found).equals(Buffer.concat(expected)));
      },
    ),
    { numRuns: 300 },
  );
});
