/** create, start, exec, list and remove. */
import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type Box, busyboxBox } from "../support/boxes.ts";
import { rootlingWords } from "../support/cli.ts";
import { background } from "../support/command.ts";
import { userKinds } from "../support/users.ts";

interface Row {
  name: string | null;
  state: string;
  pid: number | null;
}

for (const kind of userKinds) {
  describe(`containers as ${kind}`, () => {
    let box: Box;
    before(async () => {
      box = await busyboxBox(kind);
    });
    after(() => box.remove());

    const rows = async (): Promise<Row[]> => JSON.parse(await box.must(["list", "--json"])) as Row[];

    /** Starts something that runs until `end` is called, and waits until it is listed. */
    const startSleeper = async (words: readonly string[]) => {
      const running = background(box.user.words(rootlingWords(...words)), { env: box.user.env, cwd: box.user.home });
      for (let tries = 0; tries < 600; tries++) {
        const row = (await rows()).find(({ pid }) => pid === running.pid);
        if (row !== undefined) return { ...running, row };
        await sleep(50);
      }
      throw new Error(`${words.join(" ")} was never listed`);
    };

    test("a start is read-only unless --rw, and then keeps its changes", async () => {
      const refused = await box.run(["start", "box", "sh", "-c", "echo x >/etc/kept"]);
      assert.notEqual(refused.status, 0);
      assert.match(refused.stderr, /Read-only file system/);
      await box.must(["start", "--rw", "box", "sh", "-c", "echo kept >/etc/kept; rm -r /home/demo"]);
      assert.equal(await box.must(["start", "box", "sh", "-c", "cat /etc/kept; ls /home"]), "kept\n");
      assert.equal(await box.must(["run", "busybox", "ls", "/home"]), "demo\n", "the image is untouched");
    });

    test("a name is taken once, and only harmless names are taken", async () => {
      const again = await box.run(["create", "busybox", "--name", "box"]);
      assert.equal(again.status, 125);
      assert.match(again.stderr, /E_EXISTS/);
      for (const name of ["..", "a/b", "-x", "", "x".repeat(300), "a b", "\u001b[2J"]) {
        const bad = await box.run(["create", "busybox", `--name=${name}`]);
        assert.equal(bad.status, 125, JSON.stringify(name));
        assert.match(bad.stderr, /E_NAME/);
        assert.ok(!bad.stderr.includes("\u001b"));
      }
    });

    for (const topology of [[], ["--pid"]]) {
      test(`exec enters a running container${topology.join(" ")} by name and by pid`, async () => {
        const sleeper = await startSleeper(["start", ...topology, "--env", "SEEN=1", "box", "sleep", "1000"]);
        try {
          assert.equal(sleeper.row.name, "box");
          for (const name of ["box", String(sleeper.pid)]) {
            assert.equal(await box.must(["exec", name, "sh", "-c", "echo $SEEN $FROM"]), "1 image\n");
          }
          const ps = await box.must(["exec", "box", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"]);
          assert.match(ps, /sleep 1000/);
          assert.equal((await box.run(["exec", "box", "sh", "-c", "exit 9"])).status, 9);
          assert.equal((await box.run(["exec", "box", "no-such"])).status, 127);
          const busy = await box.run(["remove", "box"]);
          assert.equal(busy.status, 125);
          assert.match(busy.stderr, /E_BUSY/);
        } finally {
          await sleeper.end("SIGTERM");
        }
        assert.deepEqual(
          (await rows()).map(({ state }) => state),
          ["stopped"],
        );
      });
    }

    test("a signal to what was started reaches the payload", async () => {
      for (const topology of [[], ["--pid"]]) {
        const shared = join(box.user.home, `shared${topology.join("")}`);
        await box.user.run(["mkdir", shared]);
        const script = "trap 'exit 42' USR1; : >/shared/ready; while :; do sleep 0.05; done";
        const words = ["start", ...topology, "--mount", `${shared}:/shared`, "box", "sh", "-c", script];
        const sleeper = await startSleeper(words);
        while (sleeper.alive() && !existsSync(join(shared, "ready"))) await sleep(20);
        assert.equal((await sleeper.end("SIGUSR1")).status, 42);
      }
    });

    test("one writable start at a time; any number of read-only ones beside it", async () => {
      const writer = await startSleeper(["start", "--rw", "box", "sleep", "1000"]);
      try {
        const second = await box.run(["start", "--rw", "box", "true"]);
        assert.equal(second.status, 125);
        assert.match(second.stderr, /E_BUSY/);
        assert.equal((await box.run(["start", "box", "true"])).status, 0);
      } finally {
        await writer.end("SIGKILL");
      }
      assert.equal((await box.run(["start", "--rw", "box", "true"])).status, 0, "a dead writer's lock is no lock");
    });

    test("a monitor that was killed takes its payload along, and leaves nothing that stays", async () => {
      const sleeper = await startSleeper(["run", "--pid", "busybox", "sleep", "1000"]);
      assert.equal(sleeper.row.name, null);
      await sleeper.end("SIGKILL");
      await box.must(["run", "busybox", "true"]);
      const { ROOTLING_DATA_PATH = "", ROOTLING_RUNTIME_PATH = "" } = box.user.env;
      assert.deepEqual(readdirSync(join(ROOTLING_DATA_PATH, "ephemeral")), []);
      assert.deepEqual(readdirSync(join(ROOTLING_RUNTIME_PATH, "wires")), []);
      assert.equal((await rows()).filter(({ state }) => state === "running").length, 0);
    });

    test("exec never runs a command on the host", async () => {
      // This very process is as far as a container is before it has made its root.
      const outcome = await box.user.run([
        "sh",
        "-c",
        `exec "$@" exec $$ /bin/echo on the host`,
        "sh",
        ...rootlingWords(),
      ]);
      assert.equal(outcome.stdout, "");
      assert.match(outcome.stderr, /E_NOT_FOUND.*/);
    });

    test("remove takes all that a container kept, also what is closed to its owner", async () => {
      await box.must(["create", "busybox", "--name", "closed"]);
      await box.must([
        "start",
        "--rw",
        "--root",
        "closed",
        "sh",
        "-c",
        "mkdir -p /a/b && touch /a/b/c && chmod 0 /a/b",
      ]);
      // Deeper than a path can be long.
      const deep = `i=0; while [ $i -lt 20 ]; do mkdir ${"d".repeat(250)} && cd -P d* || exit 1; i=$((i+1)); done`;
      await box.must(["start", "--rw", "--root", "closed", "sh", "-c", deep]);
      await box.must(["remove", "closed"]);
      const { ROOTLING_DATA_PATH = "" } = box.user.env;
      assert.ok(!existsSync(join(ROOTLING_DATA_PATH, "containers/closed")));
      assert.deepEqual(readdirSync(join(ROOTLING_DATA_PATH, "temporary")), []);
      const missing = await box.run(["remove", "closed"]);
      assert.match(missing.stderr, /E_NOT_FOUND/);
      const used = await box.run(["remove", "image:busybox"]);
      assert.match(used.stderr, /E_BUSY/);
    });
  });
}
