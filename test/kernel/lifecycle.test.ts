/** Detached containers from start to end: log, status, stop, wait, remove; and what lives on when its starter ends. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { startTime } from "../../src/base/owner.ts";
import { type Box, busyboxBox, removeWith } from "../support/boxes.ts";
import { rootlingWords } from "../support/cli.ts";
import { background } from "../support/command.ts";
import { userKinds } from "../support/users.ts";

interface Row {
  name: string | null;
  state: string;
  status: number | null;
  pid: number | null;
  ended: string | null;
  size?: number;
}

/** Kilobytes that a process has for itself, and its share of what it shares: proc(5). */
const proportionalSize = (pid: number): number =>
  Number(/^Pss:\s+([0-9]+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"))?.[1]);

const childrenOf = (pid: number): number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean).map(Number);

for (const kind of userKinds) {
  describe(`the life of containers as ${kind}`, () => {
    let box: Box;
    before(async () => {
      box = await busyboxBox(kind, { stopSignal: "SIGUSR2" });
    });
    after(() => removeWith(box, "box"));

    const row = async (name = "box"): Promise<Row> => {
      const rows = JSON.parse(await box.must(["list", "--size", "--json"])) as Row[];
      const found = rows.find((one) => one.name === name);
      assert.ok(found, `${name} is not listed`);
      return found;
    };

    const until = async (what: string, holds: () => boolean | Promise<boolean>): Promise<void> => {
      for (let tries = 0; !(await holds()); tries++) {
        if (tries > 300) throw new Error(`never came: ${what}`);
        await sleep(50);
      }
    };

    test("a detached start returns, and leaves a log and a status", async () => {
      const script = "echo out; echo err >&2; test ! -t 0 && read line || echo no input; sleep 0.5; echo late; exit 7";
      assert.equal(await box.must(["start", "--detach", "--rw", "box", "sh", "-c", script]), "box\n");
      const [following, waited] = await Promise.all([box.run(["logs", "-f", "box"]), box.run(["wait", "box"])]);
      assert.equal(following.stdout, "out\nerr\nno input\nlate\n");
      assert.deepEqual([waited.stdout, waited.status], ["7\n", 7]);
      assert.equal((await box.run(["wait", "box"])).status, 7, "also afterwards");
      const { state, status, pid, ended, size } = await row();
      assert.deepEqual([state, status, pid], ["exited", 7, null]);
      assert.ok(Math.abs(Date.now() - Date.parse(ended ?? "")) < 120_000, `${ended}`);
      assert.equal(typeof size, "number");
      assert.match(await box.must(["list"]), /^box +exited \(7\) /m);
      assert.equal(await box.must(["logs", "--tail", "2", "box"]), "no input\nlate\n");
      assert.equal(await box.must(["logs", "--tail", "0", "box"]), "");
      await box.must(["start", "--detach", "box", "echo", "second"]);
      assert.equal(await box.must(["wait", "box"]), "0\n");
      assert.equal(await box.must(["logs", "box"]), "second\n");
      assert.equal(await box.must(["logs", "--older", "--tail", "1", "box"]), "late\n");
    });

    test("what cannot be started detached says so to the caller, and leaves nothing that runs", async () => {
      const missing = await box.run(["start", "--detach", "box", "no-such"]);
      assert.equal(missing.status, 127);
      assert.match(missing.stderr, /E_EXEC/);
      assert.equal((await box.run(["start", "--detach", "box", "/etc"])).status, 126);
      const image = await box.run(["start", "--detach", "busybox", "true"]);
      assert.equal(image.status, 125);
      assert.match(image.stderr, /E_CONFLICT.*\n.*--detach\n.*rootling create/);
      const { pid, state, status } = await row();
      assert.deepEqual([pid, state, status], [null, "exited", 0], "the last end is still known");
      assert.equal(await box.must(["logs", "box"]), "second\n");
      assert.equal(await box.must(["logs", "--older", "--tail", "1", "box"]), "late\n");
      assert.equal((await box.run(["wait", "box"])).status, 0);
      const { ROOTLING_DATA_PATH = "" } = box.user.env;
      assert.ok(!existsSync(join(ROOTLING_DATA_PATH, "containers/box/log.new")));
    });

    test("a running one: exec, one at a time, little memory, and its image's signal stops it", async () => {
      const script = "trap 'echo asked; exit 3' USR2; echo ready; while :; do sleep 0.05; done";
      await box.must(["start", "--detach", "box", "sh", "-c", script]);
      const { pid } = await row();
      assert.ok(pid !== null);
      const [reaper = 0] = childrenOf(pid);
      const beside = proportionalSize(pid) + proportionalSize(reaper);
      // Root may read it of all; an ordinary user's containers show root the same. Sanitizers take memory of their own.
      assert.ok(
        beside > 0 && beside <= (process.env.ROOTLING_TEST_EXECUTOR ? 16_384 : 1024),
        `${beside} kB beside the payload`,
      );
      assert.match(
        await box.must(["exec", "box", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"]),
        /echo ready/,
      );
      const second = await box.run(["start", "--detach", "box", "true"]);
      assert.match(second.stderr, /E_BUSY.*\n.*rootling stop box/);
      assert.match((await box.run(["remove", "box"])).stderr, /E_BUSY/);
      await until("ready", async () => (await box.must(["logs", "box"])) === "ready\n");
      assert.equal(await box.must(["stop", "box"]), "box\n");
      assert.equal(await box.must(["logs", "box"]), "ready\nasked\n");
      assert.equal((await row()).status, 3);
      assert.match((await box.run(["stop", "box"])).stderr, /E_NOT_FOUND/);
    });

    test("Ctrl-C ends a stop that waits, and kills nothing", async () => {
      await box.must(["start", "--detach", "box", "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"]);
      await until("ready", async () => (await box.must(["logs", "box"])) === "ready\n");
      const words = rootlingWords("stop", "--signal", "TERM", "box");
      const { status } = await box.user.run(["timeout", "--preserve-status", "--signal", "INT", "1", ...words]);
      assert.equal(status, 130);
      assert.equal((await row()).state, "running");
      await box.must(["stop", "--timeout", "0", "box"]);
    });

    test("who does not end in time is killed, with all that is inside", async () => {
      const script = "trap '' TERM HUP; (trap '' TERM; exec sleep 1000) & echo ready; wait; sleep 1000";
      for (const flags of [[], ["--pid=host"]]) {
        await box.must(["start", "--detach", ...flags, "box", "sh", "-c", script]);
        await until("ready", async () => (await box.must(["logs", "box"])) === "ready\n");
        const { pid } = await row();
        await box.must(["stop", "--signal", "TERM", "--timeout", "0.2", "box"]);
        const { state, status } = await row();
        assert.deepEqual([state, status], ["exited", 137], flags.join());
        assert.equal(startTime(pid ?? 0), undefined, "no monitor stays");
      }
      await box.must(["create", "busybox", "--name", "forced"]);
      await box.must(["start", "--detach", "--rw", "forced", "sleep", "1000"]);
      assert.equal(await box.must(["remove", "--force", "forced"]), "forced\n");
      const { ROOTLING_DATA_PATH = "", ROOTLING_RUNTIME_PATH = "" } = box.user.env;
      assert.ok(!existsSync(join(ROOTLING_DATA_PATH, "containers/forced")));
      assert.deepEqual(readdirSync(join(ROOTLING_RUNTIME_PATH, "wires")), []);
    });

    test("a monitor that was killed takes its payload along, and the same name starts again", async () => {
      await box.must(["start", "--detach", "--rw", "box", "sleep", "1000"]);
      const { pid } = await row();
      await box.user.run(["kill", "-KILL", String(pid)]);
      await until("the end", async () => (await row()).state === "stopped");
      const unknown = await box.run(["wait", "box"]);
      assert.match(unknown.stderr, /E_NOT_FOUND/);
      await box.must(["start", "--detach", "--rw", "box", "true"]);
      assert.equal(await box.must(["wait", "box"]), "0\n");
    });

    test("a writable start whose background process lives on still runs", async () => {
      // The payload ends at once; what it leaves has the changes mounted.
      await box.must(["start", "--rw", "box", "sh", "-c", "sleep 1000 </dev/null >/dev/null 2>&1 &"]);
      const { state, pid } = await row();
      assert.equal(state, "running");
      const second = await box.run(["start", "--rw", "box", "true"]);
      assert.match(second.stderr, /E_BUSY/);
      assert.match((await box.run(["remove", "box"])).stderr, /E_BUSY/);
      assert.equal(await box.must(["exec", "box", "echo", "entered"]), "entered\n");
      await box.must(["stop", "box"]);
      // Its mounts are gone a moment before its process is.
      await until("its end", async () => startTime(pid ?? 0) === undefined);
      await box.must(["start", "--rw", "box", "true"]);
      assert.equal((await row()).pid, null);
    });

    test("signals to a detached monitor reach the payload, real-time ones too", async () => {
      for (const signal of [10, 64]) {
        const wait = "while :; do sleep 0.05; done";
        await box.must(["start", "--detach", "box", "sh", "-c", `echo ready; ${wait}`]);
        await until("ready", async () => (await box.must(["logs", "box"])) === "ready\n");
        await box.must(["stop", "--signal", String(signal), "box"]);
        assert.equal((await row()).status, 128 + signal);
      }
    });

    test("what the caller ignores, the payload ignores: nohup", async () => {
      for (const flags of [[], ["--pid"]]) {
        const words = rootlingWords(
          "run",
          ...flags,
          "busybox",
          "sh",
          "-c",
          "kill -HUP $$; kill -INT $$; echo survived",
        );
        const outcome = await box.user.run(["sh", "-c", 'trap "" INT; exec nohup "$@"', "sh", ...words]);
        assert.equal(outcome.stdout, "survived\n", outcome.stderr);
        const plain = await box.run(["run", ...flags, "busybox", "sh", "-c", "kill -HUP $$; echo survived"]);
        assert.equal(plain.stdout, "");
      }
    });

    test("the end of the caller's session does not end what is detached", async () => {
      const words = rootlingWords("start", "--detach", "box", "sh", "-c", "sleep 0.5; echo still here");
      const session = background(
        box.user.words(["setsid", "--wait", "sh", "-c", '"$@"; kill -HUP 0', "sh", ...words]),
        {
          env: box.user.env,
          cwd: box.user.home,
        },
      );
      await session.ended;
      assert.equal(await box.must(["wait", "box"]), "0\n");
      assert.equal(await box.must(["logs", "box"]), "still here\n");
    });
  });
}
