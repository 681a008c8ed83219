/** `import` with other owners and a password of root's, as its users have it: root, and who has ids to give or none. */
import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { ourselves, ownerName } from "../src/base/owner.ts";
import { type Box, emptyBox } from "./support/boxes.ts";
import { rootlingWords } from "./support/cli.ts";
import { must } from "./support/command.ts";
import { bytes, tarOf } from "./support/image-support.ts";
import { Terminal } from "./support/terminal.ts";
import { compareTrees, listTree, type TreeEntry } from "./support/tree.ts";
import { everyKind, needsRoot, userKinds } from "./support/users.ts";

const CAPABILITY = Buffer.from(`01000002${"0020000000000000".repeat(2)}`, "hex");
/** All that capabilities are, but for whose. */
const namespaced = (root: number): string => {
  const value = Buffer.concat([CAPABILITY, Buffer.alloc(4)]);
  value.writeUInt8(3, 3);
  value.writeUInt32LE(root, 20);
  return value.toString("latin1");
};

const SECRET = "sésame, open";

/** Words mean the same to all: they are tried as one of them. */
const one = userKinds.find((kind) => kind !== "root");

for (const kind of everyKind) {
  describe(`as ${kind}`, () => {
    let box: Box;
    let image: string;
    before(async () => {
      box = await emptyBox(kind);
      image = join(box.scratch, "image.tar");
      const archive = tarOf([
        { path: "./", kind: "directory", mode: 0o700, uid: 3 },
        { path: "etc/shadow", content: "root:*:19000::::::\n", mode: 0o640, gid: 42 },
        { path: "closed/file", content: "c", uid: 1000, gid: 1000 },
        { path: "closed", kind: "directory", mode: 0o500, uid: 1000, gid: 1000 },
        { path: "set-id", content: "s", mode: 0o6755 },
        { path: "again", kind: "link", target: "set-id", mode: 0o6755 },
        { path: "capable", content: "c", mode: 0o755, xattrs: new Map([[bytes("security.capability"), CAPABILITY]]) },
      ]);
      writeFileSync(image, archive);
      chmodSync(image, 0o644);
      writeFileSync(join(box.user.home, "password"), `${SECRET}\r\nanother line\n`);
      await must(["chmod", "a+r", join(box.user.home, "password")]);
    });
    after(() => box.remove());

    const fail = async (words: readonly string[], status: number, said: RegExp, input?: string) => {
      const outcome = await box.run(["import", ...words], input === undefined ? {} : { input });
      assert.equal(outcome.status, status, outcome.stderr);
      assert.match(outcome.stderr, said);
      assert.doesNotMatch(outcome.stderr, /sésame/);
    };
    const hashIn = async (tar: string) =>
      /^root:([^:]+):/.exec(await must(["tar", "-xOf", tar, "etc/shadow"]))?.[1] ?? "";
    const fits = async (password: string, hash: string) => {
      const program = "print crypt($ARGV[0], $ARGV[1]) eq $ARGV[1] ? 1 : 0";
      return (await must(["perl", "-e", program, password, hash])) === "1";
    };
    const output = (name: string) => join(box.user.home, name);

    /** The ids that this user has to give: theirs, then as many of those that are subordinate. */
    const own = async () => {
      const given = Number((await must(["sh", "-c", `grep ^${box.user.name}: /etc/subuid || true`])).split(":")[1]);
      return { uid: box.user.uid, gid: box.user.gid, first: kind === "root" ? 100_000 : given };
    };

    test("a directory gets the owners that its maker may give, and nobody else's", needsRoot("owners"), async () => {
      const words = ["import", image, "-o", output("tree"), "--format", "dir"];
      const { uid, gid, first } = await own();
      const range = (id: number) => [`0:${id}:1`, `1:${kind === "plain" ? 100_000 : first}:1500`];
      const maps = [
        ...range(uid).flatMap((text) => ["--uidmap", text]),
        ...range(gid).flatMap((text) => ["--gidmap", text]),
      ];
      if (kind === "plain") return fail([...words.slice(1), ...maps], 125, /E_SUBUID[\s\S]*mend: write a tar/);
      // What somebody else's ids would be is not to be had; nothing is left of trying.
      if (kind === "subids") {
        await fail([...words.slice(1), "--idmap", "0:1000:1"], 125, /E_SUBUID/);
        assert.deepEqual(
          readdirSync(box.user.home).filter((name) => name.startsWith("tree")),
          [],
        );
      }
      // What a killed import left, with the owner that the image gives the root.
      const left = output(`tree.${ownerName({ ...ourselves(), start: "1" })}.00000000.tmp`);
      mkdirSync(join(left, "closed"), { recursive: true, mode: 0o700 });
      const owner = kind === "root" ? "0:0" : `${first + 2}:${first + 2}`;
      await must(["chown", "-R", owner, left]);
      await box.must([...words, ...maps]);
      // The old one, which is not all its maker's, gives way.
      await box.must([...words, ...(kind === "root" ? maps : ["--map", "subids"]), "--force"]);
      const moved = (id: number, self: number) => (id === 0 ? self : first + id - 1);
      const entry = (name: string, user: number, group: number, mode: number) => ({
        ...{ name, mode, uid: moved(user, uid), gid: moved(group, gid) },
      });
      const expected = [
        entry(".", 3, 0, 0o700),
        entry("again", 0, 0, 0o6755),
        {
          ...entry("capable", 0, 0, 0o755),
          xattrs: { "security.capability": kind === "root" ? CAPABILITY.toString("latin1") : namespaced(uid) },
        },
        entry("closed", 1000, 1000, 0o500),
        entry("closed/file", 1000, 1000, 0o644),
        entry("etc", 0, 0, 0o755),
        entry("etc/shadow", 0, 42, 0o640),
        entry("set-id", 0, 0, 0o6755),
      ] as TreeEntry[];
      const ignore = (_: TreeEntry, field: keyof TreeEntry) => !["mode", "uid", "gid", "xattrs"].includes(field);
      assert.deepEqual(compareTrees(await listTree(output("tree")), expected, { ignore }), []);
      assert.deepEqual(
        readdirSync(box.user.home).filter((name) => name.endsWith(".tmp")),
        [],
      );
      await must(["rm", "-rf", output("tree")]);
    });

    test("the root of a squashfs has the owner that it is to have, whoever makes it", async () => {
      for (const [owner, words] of [
        ["3/0", []],
        ["100003/100000", ["--idmap", "0:100000:10"]],
      ] as const) {
        const { status, stderr } = await box.run(["import", image, "-o", output("a.sqsh"), "--force", ...words]);
        assert.equal(status, 0, stderr);
        assert.doesNotMatch(stderr, /owner/);
        assert.match(
          await must(["unsquashfs", "-lln", output("a.sqsh")]),
          new RegExp(`^drwx------ ${owner} .* squashfs-root$`, "m"),
        );
      }
    });

    test("without id maps, an ordinary user hears that all is theirs", async () => {
      const { status, stderr } = await box.run(["import", image, "-o", output("mine"), "--format", "dir"]);
      assert.equal(status, 0, stderr);
      const said = /all files are yours/.test(stderr);
      assert.equal(said, kind !== "root", stderr);
      await must(["sh", "-c", 'chmod -R u+rwX "$1" && rm -r "$1"', "sh", output("mine")]);
    });

    if (kind !== one) return;

    test("a tar gets any owners, and the password from a file or standard input", async () => {
      const words = ["import", image, "--format", "tar", "--idmap", "0:100000:2000", "--root-password"];
      await box.must([...words, "file:password", "-o", output("a.tar")]);
      await box.must([...words, "-", "-o", output("b.tar")], { input: `${SECRET}\n` });
      const hashes = [await hashIn(output("a.tar")), await hashIn(output("b.tar"))];
      for (const hash of hashes) assert.ok(await fits(SECRET, hash), hash);
      assert.notEqual(hashes[0], hashes[1]);
      const listed = await must(["tar", "-tvf", output("a.tar"), "--numeric-owner"]);
      assert.match(listed, /^-rw-r----- 100000\/100042 .* etc\/shadow$/m);
      assert.match(listed, /^dr-x------ 101000\/101000 .* closed\/$/m);
      assert.match(listed, /^-rwsr-sr-x 100000\/100000 .* set-id$/m);
    });

    test("the password is asked for twice, without echo", async () => {
      const words = ["import", image, "--format", "tar", "--root-password", "ask", "-o"];
      for (const [name, again, status] of [
        ["asked.tar", SECRET, 0],
        ["differs.tar", "typo", 2],
      ] as const) {
        const terminal = await Terminal.start(box.user, rootlingWords(...words, output(name)));
        try {
          await terminal.expect(/Root's password/);
          terminal.send(`${SECRET}\r`);
          await terminal.expect(/The same again/);
          terminal.send(`${again}\r`);
          assert.equal(await terminal.end(), status, terminal.output);
          assert.doesNotMatch(terminal.output, /sésame|typo/);
        } finally {
          terminal.close();
        }
      }
      assert.ok(await fits(SECRET, await hashIn(output("asked.tar"))));
      assert.ok(!existsSync(output("differs.tar")));
    });

    test("words that cannot be meant are refused, and no password is shown", async () => {
      const to = ["-o", output("no"), "--format", "tar"];
      await fail([image, ...to, "--root-password", SECRET], 2, /not a place to read a password from/);
      await fail([image, ...to, "--root-password", "file:"], 2, /E_USAGE/);
      await fail([image, ...to, "--root-password", "file:none"], 125, /E_NOT_FOUND.*\n {2}from: none/);
      await fail([image, ...to, "--root-password", "file:/dev/zero"], 2, /E_USAGE/);
      await fail([image, ...to, "--root-password", "-"], 2, /holds no password/, "");
      await fail(["-", ...to, "--root-password", "-"], 2, /read for the image already/, SECRET);
      await fail([image, "--root-password", "-"], 2, /a stored image keeps its password/, SECRET);
      await fail([image, "--idmap", "0:1:1"], 2, /--idmap is for files/);
      await fail(
        [image, ...to, "--idmap", "0:5:10", "--uidmap", "3:50:1"],
        2,
        /the id 3 is mapped twice.*\n {2}from: --uidmap/,
      );
      await fail([image, ...to, "--gidmap", "-1:5:10"], 2, /E_USAGE/);
      const enroot = ["-o", output("no"), "--enroot", "--idmap", "0:1:1"];
      await fail([image, ...to, "--map", "subids"], 2, /--map is for stored images and directories/);
      await fail([image, ...enroot], 2, /with --enroot all files are root's/);
      assert.ok(!existsSync(output("no")));
      const steps = await box.must([
        "import",
        image,
        ...to,
        "--dry-run",
        "--root-password",
        "ask",
        "--uidmap",
        "0:5:1",
      ]);
      assert.match(steps, /map users 0:5:1 {2}# --uidmap\n.*set root's password {2}# --root-password\n/);
    });

    test("no output takes the place of / or of the home directory", async () => {
      for (const path of ["//", "/usr/..", "..", box.user.home]) {
        for (const format of ["dir", "tar"]) {
          await fail([image, "-o", path, "--format", format, "--force"], 125, /E_NAME|E_EXISTS/);
        }
      }
      assert.ok(existsSync(output("password")));
    });
  });
}
