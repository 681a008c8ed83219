/** Archives of other writers, in all their formats, say what the tree on disk says; holes come out as zeros. */
import assert from "node:assert/strict";
import { linkSync, mkdirSync, readFileSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { capture } from "../../src/base/process.ts";
import { importToFile } from "../../src/commands/import-image.ts";
import { TarReader } from "../../src/image/tar-read.ts";
import {
  bytes,
  describeTree,
  failsWith,
  type ReadEntry,
  readTar,
  scratch,
  testContext,
} from "../support/image-support.ts";
import { needsRoot } from "../support/users.ts";

/** Writes with Python's tarfile: FORMAT, the archive, the tree. */
const PYTHON = `
import sys, tarfile
format = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}[sys.argv[1]]
with tarfile.open(sys.argv[2], "w", format=format, errors="surrogateescape") as tar:
    tar.add(sys.argv[3], ".")
`;

const gnu =
  (...words: string[]) =>
  (archive: string, tree: string) => ["tar", ...words, "-C", tree, "-cf", archive, "."];
const bsd =
  (format: string, ...words: string[]) =>
  (archive: string, tree: string) => ["bsdtar", `--format=${format}`, ...words, "-C", tree, "-cf", archive, "."];
const python = (format: string) => (archive: string, tree: string) => ["python3", "-c", PYTHON, format, archive, tree];

/** `all`: the format can say everything that the tree has; else names are short, and there are no xattrs. */
const writers: Record<string, { all: boolean; words: (archive: string, tree: string) => string[] }> = {
  "GNU tar v7": { all: false, words: gnu("--format=v7", "--exclude=./null", "--exclude=./fifo") },
  "GNU tar oldgnu": { all: false, words: gnu("--format=oldgnu") },
  "GNU tar gnu": { all: false, words: gnu("--format=gnu") },
  "GNU tar ustar": { all: false, words: gnu("--format=ustar") },
  "GNU tar posix": { all: true, words: gnu("--format=posix", "--xattrs") },
  "GNU tar oldgnu, sparse": { all: false, words: gnu("--format=oldgnu", "--sparse") },
  "GNU tar gnu, sparse": { all: false, words: gnu("--format=gnu", "--sparse") },
  "GNU tar posix, sparse 0.0": { all: true, words: gnu("--format=posix", "--xattrs", "-S", "--sparse-version=0.0") },
  "GNU tar posix, sparse 0.1": { all: true, words: gnu("--format=posix", "--xattrs", "-S", "--sparse-version=0.1") },
  "GNU tar posix, sparse 1.0": { all: true, words: gnu("--format=posix", "--xattrs", "-S", "--sparse-version=1.0") },
  "bsdtar ustar": { all: false, words: bsd("ustar") },
  "bsdtar gnutar": { all: false, words: bsd("gnutar") },
  "bsdtar pax": { all: true, words: bsd("pax", "--xattrs") },
  "bsdtar pax, xattrs in its own form": {
    all: true,
    words: bsd("pax", "--xattrs", "--options=xattrheader=LIBARCHIVE"),
  },
  "bsdtar pax, all holes written": { all: true, words: bsd("pax", "--xattrs", "--no-read-sparse") },
  "Python ustar": { all: false, words: python("ustar") },
  "Python gnu": { all: false, words: python("gnu") },
  "Python pax": { all: false, words: python("pax") },
};

const TIME = 1_600_000_000;

/** A tree with what all formats can say, or with everything. */
async function makeTree(tree: string, all: boolean): Promise<void> {
  mkdirSync(join(tree, "directory", "deeper"), { recursive: true });
  const files: [Buffer, string][] = [
    [Buffer.from("plain"), "content"],
    [Buffer.from("empty"), ""],
    [Buffer.from("directory/umlaut-ü"), "x".repeat(5000)],
    [Buffer.from("directory/not-utf8-\xff\x80", "latin1"), "bytes"],
    [Buffer.from("blank and\ttab"), "y".repeat(512)],
  ];
  if (all) files.push([Buffer.from(`directory/${"n".repeat(200)}`), "long"]);
  const at = (name: Buffer) => Buffer.concat([Buffer.from(`${tree}/`), name]);
  for (const [name, content] of files) {
    writeFileSync(at(name), content);
    utimesSync(at(name), TIME, TIME);
  }
  symlinkSync("directory/../plain", join(tree, "symlink"));
  linkSync(join(tree, "plain"), join(tree, "directory", "second-name"));
  await capture("mknod", [join(tree, "null"), "c", "1", "3"]);
  await capture("mkfifo", ["-m", "640", join(tree, "fifo")]);
  await capture("chown", ["1000:70", join(tree, "plain")]);
  await capture("chmod", ["4751", join(tree, "plain")]);
  // More holes than GNU's header and one extending block can describe.
  const holes = join(tree, "holes");
  writeFileSync(holes, "");
  await capture("truncate", ["-s", String(60 * 65536 + 100), holes]);
  for (let i = 1; i < 60; i += 2)
    await capture("dd", ["if=/proc/self/exe", `of=${holes}`, "bs=4096", "count=1", `seek=${i * 16}`, "conv=notrunc"]);
  await capture("truncate", ["-s", "1M", join(tree, "one-hole")]);
  if (all) {
    await capture("setfattr", ["-n", "user.note", "-v", "0x00ff0a3d", join(tree, "plain")]);
    await capture("setfattr", [
      "-n",
      "security.capability",
      "-v",
      "0x0100000200200000000000000000000000000000",
      join(tree, "plain"),
    ]);
  }
  // Writers differ in how they round times.
  await capture("find", [tree, "-exec", "touch", "--no-dereference", "--date", `@${TIME}`, "{}", "+"]);
}

test("archives of GNU tar, bsdtar and Python are read alike", needsRoot("devices"), async (t) => {
  for (const all of [false, true]) {
    const directory = scratch(t);
    const tree = join(directory, "tree");
    await makeTree(tree, all);
    const expected = await describeTree(tree);
    const { context, layout } = testContext(directory);
    for (const [name, writer] of Object.entries(writers)) {
      if (writer.all !== all) continue;
      const archive = join(directory, "archive.tar");
      const [program = "", ...words] = writer.words(archive, tree);
      await capture(program, words);
      const output = join(directory, name);
      await importToFile(context, layout, archive, { output, format: "dir" });
      // The oldest format has no devices.
      const possible = name === "GNU tar v7" ? expected.filter((line) => !/^(null|fifo)\|/.test(line)) : expected;
      assert.deepEqual(await describeTree(output), possible, name);
      // Cut anywhere, the pieces say the same.
      const whole = readTar(readFileSync(archive));
      assert.deepEqual(readTar(readFileSync(archive), 509), whole, name);
    }
  }
});

test("layers of umoci and buildah are read alike", needsRoot("devices"), async (t) => {
  const directory = scratch(t);
  const at = (name: string) => join(directory, name);
  await makeTree(at("tree"), true);
  const expected = await describeTree(at("tree"));
  const { context, layout } = testContext(directory);
  const compare = async (name: string) => {
    await importToFile(context, layout, `oci:${at(name)}:x`, { output: at(`${name}-out`), format: "dir" });
    const found = await describeTree(at(`${name}-out`));
    // buildah's add gives all to root, and makes files of hard links.
    const links = (line: string) =>
      name === "buildah" ? line.replace(/^([^|]*\|[^|]*\|)[0-9]+:[0-9]+\|[0-9]*\|/, "$1||") : line;
    assert.deepEqual(found.map(links), expected.map(links), name);
  };
  await capture("umoci", ["init", "--layout", at("umoci")]);
  await capture("umoci", ["new", "--image", `${at("umoci")}:x`]);
  await capture("umoci", ["insert", "--image", `${at("umoci")}:x`, at("tree"), "/"]);
  await compare("umoci");

  const storage = ["--root", at("storage"), "--runroot", at("run"), "--storage-driver", "vfs"];
  const buildah = (...words: string[]) => capture("buildah", [...storage, ...words], { env: { HOME: directory } });
  const container = (await buildah("from", "scratch")).trim();
  try {
    await buildah("add", "--quiet", container, at("tree"), "/");
    await buildah("commit", "--quiet", container, `oci:${at("buildah")}:x`);
  } finally {
    await buildah("rm", container);
  }
  await compare("buildah");
});

/** A PAX archive of one sparse file, with any records and any stored bytes. */
function sparseTar(records: Record<string, string>, stored: Buffer, size = stored.length): Buffer {
  const lines = Object.entries(records).map(([key, value]) => {
    const rest = ` ${key}=${value}\n`;
    let length = rest.length + 1;
    while (String(length).length + rest.length !== length) length++;
    return `${length}${rest}`;
  });
  const block = (name: string, type: string, bytes: number) => {
    const header = Buffer.alloc(512);
    header.write(name, 0, "latin1");
    header.write("0000644\0", 100);
    header.write("0000000\0", 108);
    header.write("0000000\0", 116);
    header.write(`${bytes.toString(8).padStart(11, "0")}\0`, 124);
    header.write("00000000000\0        ", 136);
    header.write(`${type}`, 156);
    header.write("ustar\x0000", 257);
    let sum = 0;
    for (const byte of header) sum += byte;
    header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
    return header;
  };
  const padded = (content: Buffer) => Buffer.concat([content, Buffer.alloc((512 - (content.length % 512)) % 512)]);
  const pax = Buffer.from(lines.join(""));
  return Buffer.concat([
    block("x", "x", pax.length),
    padded(pax),
    block("f", "0", size),
    padded(stored),
    Buffer.alloc(1024),
  ]);
}

const one = (archive: Buffer): ReadEntry | undefined => readTar(archive)[0];

test("sparse maps that cannot be are refused, huge ones limited", () => {
  const v1 = (map: string, data = "", realsize = 1000) => {
    const text = Buffer.alloc(Math.ceil(map.length / 512) * 512);
    text.write(map);
    const keys = {
      "GNU.sparse.major": "1",
      "GNU.sparse.minor": "0",
      "GNU.sparse.name": "name",
      "GNU.sparse.realsize": String(realsize),
    };
    return sparseTar(keys, Buffer.concat([text, Buffer.from(data)]));
  };
  const v01 = (map: string, data = "", size = "1000") =>
    sparseTar({ "GNU.sparse.size": size, "GNU.sparse.numblocks": "1", "GNU.sparse.map": map }, Buffer.from(data));
  const found = one(v1("1\n10\n3\n", "abc"));
  assert.equal(found?.path, bytes("name"));
  assert.equal(found?.content, `${"\0".repeat(10)}abc${"\0".repeat(987)}`);
  assert.equal(one(v1("0\n"))?.content.length, 1000);
  assert.equal(one(v01("5,2", "ab"))?.content.slice(4, 8), "\0ab\0");
  for (const [what, archive] of Object.entries({
    "beyond the end": v1("1\n999\n3\n", "abc"),
    overlapping: v1("2\n10\n3\n11\n3\n", "abcdef"),
    "more data than its map": v1("1\n10\n3\n", "abcdef"),
    "less data than its map": v1("1\n10\n3\n", "a"),
    "no number": v1("1\nx\n3\n", "abc"),
    "a negative number": v1("1\n-5\n3\n", "abc"),
    "a number that is too long": v1(`1\n${"9".repeat(40)}\n3\n`, "abc"),
    "too many holes": v1("99999999\n"),
    "a map that never ends": v1("5\n1\n1\n"),
    "an odd map": v01("5", "ab"),
    "an unordered map": v01("5,1,1,1", "ab"),
    "an unknown version": sparseTar({ "GNU.sparse.major": "2", "GNU.sparse.realsize": "5" }, Buffer.from("")),
    "no size": sparseTar({ "GNU.sparse.map": "0,1" }, Buffer.from("a")),
  })) {
    assert.throws(() => readTar(archive), failsWith("E_LAYER", /sparse|middle/), what);
  }
  const skip = (archive: Buffer) => {
    new TarReader("test", { entry: () => false, data: () => {}, end: () => {} }).write(archive);
  };
  assert.throws(() => skip(v01("0,0", "", String(2 ** 40))), failsWith("E_LIMIT", /holes/));
  const large = v1("0\n", "", 2 ** 33 + 5000);
  skip(large);
  assert.throws(() => skip(Buffer.concat([large.subarray(0, -1024), large])), failsWith("E_LIMIT", /holes/));
});
