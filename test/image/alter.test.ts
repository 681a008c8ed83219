/** Owners other than the image's, and root's password: in every format, from what images hold, hostile ones too. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { capture } from "../../src/base/process.ts";
import { importToFile, type OutputFormat } from "../../src/commands/import-image.ts";
import { alteredSink } from "../../src/image/alter.ts";
import { checkedRanges, type IdMaps, parseIdRange } from "../../src/image/alter-ids.ts";
import { hashPassword, type PasswordHash } from "../../src/image/alter-password.ts";
import { RootDiffers, type Sink } from "../../src/image/sinks/sink.ts";
import type { Entry, SourceImage } from "../../src/image/types.ts";
import { filesOfChain, withMounted } from "../support/disks.ts";
import { preparedImage } from "../support/image-cases.ts";
import { bytes, failsWith, type Given, scratch } from "../support/image-support.ts";
import { compareTrees, listTree, type TreeEntry } from "../support/tree.ts";
import { needsRoot } from "../support/users.ts";

const ranges = (...texts: string[]) =>
  checkedRanges(
    texts.map((text) => parseIdRange(text, "test")),
    "test",
  );

/** Users 0 and 1000 change places: chained, all would be one of them. */
const MAPS: IdMaps = { uids: ranges("0:1000:1", "1000:0:1", "7:70:2"), gids: ranges("0:2000:50") };
const UIDS = new Map([
  [0, 1000],
  [1000, 0],
  [7, 70],
  [8, 71],
]);
const moved = (uid: number, gid: number) => ({ uid: UIDS.get(uid) ?? uid, gid: gid < 50 ? gid + 2000 : gid });

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(" ", ""), "hex");
const CAPABILITY = bytes("security.capability");
const NET_RAW = "00200000 00000000 00000000 00000000";
const acl = (user: string, group: string): Buffer =>
  hex(`02000000 01000600ffffffff 02000400${user} 04000400ffffffff 08000400${group} 10000400ffffffff 20000400ffffffff`);

const lower: Given[] = [
  { path: "./", kind: "directory", mode: 0o711, uid: 1000, gid: 3 },
  { path: "program", content: "p", mode: 0o4755, uid: 0, gid: 0 },
  { path: "again", kind: "link", target: "program", mode: 0o4755 },
  { path: "user", content: "u", mode: 0o2711, uid: 1000, gid: 50 },
  // Where its password stays, it is a file as any other.
  { path: "etc/shadow", content: "root:*:1\n", mode: 0o640, gid: 42 },
  { path: "implied/symlink", kind: "symlink", target: "/", uid: 7, gid: 49, mode: 0o777 },
  { path: "null", kind: "character", major: 1, minor: 3, uid: 9, gid: 5 },
  { path: "pipe", kind: "fifo", uid: 8 },
  { path: "roots", content: "2", xattrs: new Map([[CAPABILITY, hex(`01000002 ${NET_RAW}`)]]) },
  { path: "theirs", content: "3", xattrs: new Map([[CAPABILITY, hex(`01000003 ${NET_RAW} e8030000`)]]) },
  { path: "others", content: "4", xattrs: new Map([[CAPABILITY, hex(`00000003 ${NET_RAW} 07000000`)]]) },
  {
    path: "listed",
    content: "5",
    mode: 0o644,
    xattrs: new Map([[bytes("system.posix_acl_access"), acl("07000000", "00000000")]]),
  },
];
const upper: Given[] = [{ path: "linked", kind: "link", target: "user" }];

const xattrsAfter: Readonly<Record<string, [string, Buffer]>> = {
  roots: [CAPABILITY, hex(`01000003 ${NET_RAW} e8030000`)],
  theirs: [CAPABILITY, hex(`01000002 ${NET_RAW}`)],
  others: [CAPABILITY, hex(`00000003 ${NET_RAW} 46000000`)],
  listed: ["system.posix_acl_access", acl("46000000", "d0070000")],
};

/** What was written, as a tree. */
async function treeOf(output: string, format: OutputFormat, directory: string): Promise<TreeEntry[]> {
  if (format === "dir") return listTree(output);
  if (format === "raw" || format === "qcow2") {
    const tree = await withMounted(format === "raw" ? output : (filesOfChain(output).at(-1) ?? ""), listTree);
    return tree.filter(({ name }) => name !== "lost+found");
  }
  const tree = join(mkdtempSync(join(directory, "unpacked-")), "rootfs");
  const archive = () => {
    if (format === "tar") return output;
    const blob = (digest: string) => join(output, "blobs/sha256", digest.slice("sha256:".length));
    const { manifests } = JSON.parse(readFileSync(join(output, "index.json"), "utf8"));
    return blob(JSON.parse(readFileSync(blob(manifests[0].digest), "utf8")).layers[0].digest);
  };
  if (format === "squashfs") await capture("unsquashfs", ["-d", tree, "-no-progress", output]);
  else {
    mkdirSync(tree);
    const how = ["-p", "-P", "--xattrs", "--xattrs-include=*", "--numeric-owner"];
    await capture("tar", ["-xf", archive(), "-C", tree, ...how]);
  }
  return listTree(tree);
}

test(
  "id maps: each format has the owners of the original ids, once, and all else as it was",
  needsRoot("owners"),
  async (t) => {
    const { directory, source, context, layout, warnings } = preparedImage(t, [lower, upper]);
    const plain = join(directory, "plain");
    await importToFile(context, layout, source, { output: plain, format: "dir" });
    const expected = (await listTree(plain)).map((entry): TreeEntry => {
      const [name, value] = xattrsAfter[entry.name] ?? [];
      const xattrs = name === undefined ? {} : { xattrs: { [name]: value?.toString("latin1") ?? "" } };
      return { ...entry, ...moved(entry.uid, entry.gid), ...xattrs };
    });
    for (const format of ["dir", "tar", "oci", "squashfs", "qcow2", "raw"] as const) {
      const output = join(directory, `out-${format}`);
      await importToFile(context, layout, source, { output, format, alterations: { ids: MAPS } });
      const differences = compareTrees(await treeOf(output, format, directory), expected, {
        // squashfs has no access control lists.
        ignore: ({ name }, field) =>
          field === "mtime" || (format === "squashfs" && name === "listed" && field === "xattrs"),
        leaveOut: (name) => name.startsWith(".rootling"),
      });
      assert.deepEqual(differences, [], format);
    }
    assert.deepEqual(
      [...new Set(warnings)],
      ["squashfs cannot keep the extended attribute system.posix_acl_access of listed"],
    );
  },
);

test("id maps: an attempt that begins anew maps the root's own owner", async () => {
  const roots: (Entry | undefined)[] = [];
  const entry: Entry = { path: bytes(""), kind: "directory", mode: 0o700, uid: 0, gid: 0, size: 0, mtime: 0 };
  const open = async (_: SourceImage, root: Entry | undefined): Promise<Sink> => {
    roots.push(root);
    const commit = async (merged: Entry) => {
      if (roots.length === 1) throw new RootDiffers(merged);
    };
    return { entry() {}, data() {}, end() {}, flush: () => undefined, commit, abort: async () => {} };
  };
  const altered = alteredSink(open, { ids: MAPS });
  const image = {} as SourceImage;
  const failure = await (await altered(image, undefined)).commit(entry).catch((error: unknown) => error);
  assert.ok(failure instanceof RootDiffers);
  assert.deepEqual(failure.root, entry);
  await altered(image, failure.root);
  // Where nothing is known of the root, it is taken for root's.
  assert.deepEqual(
    roots.map((root) => [root?.mode, root?.uid, root?.gid]),
    [
      [0o755, 1000, 2000],
      [0o700, 1000, 2000],
    ],
  );
});

test("id maps that contradict themselves, or that no id fits, are refused", () => {
  const wrong: string[][] = [
    ["0:1000:10", "5:3000:1"],
    ["0:1000:10", "0:1000:10"],
    ["0:1000:10", "100:1009:1"],
    ["0:4294967290:10"],
    ["4294967290:0:10"],
    ["4294967295:0:1"],
    ["0:0:0"],
    ["0:99999999999:1"],
    ["-1:0:1"],
    ["0:-1:1"],
    ["0:0:-1"],
    ["1:2"],
    ["1:2:3:4"],
    ["0x1:2:3"],
    ["1.5:2:3"],
    [" 1:2:3"],
    ["1:2:3\n"],
    [""],
  ];
  for (const texts of wrong) assert.throws(() => ranges(...texts), failsWith("E_USAGE"), texts.join(" "));
  for (const number of [-1, 0.5, Number.NaN, 2 ** 53, Number.POSITIVE_INFINITY]) {
    for (const field of ["start", "target", "count"] as const) {
      const range = { start: 0, target: 0, count: 1, [field]: number };
      assert.throws(() => checkedRanges([range], "uidMap"), failsWith("E_USAGE", /uidMap/), `${field} ${number}`);
    }
  }
  assert.equal(ranges("4294967294:0:1", "0:4294967294:1").length, 2);
});

const HASH = `$6$saltsalt$${"h".repeat(86)}` as PasswordHash;

test(
  "root's password: its field and nothing else, in each format, under each name of the file",
  needsRoot("owners"),
  async (t) => {
    const before = "\xff:x:\nroot:!:19000:0:99999:7:::\nrooter:*:1\nroot:second:1\nlast:*";
    const { directory, source, context, layout } = preparedImage(t, [
      [
        {
          path: "etc/shadow",
          content: Buffer.from(before, "latin1"),
          mode: 0o640,
          gid: 42,
          uid: 3,
          mtime: 1_600_000_000,
        },
        { path: "etc/shadow-", kind: "link", target: "etc/shadow" },
        { path: "opt/etc/shadow", content: before },
        { path: "after", content: "a" },
      ],
    ]);
    const alterations = { rootPassword: HASH, ids: { uids: ranges("3:4:1"), gids: [] } };
    for (const format of ["dir", "tar", "oci", "squashfs", "qcow2", "raw"] as const) {
      const output = join(directory, `out-${format}`);
      await importToFile(context, layout, source, { output, format, alterations });
      const tree = await treeOf(output, format, directory);
      const at = (name: string) => tree.find((entry) => entry.name === name);
      const { mode, uid, gid, mtime, size, link } = at("etc/shadow") ?? {};
      assert.deepEqual(
        { mode, uid, gid, mtime, size, link },
        {
          mode: 0o640,
          uid: 4,
          gid: 42,
          mtime: 1_600_000_000,
          size: before.length + HASH.length - 1,
          link: "etc/shadow",
        },
      );
      assert.equal(at("etc/shadow-")?.link, "etc/shadow");
      assert.equal(at("opt/etc/shadow")?.size, Buffer.from(before).length);
      assert.equal(at("after")?.size, 1);
    }
    const written = readFileSync(join(directory, "out-dir/etc/shadow"), "latin1");
    assert.equal(
      written,
      before.replace("root:!:", () => `root:${HASH}:`),
    );
  },
);

const shadow = (content: string | Buffer): Given[] => [{ path: "etc/shadow", content }];
const refusals: Record<string, (canary: string) => Given[]> = {
  "no /etc/shadow": () => [{ path: "etc/passwd" }],
  "no line for root": () => shadow("rooty:*:1\n root:*:1\nroot\n#root:x\n"),
  "an empty file": () => shadow(""),
  "a file of two megabytes": () => shadow(Buffer.alloc(2 << 20, "root:*:\n")),
  "a symlink to a file of the host": (target) => [{ path: "etc/shadow", kind: "symlink", target, mode: 0o777 }],
  "a symlink within the image": () => [
    { path: "etc/real", content: "root:*:1\n" },
    { path: "etc/shadow", kind: "symlink", target: "real", mode: 0o777 },
  ],
  "an /etc that leads to the host": (canary) => [
    { path: "etc", kind: "symlink", target: join(canary, ".."), mode: 0o777 },
  ],
  "a hard link to another file": () => [
    { path: "etc/a", content: "root:*:1\n" },
    { path: "etc/shadow", kind: "link", target: "etc/a" },
  ],
  "a FIFO": () => [{ path: "etc/shadow", kind: "fifo" }],
  "a device": () => [{ path: "etc/shadow", kind: "character", major: 1, minor: 5 }],
  "a directory": () => [{ path: "etc/shadow/root", content: "root:*:1\n" }],
};

for (const [what, etc] of Object.entries(refusals)) {
  test(`root's password: refused for ${what}; what was there stays`, async (t) => {
    const canary = join(scratch(t), "shadow");
    writeFileSync(canary, "root:*:1::::::\n");
    const { directory, source, context, layout } = preparedImage(t, [[{ path: "first" }, ...etc(canary)]]);
    for (const format of ["dir", "tar", "squashfs", "qcow2"] as const) {
      const output = join(directory, `out-${format}`);
      const isDirectory = format === "dir" || format === "qcow2";
      if (isDirectory) mkdirSync(output);
      const old = isDirectory ? join(output, "old") : output;
      writeFileSync(old, "precious");
      const before = readdirSync(directory).concat("data", "cache").sort();
      const how = { output, format, force: true, alterations: { rootPassword: HASH } };
      await assert.rejects(importToFile(context, layout, source, how), failsWith("E_SHADOW"));
      assert.equal(readFileSync(old, "utf8"), "precious");
      assert.deepEqual(
        readdirSync(directory).filter((name) => !before.includes(name)),
        [],
      );
    }
    assert.equal(readFileSync(canary, "utf8"), "root:*:1::::::\n");
  });
}

test("passwords are hashed as crypt(3) does, with a salt each, and never shown to other users", async (t) => {
  const [one, other] = [await hashPassword("pässword $6$ ", "test"), await hashPassword("pässword $6$ ", "test")];
  assert.notEqual(one, other);
  const longest = "x".repeat(256);
  for (const [password, hash] of [
    ["pässword $6$ ", one],
    [longest, await hashPassword(longest, "test")],
  ] as const) {
    // Perl's crypt is the C library's, which login uses.
    const said = await capture("perl", ["-e", "print crypt($ARGV[0], $ARGV[1])", password, hash]);
    assert.equal(said, hash);
  }
  for (const password of ["", "x".repeat(257), "two\nlines", "nul\0"]) {
    await assert.rejects(hashPassword(password, "--root-password"), failsWith("E_USAGE", /--root-password/));
  }
  const directory = preparedImage(t, []).directory;
  const seen = join(directory, "seen");
  writeFileSync(join(directory, "openssl"), `#!/bin/sh\n{ echo "$@"; env; } >${seen}\necho nonsense\n`, {
    mode: 0o755,
  });
  const path = process.env.PATH;
  process.env.PATH = `${directory}:${path}`;
  t.after(() => (process.env.PATH = path));
  await assert.rejects(hashPassword("sesame", "test"), failsWith("E_PROGRAM"));
  assert.ok(statSync(seen).size > 0);
  assert.doesNotMatch(readFileSync(seen, "utf8"), /sesame/);
});
