/** Maps of one id and of many: who owns what inside and on disk, users of the image, and what is refused. */
import assert from "node:assert/strict";
import { chmodSync, chownSync, existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type Box, busyboxBox } from "../support/boxes.ts";
import { rootlingWords } from "../support/cli.ts";
import { background, command } from "../support/command.ts";
import { busyboxImage, ImageLayout, writeTar } from "../support/images.ts";
import { everyKind, type UserKind } from "../support/users.ts";

/** A box with a further image `owners`, whose files belong to several users and groups. */
async function ownersBox(kind: UserKind): Promise<Box> {
  const box = await busyboxBox(kind);
  const layout = await ImageLayout.create(join(box.scratch, "owners"));
  await busyboxImage(layout, "latest", box.scratch);
  const tar = writeTar(join(box.scratch, "owners.tar"), [
    { name: "home/demo", type: "directory", uid: 4242, gid: 4242, mode: 0o700 },
    { name: "home/demo/secret", content: "demo's\n", uid: 4242, gid: 4242, mode: 0o600 },
    { name: "srv", type: "directory", uid: 33, gid: 34, mode: 0o755 },
    { name: "srv/link", type: "symlink", target: "x", uid: 33, gid: 34 },
    { name: "null", type: "character", device: [1, 3], mode: 0o666 },
    { name: "etc/group", content: "root:x:0:\ndemo:x:4242:\nextra:x:777:demo\n", mode: 0o644 },
  ]);
  await layout.addLayer("latest", tar);
  await command(["chmod", "-R", "a+rX", layout.directory]);
  await box.must(["import", `oci:${layout.reference("latest")}`, "--name", "owners"]);
  return box;
}

const LIST = "stat -c '%u:%g %a %n' /home/demo /home/demo/secret /srv /srv/link /bin /; cat /home/demo/secret";
const OWNERS =
  "4242:4242 700 /home/demo\n4242:4242 600 /home/demo/secret\n33:34 755 /srv\n33:34 777 /srv/link\n0:0 755 /bin\n0:0 755 /\ndemo's\n";

for (const kind of everyKind.filter((each) => each !== "plain")) {
  describe(`maps of many ids, as ${kind}`, () => {
    let box: Box;
    before(async () => {
      box = await ownersBox(kind);
    });
    after(() => box.remove());

    const sh = (...words: string[]) => box.must([...words.slice(0, -1), "sh", "-c", words.at(-1) ?? ""]);

    test("files have the owners of the image, and root inside is root over all of them", async () => {
      assert.equal(await sh("run", "--map", "subids", "owners", LIST), OWNERS);
      const changed = await sh(
        "run",
        "--map",
        "subids",
        "owners",
        "chown 5:6 /srv/link /srv; stat -c %u:%g /srv; id -u",
      );
      assert.equal(changed, "5:6\n0\n");
      const range = kind === "root" ? "0 1000000 65536" : `0 ${box.user.uid} 1`;
      assert.match(
        (await sh("run", "--map=subids", "owners", "cat /proc/self/uid_map")).replace(/ +/g, " "),
        RegExp(range),
      );
    });

    test("the tree for a map is made once, and another map gets another one", async () => {
      const again = await box.run(["run", "--map", "subids", "owners", "true"]);
      assert.equal(again.stderr, "");
      const { ROOTLING_DATA_PATH = "" } = box.user.env;
      const trees = () =>
        readdirSync(join(ROOTLING_DATA_PATH, "images")).flatMap((hex) => {
          const mapped = join(ROOTLING_DATA_PATH, "images", hex, "mapped");
          return existsSync(mapped) ? readdirSync(mapped) : [];
        }).length;
      assert.equal(trees(), kind === "root" ? 0 : 1);
      assert.equal(await sh("run", "--map", "keep", "owners", "stat -c %u:%g /srv /"), "33:34\n0:0\n");
      assert.equal(trees(), kind === "root" ? 0 : 2);
    });

    test("--user takes a user of the image with all groups", async () => {
      const id = await sh("run", "--map", "subids", "--user", "demo", "owners", "id; cat /home/demo/secret");
      assert.equal(id, "uid=4242(demo) gid=4242(demo) groups=777(extra)\ndemo's\n");
      const bare = await sh("run", "--map", "subids", "--user", "33:34", "owners", "id; grep CapEff /proc/self/status");
      assert.equal(bare, "uid=33 gid=34\nCapEff:\t0000000000000000\n");
    });

    test("--map keep leaves the caller the own id, without capabilities", async () => {
      const { uid, gid } = box.user;
      const said = await sh("run", "--map", "keep", "owners", "id -u; id -g; grep CapEff /proc/self/status");
      assert.equal(said, `${uid}\n${gid}\nCapEff:\t0000000000000000\n`);
    });

    test("a container keeps owners, runs by its own map, and refuses one that gives others", async () => {
      await box.must(["create", "--map", "subids", "owners", "--name", "mapped"]);
      const change =
        "mkdir /srv/d; echo x >/srv/d/f; chown 4242:777 /srv/d/f /srv/d; chmod 700 /srv/d; rm -r /home; mkdir /home";
      await sh("start", "--rw", "mapped", change);
      assert.equal(
        await sh("start", "mapped", "stat -c '%u:%g %n' /srv/d /srv/d/f; ls /home"),
        "4242:777 /srv/d\n4242:777 /srv/d/f\n",
      );
      const other = await box.run(["start", "--map", "self", "mapped", "true"]);
      const plain = await box.run(["start", "--map", "subids", "box", "true"]);
      if (kind === "root") assert.deepEqual([other.status, plain.status], [0, 0], other.stderr + plain.stderr);
      else {
        assert.equal(other.status, 125);
        assert.match(other.stderr, /E_CONFLICT[\s\S]*--map self/);
        assert.match(plain.stderr, /E_CONFLICT[\s\S]*create --map subids/);
      }
      assert.match(await box.must(["info", "--disk"]), /container mapped/);
      await box.must(["remove", "mapped"]);
      const { ROOTLING_DATA_PATH = "" } = box.user.env;
      assert.deepEqual(readdirSync(join(ROOTLING_DATA_PATH, "temporary")), []);
    });

    test("an ephemeral upper on disk goes with all owners' files, also after kill -9", async () => {
      const { ROOTLING_DATA_PATH = "" } = box.user.env;
      const left = () => readdirSync(join(ROOTLING_DATA_PATH, "ephemeral"));
      const fill = "mkdir /d; echo x >/d/f; chown 4242:4242 /d/f /d; chmod 700 /d; : >/ready";
      const words = ["run", "--map", "subids", "--upper", "disk", "owners", "sh", "-c"];
      await box.must([...words, fill]);
      assert.deepEqual(left(), []);
      const running = background(box.user.words(rootlingWords(...words, `${fill}; sleep 1000`)), {
        env: box.user.env,
        cwd: box.user.home,
      });
      for (let tries = 0; tries < 600; tries++) {
        const [upper] = left();
        if (upper !== undefined && existsSync(join(ROOTLING_DATA_PATH, "ephemeral", upper, "upper/ready"))) break;
        await sleep(50);
      }
      await running.end("SIGKILL");
      assert.equal(left().length, 1);
      await sleep(500);
      await box.must(["run", "busybox", "true"]);
      assert.deepEqual(left(), []);
    });

    test("a detached container writes its log as any of its users, and its files are copied", async () => {
      await box.must(["create", "--map", "subids", "owners", "--name", "away"]);
      const script = "echo by name >/dev/stdout; echo said; id -u; while :; do sleep 0.1; done";
      await box.must(["start", "--detach", "--rw", "--user", "demo", "away", "sh", "-c", script]);
      try {
        let log = "";
        for (let tries = 0; !log.includes("4242") && tries < 100; tries++) {
          await sleep(50);
          log = await box.must(["logs", "away"]);
        }
        assert.equal(log, "by name\nsaid\n4242\n");
        assert.equal(await box.must(["exec", "--user", "0", "away", "cat", "/home/demo/secret"]), "demo's\n");
        await box.must(["copy", "away:/home/demo/secret", "secret"]);
        await box.must(["copy", "secret", "away:/srv/copied"]);
        assert.equal(await box.must(["exec", "away", "stat", "-c", "%u:%g", "/srv/copied"]), "0:0\n");
      } finally {
        await box.must(["stop", "--timeout", "1", "away"]);
      }
      await box.must(["remove", "away"]);
    });

    test("a monitor that was killed takes along a payload that became another user", async () => {
      const mark = `98765${box.user.uid}`;
      const words = rootlingWords("run", "--map", "subids", "--user", "demo", "--pid", "owners", "sleep", mark);
      const running = background(box.user.words(words), { env: box.user.env, cwd: box.user.home });
      const sleeps = async () =>
        (await command(["pgrep", "--full", `^sleep ${mark}`])).stdout.split("\n").filter(Boolean).length;
      for (let tries = 0; (await sleeps()) === 0 && tries < 200; tries++) await sleep(50);
      assert.equal(await sleeps(), 1);
      await running.end("SIGKILL");
      for (let tries = 0; (await sleeps()) > 0 && tries < 100; tries++) await sleep(50);
      assert.equal(await sleeps(), 0);
    });

    test("exec enters by the container's map, as any of its users", async () => {
      const words = box.user.words(rootlingWords("run", "--map", "subids", "--pid", "owners", "sleep", "1000"));
      const sleeper = background(words, { env: box.user.env, cwd: box.user.home });
      try {
        let outcome = await box.run(["exec", String(sleeper.pid), "id", "-u"]);
        for (let tries = 0; outcome.status !== 0 && tries < 100; tries++) {
          await sleep(50);
          outcome = await box.run(["exec", String(sleeper.pid), "id", "-u"]);
        }
        assert.equal(outcome.stdout, "0\n", outcome.stderr);
        const demo = ["exec", "--user", "demo", String(sleeper.pid), "id"];
        assert.equal(await box.must(demo), "uid=4242(demo) gid=4242(demo) groups=777(extra)\n");
      } finally {
        await sleeper.end("SIGTERM");
      }
    });

    test("a private directory of the host can be mounted; its owner is nobody inside, or root where that is the caller", async () => {
      const place = join(box.user.home, "private");
      await box.user.run(["sh", "-c", `mkdir -m 700 ${place} && echo here >${place}/f`]);
      const said = await sh(
        "run",
        "--map",
        "subids",
        "--mount",
        `${place}:/mnt`,
        "owners",
        "ls -d /mnt; cat /mnt/f || echo closed",
      );
      assert.equal(said, kind === "root" ? "/mnt\nclosed\n" : "/mnt\nhere\n");
    });

    test("ranges as they are written, groups apart", async () => {
      const { uid, gid } = box.user;
      const words = kind === "root" ? "uid:0:70000:5000;gid:0:90000:5000" : `uid:0:${uid}:1;gid:0:${gid}:1`;
      const said = await sh("run", "--map", words, "busybox", "id -u; id -g; cat /proc/self/gid_map");
      assert.match(
        said.replace(/ +/g, " "),
        kind === "root" ? /^0\n0\n 0 90000 5000\n$/ : RegExp(`^0\n0\n 0 ${gid} 1\n$`),
      );
    });

    test("an image's file of a user beyond the map is refused, or belongs to nobody", async () => {
      if (kind === "root") {
        assert.equal(await sh("run", "--map", "0:70000:100", "owners", "stat -c %u /home/demo"), "65534\n");
        return;
      }
      const start = 10_000_000 + box.user.uid * 65_536;
      const words = `0:${box.user.uid}:1,1:${start}:100`;
      const refused = await box.run(["run", "--map", words, "owners", "true"]);
      assert.match(refused.stderr, /files of 4242:4242, which the map does not hold \[E_SUBUID\]/);
      assert.deepEqual(readdirSync(join(box.user.env.ROOTLING_DATA_PATH ?? "", "temporary")), []);
    });

    test("the image goes with the trees of all maps", async () => {
      await box.must(["remove", "image:owners"]);
      const { ROOTLING_DATA_PATH = "" } = box.user.env;
      assert.equal(readdirSync(join(ROOTLING_DATA_PATH, "images")).length, 1);
      assert.deepEqual(readdirSync(join(ROOTLING_DATA_PATH, "temporary")), []);
    });
  });
}

for (const kind of everyKind.filter((each) => each !== "root")) {
  describe(`the map of one id, as ${kind}`, () => {
    let box: Box;
    before(async () => {
      box = await busyboxBox(kind);
    });
    after(() => box.remove());

    test("it denies setgroups, and what a group is denied stays unreadable (CVE-2018-7169)", async () => {
      for (const words of [[], ["--root"], ["--map", "self"], ["--map", "root"]]) {
        const said = await box.must(["run", ...words, "busybox", "cat", "/proc/self/setgroups"]);
        assert.equal(said, "deny\n");
      }
      if (process.getuid?.() !== 0) return;
      const file = join(box.scratch, "not-for-the-group");
      writeFileSync(file, "everybody else's\n");
      chownSync(file, 0, box.user.gid);
      chmodSync(file, 0o604);
      const read = await box.run(["run", "--root", "--mount", `${file}:/f`, "busybox", "cat", "/f"]);
      assert.match(read.stderr, /Permission denied/);
    });

    test("no other user can be had, and --root beside another map is refused", async () => {
      assert.match((await box.run(["run", "--user", "demo", "busybox", "id"])).stderr, /E_CONFLICT[\s\S]*--map subids/);
      assert.match((await box.run(["run", "--root", "--map", "keep", "busybox", "id"])).stderr, /E_CONFLICT/);
    });

    if (kind === "plain" && process.getuid?.() === 0) {
      test("without subordinate ids the line that is missing is named", async () => {
        const refused = await box.run(["run", "--map", "subids", "busybox", "id"]);
        assert.equal(refused.status, 125);
        assert.match(refused.stderr, /E_SUBUID/);
        assert.match(refused.stderr, RegExp(`mend: .*/etc/subuid: ${box.user.name}:[0-9]+:65536\n`));
        const foreign = await box.run(["run", "--map", `0:${box.user.uid}:1,1:0:1`, "busybox", "id"]);
        assert.match(foreign.stderr, /E_SUBUID/);
      });
    }
  });
}
