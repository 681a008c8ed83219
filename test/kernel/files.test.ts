/** Files out of containers and into them, what they changed, and back to the image. */
import assert from "node:assert/strict";
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type Box, busyboxBox } from "../support/boxes.ts";
import { rootlingWords } from "../support/cli.ts";
import { background } from "../support/command.ts";
import { writeTar } from "../support/images.ts";
import { everyKind, userKinds } from "../support/users.ts";

/** There, starting a process takes ten times as long. */
const oldest = process.env.ROOTLING_TEST_BED === "uml";

for (const kind of userKinds) {
  describe(`files of containers, as ${kind}`, () => {
    let box: Box;
    let work: string;
    before(async () => {
      box = await busyboxBox(kind);
      work = join(box.user.home, "work");
      await box.user.run(["mkdir", work]);
    });
    after(() => box.remove());

    const here = () => ({ cwd: work });
    const inside = (script: string) => box.must(["start", "--rw", "--root", "box", "sh", "-c", script]);

    test("diff translates whiteouts and opaque directories", async () => {
      assert.equal(await box.must(["diff", "box"]), "");
      await inside("true");
      assert.equal(await box.must(["diff", "box"]), "", "mount points are no changes");
      await inside("mkdir /new /new/d; echo x >/new/f; echo >>/etc/passwd; rm /bin/ls; rm -r /home; mkdir /home");
      const lines = ["C /bin", "D /bin/ls", "C /etc", "C /etc/passwd", "C /home", "D /home/demo"];
      const added = ["A /new", "A /new/d", "A /new/f"];
      const expected = [...lines, ...added];
      const said = (await box.must(["diff", "box"])).trimEnd().split("\n");
      assert.deepEqual(
        said.filter((line) => line !== "C /home"),
        expected.filter((line) => line !== "C /home"),
      );
      assert.deepEqual(JSON.parse(await box.must(["diff", "--json", "box"])).at(-1), { kind: "A", path: "/new/f" });
    });

    test("reset takes a container back to its image", async () => {
      await box.must(["reset", "box"]);
      assert.equal(await box.must(["diff", "box"]), "");
      assert.equal(await box.must(["start", "box", "ls", "/home"]), "demo\n");
      // As a reset leaves it that was killed between two steps.
      const { ROOTLING_DATA_PATH = "" } = box.user.env;
      await box.user.run(["rm", "-r", join(ROOTLING_DATA_PATH, "containers/box/upper")]);
      assert.equal(await box.must(["start", "box", "ls", "/home"]), "demo\n");
      assert.match((await box.run(["reset", "none"])).stderr, /E_NOT_FOUND/);
    });

    test("copies out of a container that does not run, without running anything of it", async () => {
      await inside(
        "mkdir -p /srv/a/b; echo hi >/srv/a/b/f; ln /srv/a/b/f /srv/a/h; ln -s /etc /srv/a/l; chmod 4755 /srv/a/b/f",
      );
      await inside("rm /bin/sh /bin/busybox");
      await box.must(["copy", "box:/srv/a", "."], here());
      assert.equal(readFileSync(join(work, "a/b/f"), "utf8"), "hi\n");
      assert.equal(lstatSync(join(work, "a/b/f")).ino, lstatSync(join(work, "a/h")).ino);
      assert.ok(lstatSync(join(work, "a/l")).isSymbolicLink());
      assert.equal(lstatSync(join(work, "a/b/f")).mode & 0o7777, 0o755, "nothing becomes set-id on the host");
      assert.equal(lstatSync(join(work, "a/b/f")).uid, box.user.uid);
      await box.must(["copy", "box:/srv/a/b/f", "other"], here());
      await box.must(["copy", "box:/srv/a/.", "."], here());
      assert.deepEqual(readdirSync(work).sort(), ["a", "b", "h", "l", "other"]);
      const tar = await box.run(["copy", "box:/srv/a", "-"], here());
      writeFileSync(join(box.scratch, "out.tar"), tar.bytes);
      const listed = await box.user.run(["tar", "-tf", join(box.scratch, "out.tar")]);
      assert.deepEqual(listed.stdout.trim().split("\n").sort(), ["a/", "a/b/", "a/b/f", "a/h", "a/l"]);
      const missing = await box.run(["copy", "box:/nowhere/x", "."], here());
      assert.match(missing.stderr, /\/nowhere\/x.*E_NOT_FOUND.*\n.*from: box:\/nowhere\/x\n/);
    });

    test("a pipe, and so a device, is not replaced by a copy", async () => {
      await box.user.run(["mkfifo", join(work, "pipe"), join(work, "f")]);
      for (const target of ["pipe", "."]) {
        const { status, stderr } = await box.run(["copy", "box:/srv/a/b/f", target], here());
        assert.notEqual(status, 0);
        assert.match(stderr, /E_CONFLICT.*\n.*from: /);
      }
      for (const name of ["pipe", "f"]) assert.ok(lstatSync(join(work, name)).isFIFO());
      await box.user.run(["rm", join(work, "pipe"), join(work, "f")]);
    });

    test("copies into a container that does not run", async () => {
      await box.must(["copy", "a", "box:/srv/new"], here());
      await box.must(["copy", "a", "box:/srv"], here());
      await box.must(["copy", "a/.", "box:/home"], here());
      await box.must(["copy", "other", "box:/srv/name"], here());
      const tar = writeTar(join(box.scratch, "in.tar"), [
        { name: "t", type: "directory" },
        { name: "t/file", content: "from a tar\n", mode: 0o640 },
        { name: "t/hard", type: "hardlink", target: "t/file" },
      ]);
      await box.must(["copy", "-", "box:/srv"], { input: readFileSync(tar) });
      await box.must(["copy", "box:/", "whole"], here());
      const read = (path: string) => readFileSync(join(work, "whole", path), "utf8");
      for (const path of ["srv/new/b/f", "srv/a/b/f", "home/b/f", "srv/name"]) assert.equal(read(path), "hi\n", path);
      assert.equal(read("srv/t/hard"), "from a tar\n");
      for (const [bad, code] of [
        ["no tar at all".padEnd(600, "x"), "E_LAYER"],
        ["", "E_LAYER"],
      ] as const) {
        const outcome = await box.run(["copy", "-", "box:/srv"], { input: bad });
        if (bad !== "") assert.match(outcome.stderr, RegExp(code));
      }
      const hostile = writeTar(join(box.scratch, "bad.tar"), [{ name: "../../up", content: "x" }]);
      assert.match((await box.run(["copy", "-", "box:/srv"], { input: readFileSync(hostile) })).stderr, /E_LAYER/);
      assert.match(
        (await box.run(["copy", "other", "box:/none/x"], here())).stderr,
        /E_NOT_FOUND.*\n.*from: box:\/none\/x\n/,
      );
      assert.match((await box.run(["copy", "other", "a"], here())).stderr, /E_USAGE/);
      await box.must(["reset", "box"]);
    });

    for (const topology of oldest ? [["--pid"]] : [[], ["--pid"]]) {
      test(`a copy stays in a running container${topology.join(" ")}, whatever it swaps meanwhile (CVE-2018-15664)`, async () => {
        // The path leads to the host's file as soon as a symlink of the container is followed outside.
        const secret = join(work, "secret");
        mkdirSync(secret, { recursive: true });
        writeFileSync(join(secret, "f"), "of the host\n");
        const swap = `mkdir -p /s/d ${work}; echo inside >/s/d/f; : >/s/ready; while :; do mv /s/d /s/e; ln -s ${secret} /s/d; rm /s/d; mv /s/e /s/d; done`;
        const words = ["start", "--rw", "--root", ...topology, "box", "sh", "-c", swap];
        const running = background(box.user.words(rootlingWords(...words)), { env: box.user.env, cwd: box.user.home });
        try {
          for (let tries = 0; tries < 600; tries++) {
            const ready = await box.run(["copy", "box:/s/ready", "ready"], here());
            if (ready.status === 0 || !running.alive()) break;
            await sleep(50);
          }
          writeFileSync(join(work, "put"), "put\n");
          const rounds = oldest ? 2 : 8;
          let copies = 0;
          for (let round = 0; round < rounds || (copies === 0 && round < 50); round++) {
            await box.run(["copy", "box:/s/d/f", `got${round}`], here());
            const got = join(work, `got${round}`);
            if (existsSync(got)) {
              assert.equal(readFileSync(got, "utf8"), "inside\n");
              copies++;
            }
            await box.run(["copy", "put", "box:/s/d/planted"], here());
            assert.deepEqual(readdirSync(secret), ["f"]);
          }
          assert.ok(copies > 0, "the race was run at all");
        } finally {
          await running.end("SIGTERM");
        }
        await box.must(["reset", "box"]);
      });
    }

    test("a container that runs read-only is read, and says why it cannot be written", async () => {
      const words = ["start", "--pid", "box", "sleep", "1000"];
      const running = background(box.user.words(rootlingWords(...words)), { env: box.user.env, cwd: box.user.home });
      try {
        for (let tries = 0; tries < 600; tries++) {
          if (/running/.test(await box.must(["list"]))) break;
          await sleep(50);
        }
        for (let tries = 0; tries < 100; tries++) {
          if ((await box.run(["copy", "box:/etc/os-release", "."], here())).status === 0) break;
          await sleep(50);
        }
        assert.match(readFileSync(join(work, "os-release"), "utf8"), /busybox/);
        assert.match((await box.run(["copy", "put", "box:/srv"], here())).stderr, /EROFS/);
        assert.match((await box.run(["reset", "box"])).stderr, /E_BUSY/);
      } finally {
        await running.end("SIGTERM");
      }
    });
  });
}

for (const kind of everyKind.filter((one) => one !== "plain")) {
  test(`with a map of many ids, owners and closed directories are no obstacle to copies, as ${kind}`, async (t) => {
    const box = await busyboxBox(kind);
    t.after(box.remove);
    const work = join(box.user.home, "work");
    await box.user.run(["sh", "-c", "mkdir work; echo put >work/put"]);
    const here = { cwd: work };
    await box.must(["create", "--map", "subids", "busybox", "--name", "mapped"]);
    const script = "mkdir /srv; echo x >/srv/f; chmod 600 /srv/f; chown 4242:4242 /srv/f /srv; chmod 700 /srv";
    await box.must(["start", "--rw", "mapped", "sh", "-c", script]);
    await box.must(["copy", "mapped:/srv/f", "closed"], here);
    assert.equal(readFileSync(join(work, "closed"), "utf8"), "x\n");
    await box.must(["copy", "put", "mapped:/srv"], here);
    const tar = writeTar(join(box.scratch, "own.tar"), [{ name: "own", content: "x", uid: 12, gid: 34 }]);
    await box.must(["copy", "-", "mapped:/srv"], { input: readFileSync(tar) });
    assert.equal(await box.must(["start", "mapped", "stat", "-c", "%u:%g", "/srv/put", "/srv/own"]), "0:0\n12:34\n");
    assert.match(await box.must(["diff", "mapped"]), /^A \/srv$/m);
    await box.must(["reset", "mapped"]);
    assert.equal(await box.must(["diff", "mapped"]), "");
  });
}
