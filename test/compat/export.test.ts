/** From a container back to an image, for root and ordinary users: the same tree, and nothing of overlayfs in it. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type Box, busyboxBox, emptyBox } from "../support/boxes.ts";
import { bytes, type Given, type ReadEntry, readTar, tarOf } from "../support/image-support.ts";
import { startBeside } from "../support/running.ts";
import { everyKind, ordinaryKinds, userKinds } from "../support/users.ts";

const CHANGE = `set -e
  rm /etc/passwd; rm -r /home; mkdir /home; echo new >/home/new
  mkdir -p /deep/er /deep/lower; echo a >/deep/er/a; ln /deep/er/a /deep/hard; ln -s ../x /deep/soft
  chmod 4711 /deep/er/a; mkfifo /deep/pipe; chmod 1777 /deep
  : >/deep/mark; mkdir -p /deep/marked/too /deep/closed/in; echo x >/deep/closed/in/x
  chmod 0 /deep/mark /deep/marked/too /deep/marked /deep/closed/in /deep/closed
  touch -d @1600000000 /deep/er/a /deep/er`;

/** What a container holds: the tar that copy gives, by name. */
async function treeOf(box: Box, name: string): Promise<ReadEntry[]> {
  const copied = await box.run(["copy", `${name}:/`, "-"]);
  assert.equal(copied.status, 0, copied.stderr);
  return byName(readTar(copied.bytes, copied.bytes.length, false));
}

/** Of several names of a file the first in the archive has the content: which one that is does not matter. */
function byName(entries: readonly ReadEntry[]): ReadEntry[] {
  const content = new Map(entries.map((entry) => [entry.path as string, entry]));
  return entries
    .map((entry) => {
      const file = entry.kind === "link" ? content.get(entry.target ?? "") : undefined;
      const { target: _, ...rest } = entry;
      return file === undefined ? entry : { ...rest, ...file, path: entry.path };
    })
    .map(({ nanoseconds: _, ...entry }) => (entry.path === "." ? { ...entry, mtime: 0 } : entry))
    .sort((a, b) => (a.path < b.path ? -1 : 1));
}

// A map of one id is the same with subordinate ids and without.
for (const kind of userKinds.filter((one) => one !== "subids")) {
  describe(`export, as ${kind}`, () => {
    let box: Box;
    before(async () => {
      box = await busyboxBox(kind);
      await box.must(["start", "--rw", "--root", "box", "sh", "-c", CHANGE]);
    });
    after(() => box.remove());
    const here = (name: string) => join(box.user.home, name);

    test("a container of what was exported has the same tree and configuration", async () => {
      const expected = await treeOf(box, "box");
      const names = expected.map(({ path }) => path as string);
      assert.ok(names.includes("home/new") && names.includes("deep/marked/too") && names.includes("deep/closed/in/x"));
      assert.ok(!names.includes("etc/passwd") && !names.includes("home/demo"), "what was deleted is gone");
      // A squashfs file gives its extended attributes to root only.
      for (const [format, output] of [
        ["tar", "it.tar"],
        kind === "root" ? ["squashfs", "it.sqsh"] : ["oci", "it.oci"],
      ] as const) {
        const said = await box.must(["export", "box", "--format", format, "-o", output]);
        assert.ok(said.startsWith(here(output)), said);
        const source = format === "oci" ? `oci:${here(output)}` : here(output);
        await box.must(["create", source, "--name", format]);
        assert.deepEqual(await treeOf(box, format), expected, format);
        const asked = await box.must(["start", format, "sh", "-c", "echo $FROM"]);
        assert.equal(asked.trim(), format === "tar" ? "" : "image");
      }
      const taken = await box.run(["export", "box", "-o", "it.tar", "--format", "tar"]);
      assert.match(taken.stderr, /E_EXISTS/);
      await box.must(["export", "box", "-o", "it.tar", "--format", "tar", "--force"]);
    });

    test("enroot's rules: all root's, no devices, no marks, its files made of the configuration", async () => {
      await box.must(["export", "box", "--enroot", "--format", "tar", "-o", "enroot.tar"]);
      const entries = readTar(readFileSync(here("enroot.tar")));
      const names = entries.map(({ path }) => path as string);
      for (const gone of ["deep/mark", "deep/marked", "deep/marked/too"]) assert.ok(!names.includes(gone), gone);
      for (const kept of ["deep/closed", "deep/closed/in/x", "deep/er/a", "deep/hard", "etc/rc", "etc/rc.local"]) {
        assert.ok(names.includes(kept), kept);
      }
      assert.ok(names.every((name) => !name.startsWith("dev/")));
      assert.ok(entries.every(({ uid, gid }) => uid === 0 && gid === 0));
      assert.match(entries.find(({ path }) => path === "etc/environment")?.content ?? "", /^FROM=image$/m);
      // What was made so once keeps the files as they are, whatever was done to them.
      await box.must(["export", "box", "--enroot", "-o", "e.sqsh"]);
      await box.must(["create", here("e.sqsh"), "--name", "again"]);
      await box.must(["start", "--rw", "--root", "again", "sh", "-c", "echo MORE=1 >>/etc/environment"]);
      await box.must(["export", "again", "--enroot", "--format", "tar", "-o", "again.tar"]);
      const later = readTar(readFileSync(here("again.tar"))).find(({ path }) => path === "etc/environment");
      assert.match(later?.content ?? "", /FROM=image\n(.*\n)*MORE=1\n$/);
    });

    for (const how of [[], ["--rw"]]) {
      test(`while it runs${how.map((flag) => ` with ${flag}`)}, and what is mounted in it stays out`, async () => {
        await box.user.run(["sh", "-c", "echo secret >secret"]);
        const running = await startBeside(box, ["start", ...how, "--mount", `${here("secret")}:/deep/er/a`, "box"]);
        const { stderr, status } = await box.run(["export", "box", "--format", "tar", "-o", "r.tar", "--force"]);
        await running.end();
        assert.equal(status, 0, stderr);
        assert.equal(/runs writable/.test(stderr), how.length > 0, stderr);
        const entries = byName(readTar(readFileSync(here("r.tar"))));
        assert.equal(entries.find(({ path }) => path === "deep/er/a")?.content, "a\n");
      });
    }
  });
}

for (const kind of everyKind.filter((one) => one !== "root")) {
  test(`owners come back, as ${kind}`, async (t) => {
    const box = await emptyBox(kind);
    t.after(() => box.remove());
    const archive = join(box.scratch, "owned.tar");
    const list: Given[] = [
      { path: "./", kind: "directory", mode: 0o750 },
      { path: "file", content: "x", uid: 5, gid: 0 },
      { path: "dir", kind: "directory", uid: 1000, gid: 7, xattrs: new Map([[bytes("user.a"), Buffer.from("b")]]) },
    ];
    writeFileSync(archive, tarOf(list));
    const words = kind === "subids" ? ["--map", "subids"] : [];
    await box.must(["create", archive, "--name", "box", ...words]);
    await box.must(["export", "box", "--format", "tar"]);
    const entries = readTar(readFileSync(join(box.user.home, "box.tar")));
    const found = Object.fromEntries(
      entries.map(({ path, uid, gid, xattrs }) => [path, [uid, gid, [...(xattrs ?? [])]]]),
    );
    assert.deepEqual(found, { ".": [0, 0, []], file: [5, 0, []], dir: [1000, 7, [["user.a", Buffer.from("b")]]] });
  });
}

test("a directory that enroot made is exported as it is, without its lock and marks", async (t) => {
  const box = await emptyBox(ordinaryKinds[0] ?? "plain");
  t.after(() => box.remove());
  const make = "mkdir -p r/etc r/dev r/.enroot; echo x >r/etc/rc; echo l >r/.lock; : >r/dev/null; : >r/m; chmod 0 r/m";
  await box.user.run(["sh", "-c", make]);
  await box.must(["export", "dir:r", "--enroot", "--format", "tar"]);
  const names = readTar(readFileSync(join(box.user.home, "r.tar"))).map(({ path }) => path as string);
  assert.deepEqual(names.sort(), [".", "dev", "etc", "etc/rc"]);
});

test("a container that is a copy, and a directory as output", async (t) => {
  const box = await busyboxBox(ordinaryKinds[0] ?? "plain");
  t.after(() => box.remove());
  // As create makes it where no overlay can be had.
  const make = `cd "$ROOTLING_DATA_PATH" && cp -a images/*/tree containers/box/root && cd containers/box &&
    sed -i 's/"shared"/"copied"/' container.json && echo new >root/home/new && rm root/etc/passwd`;
  assert.equal((await box.user.run(["sh", "-c", make])).status, 0);
  await box.must(["export", "box", "--format", "dir"]);
  const there = await box.user.run(["find", "box/home", "box/etc", "-type", "f"]);
  assert.deepEqual(there.stdout.trim().split("\n").sort(), ["box/etc/group", "box/etc/os-release", "box/home/new"]);
});
