/** Disks: what others find in each of a chain, what ext4 and ext3 can hold, and who may make them. As root. */
import assert from "node:assert/strict";
import { chownSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { capture } from "../../src/base/process.ts";
import { importToFile } from "../../src/commands/import-image.ts";
import { buildImage } from "../../src/image/build.ts";
import { type Sink, TooSmall } from "../../src/image/sinks/sink.ts";
import type { SourceImage } from "../../src/image/types.ts";
import { bootstrap } from "../../src/index.ts";
import { checkDisk, filesOfChain, treeOfDisk, withMounted } from "../support/disks.ts";
import { importWords, preparedImage } from "../support/image-cases.ts";
import { generateStack } from "../support/image-stacks.ts";
import {
  bytes,
  describeTree,
  failsWith,
  type Given,
  tarOf,
  testContext,
  writeLayout,
} from "../support/image-support.ts";
import { needsRoot } from "../support/users.ts";

const root = needsRoot("a disk is mounted by the kernel");

/** `nobody`: there on every machine, and without any rights. */
const ORDINARY = 65534;

/** Bytes that are nowhere zero for a whole block, and differ from block to block. */
const noise = (size: number, seed: number): Buffer => {
  const buffer = Buffer.alloc(size);
  for (let i = 0; i + 4 <= size; i += 4) buffer.writeUInt32LE((Math.imul(i + 1, 2654435761) ^ seed) >>> 0, i);
  return buffer;
};

/** Blocks with holes between them: more extents than an inode has room for, and than one block of them. */
const sparse = (): Buffer => {
  const buffer = Buffer.alloc(6 << 20);
  for (let at = 0; at < buffer.length; at += 3 * 4096) noise(4096, at).copy(buffer, at);
  return buffer;
};

/** What is at the edges of the form: each kind of mapping, of directory, of time, of id, of device, of attribute. */
const edges: Given[] = [
  { path: "empty", content: "" },
  { path: "one", content: "1" },
  { path: "block", content: noise(4096, 1) },
  // ext3: into the doubly indirect blocks.
  { path: "large", content: noise((5 << 20) + 77, 2), mode: 0o4755 },
  { path: "sparse", content: sparse() },
  { path: "zeros", content: Buffer.alloc(100_000) },
  { path: "n".repeat(255), content: "long" },
  { path: "symlink-59", kind: "symlink", target: "s".repeat(59), mode: 0o777 },
  { path: "symlink-60", kind: "symlink", target: "s".repeat(60), mode: 0o777 },
  { path: "symlink-long", kind: "symlink", target: "/s".repeat(2000), mode: 0o777 },
  { path: "early", content: "e", mtime: -2_000_000_000, nanoseconds: 1 },
  { path: "late", content: "l", mtime: 5_000_000_000, nanoseconds: 999_999_999 },
  { path: "owned", content: "o", uid: 4_000_000_000, gid: 70_000 },
  { path: "device", kind: "block", major: 259, minor: 70_000, uid: 3 },
  { path: "tty", kind: "character", major: 5, minor: 1 },
  { path: "pipe", kind: "fifo", mode: 0o1600 },
  { path: "again", kind: "link", target: "large" },
  {
    path: "attributes",
    content: "x",
    xattrs: new Map([
      [bytes("security.capability"), Buffer.from(`01000002${"00".repeat(16)}`, "hex")],
      [bytes("user.large"), noise(3000, 3)],
      [bytes("user.none"), Buffer.alloc(0)],
      [bytes("trusted.t"), Buffer.from("t")],
    ]),
  },
  ...Array.from({ length: 700 }, (_, i): Given => ({ path: `many/a name of some length ${i}`, content: `${i}` })),
  ...Array.from({ length: 100 }, (_, i): Given => ({ path: `directories/${i}`, kind: "directory" })),
];

/** Takes most of it away again, replaces the rest by what is of another kind, and hides a directory's content. */
const changes: Given[] = [
  { path: "large", kind: "directory" },
  { path: "large/inside", content: "i" },
  { path: ".wh.sparse" },
  { path: ".wh.attributes" },
  { path: "symlink-long", content: noise(70_000, 4) },
  { path: "many/new", content: "n" },
  { path: "many/.wh..wh..opq" },
  { path: "directories", kind: "symlink", target: "many", mode: 0o777 },
  { path: "link-to-lower", kind: "link", target: "owned" },
  { path: "one", content: "two", xattrs: new Map([[bytes("user.note"), Buffer.from("n")]]) },
];

/** The trees of the lower layer and of both, made once. */
let expected: Promise<string[][]> | undefined;

for (const fileSystem of ["ext4", "ext3"] as const) {
  test(`${fileSystem}: what is at the edges is kept, and taken away by the next layer`, root, async (t) => {
    const { directory, source, context, layout } = preparedImage(t, [edges, changes]);
    expected ??= Promise.all(
      [[edges], [edges, changes]].map(async (layers) => {
        const image = preparedImage(t, layers);
        const output = join(image.directory, "tree");
        await importToFile(image.context, image.layout, image.source, { output, format: "dir" });
        return describeTree(output);
      }),
    );
    const output = join(directory, "chain");
    await importToFile(context, layout, source, { output, format: "qcow2", disk: { fileSystem, size: 64 << 20 } });
    const files = filesOfChain(output);
    assert.deepEqual([await treeOfDisk(files[0] ?? ""), await treeOfDisk(files[1] ?? "")], await expected);
    const features = await capture("dumpe2fs", ["-h", await rawOf(files[1] ?? "", directory)]);
    assert.match(features, /Filesystem features: .*has_journal/);
    assert.equal(/Filesystem features: .* extent /.test(features), fileSystem === "ext4");
  });
}

async function rawOf(file: string, directory: string): Promise<string> {
  const raw = join(directory, "raw");
  await capture("qemu-img", ["convert", "-O", "raw", file, raw]);
  return raw;
}

test(
  "a chain is a file a layer with relative names, so that it can be moved; umoci finds the same tree",
  root,
  async (t) => {
    const layers = generateStack(11, 4);
    const { directory, source, context, layout } = preparedImage(t, layers);
    await importToFile(context, layout, source, { output: join(directory, "chain"), format: "qcow2" });
    renameSync(join(directory, "chain"), join(directory, "moved"));
    const files = filesOfChain(join(directory, "moved"));
    assert.deepEqual(
      files.map((file) => file.slice(directory.length)),
      layers.map((_, index) => `/moved/layer-${index}.qcow2`),
    );
    for (const file of files) await checkDisk(file);
    await capture("umoci", ["unpack", "--image", `${directory}/layout:latest`, join(directory, "bundle")]);
    assert.deepEqual(await treeOfDisk(files.at(-1) ?? ""), await describeTree(join(directory, "bundle/rootfs")));
    const chain = JSON.parse(
      await capture("qemu-img", ["info", "--backing-chain", "--output=json", files.at(-1) ?? ""]),
    );
    assert.deepEqual(
      chain.map((disk: Record<string, unknown>) => [disk["backing-filename"], disk["backing-filename-format"]]),
      [
        ["layer-2.qcow2", "qcow2"],
        ["layer-1.qcow2", "qcow2"],
        ["layer-0.qcow2", "qcow2"],
        [undefined, undefined],
      ],
    );
    assert.deepEqual([...new Set(chain.map((disk: Record<string, unknown>) => disk["virtual-size"]))], [5 * 2 ** 30]);
  },
);

test("an ordinary user makes the same disks", root, async (t) => {
  const { directory, source, context, layout } = preparedImage(t, [edges.slice(0, 18), generateStack(5, 1)[0] ?? []]);
  const own = join(directory, "own");
  mkdirSync(own);
  chownSync(own, ORDINARY, ORDINARY);
  await capture("chmod", ["-R", "a+rX", directory]);
  for (const format of ["qcow2", "raw"]) {
    const words = importWords(source, join(own, format), format);
    const user = ["--reuid", String(ORDINARY), "--regid", String(ORDINARY), "--clear-groups", "--no-new-privs"];
    await capture("setpriv", [...user, "--bounding-set=-all", "--", ...words], { env: { IMAGE_TEST_DIRECTORY: own } });
  }
  const output = join(directory, "tree");
  await importToFile(context, layout, source, { output, format: "dir" });
  const expected = await describeTree(output);
  assert.deepEqual(await treeOfDisk(join(own, "qcow2/layer-1.qcow2")), expected);
  assert.deepEqual(await treeOfDisk(join(own, "raw")), expected);
});

test("each layer damaged in turn: nothing is made", async (t) => {
  const layers = generateStack(2, 3).map((layer) => tarOf(layer));
  const { directory, source, context, layout } = preparedImage(t, []);
  const { layers: stored } = (() => {
    writeLayout(join(directory, "layout"), layers);
    const blob = (digest: string) => join(directory, "layout/blobs/sha256", digest.slice("sha256:".length));
    const index = JSON.parse(readFileSync(join(directory, "layout/index.json"), "utf8"));
    const manifest = JSON.parse(readFileSync(blob(index.manifests[0].digest), "utf8"));
    return { layers: manifest.layers.map(({ digest }: { digest: string }) => blob(digest)) as string[] };
  })();
  for (const file of stored) {
    const sound = readFileSync(file);
    const damaged = Buffer.from(sound);
    damaged.writeUInt8(damaged.readUInt8(5) ^ 1, 5);
    writeFileSync(file, damaged);
    for (const disk of [{}, { flatten: true }]) {
      const output = join(directory, "out");
      await assert.rejects(
        importToFile(context, layout, source, { output, format: "qcow2", disk }),
        failsWith("E_DIGEST"),
      );
    }
    writeFileSync(file, sound);
  }
  assert.deepEqual(
    readdirSync(directory).filter((name) => name.startsWith("out")),
    [],
  );
});

test("a disk has the size that was asked for, or the image does not fit", root, async (t) => {
  const { directory, source, context, layout } = preparedImage(t, [[{ path: "noise", content: noise(12 << 20, 5) }]]);
  const output = join(directory, "out.qcow2");
  const small = { output, format: "qcow2", disk: { flatten: true, size: 10 << 20 } } as const;
  await assert.rejects(importToFile(context, layout, source, small), failsWith("E_SPACE", /--disk-size/));
  await importToFile(context, layout, source, { ...small, disk: { flatten: true, size: 50_000_000 } });
  await checkDisk(output);
  const { "virtual-size": size } = JSON.parse(await capture("qemu-img", ["info", "--output=json", output]));
  assert.ok(size > 49_990_000 && size <= 50_000_000, String(size));
});

test("bootstrap makes a chain, with root's password as its last disk", root, async (t) => {
  const { directory } = preparedImage(t, []);
  writeFileSync(join(directory, "root.tar"), tarOf([{ path: "etc/shadow", content: "root:*:1\n", mode: 0o600 }]));
  const env = {
    ...process.env,
    ROOTLING_CACHE_PATH: join(directory, "cache"),
    ROOTLING_DATA_PATH: join(directory, "data"),
  };
  const dest = join(directory, "disks");
  const said: string[] = [];
  const onProgress = ({ status }: { status: string }) => said.push(status);
  await bootstrap({ uri: join(directory, "root.tar"), dest, format: "qcow2", rootPassword: "secret", env, onProgress });
  const files = filesOfChain(dest);
  assert.deepEqual(files, [join(dest, "layer-0.qcow2"), join(dest, "layer-1.qcow2")]);
  const shadow = (file: string) =>
    withMounted(file, async (mounted) => readFileSync(join(mounted, "etc/shadow"), "utf8"));
  assert.equal(await shadow(files[0] ?? ""), "root:*:1\n");
  assert.match(await shadow(files[1] ?? ""), /^root:\$6\$[^:]{50,}:1\n$/);
  assert.ok(said.includes("Extracting files into qcow2 image"), said.join("; "));
});

test("an attempt that was too small is followed by another one", async (t) => {
  const { context } = testContext((preparedImage(t, []) as { directory: string }).directory);
  let attempts = 0;
  const open = async (): Promise<Sink> => ({
    ...{ entry() {}, data() {}, end() {}, flush: () => undefined, abort: async () => {} },
    commit: async () => {
      if (++attempts < 3) throw new TooSmall();
    },
  });
  const image = { layers: [], digest: "sha256:", run: {}, name: "x" } as unknown as SourceImage;
  await buildImage(image, open, context);
  assert.equal(attempts, 3);
});
