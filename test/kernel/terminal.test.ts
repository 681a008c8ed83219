/** Terminals: the caller's own, with job control, and those that containers have of their own. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { startTime } from "../../src/base/owner.ts";
import { type Box, busyboxBox, removeWith } from "../support/boxes.ts";
import { rootlingWords } from "../support/cli.ts";
import { shellWord } from "../support/command.ts";
import { Terminal } from "../support/terminal.ts";
import { userKinds } from "../support/users.ts";

const RAW = { canonical: false, echo: false, signals: false };
const COOKED = { canonical: true, echo: true, signals: true };
const DETACH = "\u0010\u0011";

const childrenOf = (pid: number): number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean).map(Number);

for (const kind of userKinds) {
  describe(`terminals as ${kind}`, () => {
    let box: Box;
    before(async () => {
      box = await busyboxBox(kind);
    });
    after(() => removeWith(box, "box"));

    const open = async (
      t: { after(done: () => void): void },
      words: readonly string[],
      size?: [rows: number, columns: number],
    ) => {
      const terminal = await Terminal.rootling(box.user, words, size);
      t.after(() => terminal.close());
      return terminal;
    };

    const pidOf = async (name: string | null): Promise<number> => {
      const rows = JSON.parse(await box.must(["list", "--json"])) as { name: string | null; pid: number | null }[];
      const pid = rows.find((row) => row.name === name)?.pid;
      assert.ok(pid, `${name} does not run`);
      return pid;
    };

    for (const flags of [[], ["--pid"]]) {
      test(`the caller's terminal: Ctrl-C, and Ctrl-Z with fg${flags.join()}`, async (t) => {
        const shell = await Terminal.start(box.user, ["bash", "--norc", "--noediting", "-i"]);
        t.after(() => shell.close());
        const script =
          "n=0; trap 'n=$((n + 1)); echo caught $n; [ $n = 1 ] || exit 9' INT; echo ready; while :; do sleep 0.1; done";
        const words = rootlingWords("run", ...flags, "busybox", "sh", "-c", script)
          .map(shellWord)
          .join(" ");
        shell.send(`${words}\n`);
        await shell.expect(/ready\r\n/);
        shell.send("\u0003");
        await shell.expect(/caught 1/);
        shell.send("\u001a");
        await shell.expect(/Stopped/);
        shell.send("echo $((40 + 2)); fg; echo status $?\n");
        await shell.expect(/42\r\n/);
        await shell.expect(/rootling[^\n]*\n/);
        await shell.sendUntil("\u0003", /caught 2/);
        await shell.expect(/status 9/);
      });
    }

    test("a terminal of its own: size, session, name, raw on ours, status", async (t) => {
      const script =
        "tty; stty size; trap 'stty size' WINCH; echo ready; until read x && [ -n \"$x\" ]; do :; done; echo got $x; exit 5";
      const terminal = await open(t, ["run", "--tty", "busybox", "sh", "-c", script], [31, 97]);
      await terminal.expect(/\/dev\/pts\/0\r\n31 97\r\n/);
      await terminal.expect(/ready\r\n/);
      assert.deepEqual(await terminal.modes(), RAW);
      terminal.resize(40, 100);
      await terminal.expect(/40 100\r\n/);
      terminal.send("typed\n");
      await terminal.expect(/got typed\r\n/);
      assert.equal(await terminal.end(), 5);
      assert.deepEqual(await terminal.modes(), COOKED);
    });

    test("keys are the container's: Ctrl-C, Ctrl-Z and fg in its own shell", async (t) => {
      const terminal = await open(t, ["run", "--tty", "--pid", "busybox", "sh", "-i"]);
      await terminal.expect(/[#$] /);
      terminal.send("sleep 1000\n");
      await terminal.expect(/sleep 1000\r\n/);
      await terminal.sendUntil("\u0003", /\^C[\s\S]*[#$] /);
      terminal.send("cat\n");
      await terminal.expect(/cat\r\n/);
      await terminal.sendUntil("one\n", /one\r\none\r\n/);
      terminal.send("\u001a");
      await terminal.expect(/Stopped/);
      terminal.send("fg\n");
      await terminal.expect(/cat/);
      await terminal.sendUntil("two\n", /two\r\ntwo\r\n/);
      terminal.send("\u0004");
      await terminal.expect(/[#$] /);
      terminal.send("exit 3\n");
      assert.equal(await terminal.end(), 3);
    });

    test("detach keys leave it running, attach comes back, another client takes over", async (t) => {
      const script = 'echo ready; while read line; do echo "<$line>"; [ "$line" = end ] && exit 9; done';
      const first = await open(t, ["start", "--tty", "box", "sh", "-c", script]);
      await first.expect(/ready/);
      first.send("a\u0010b\n");
      await first.expect(/<a.b>/);
      first.send(DETACH);
      await first.expect(/detached/);
      assert.equal(await first.end(), 0);
      assert.deepEqual(await first.modes(), COOKED);
      const second = await open(t, ["attach", "--detach-keys", "ctrl-a,d", "box"]);
      await second.until("raw", async () => !(await second.modes()).echo);
      second.send("again\n");
      await second.expect(/<again>/);
      const third = await open(t, ["attach", "box"]);
      await second.expect(/another client/);
      assert.equal(await second.end(), 0);
      await third.until("raw", async () => !(await third.modes()).echo);
      third.send("end\n");
      await third.expect(/<end>/);
      assert.equal(await third.end(), 9);
      assert.match((await box.run(["attach", "box"])).stderr, /E_NOT_FOUND/);
    });

    test("a detached terminal: the log has what was shown, and a guest's end hangs nothing up", async (t) => {
      await box.must(["start", "--detach", "--tty", "box", "sh", "-c", "echo before; read x; echo $x; exit 4"]);
      const guest = await open(t, ["attach", "box"]);
      await guest.until("raw", async () => !(await guest.modes()).echo);
      process.kill(guest.pid, "SIGKILL");
      await guest.end();
      await guest.until("modes are restored", async () => (await guest.modes()).echo);
      const next = await open(t, ["attach", "box"]);
      await next.until("raw", async () => !(await next.modes()).echo);
      next.send("after\n");
      assert.equal(await next.end(), 4);
      assert.match(await box.must(["logs", "box"]), /^before\r\n(after\r\n){2}$/);
    });

    test("whoever dies, the terminal gets its modes back", async (t) => {
      for (const victim of ["client", "guardian, then client", "monitor", "payload"]) {
        const terminal = await open(t, [
          "run",
          "--tty",
          "--pid",
          "busybox",
          "sh",
          "-c",
          "echo ready; echo last; exec sleep 1000",
        ]);
        await terminal.expect(/last\r\n/);
        assert.deepEqual(await terminal.modes(), RAW, victim);
        const monitor = await pidOf(null);
        if (victim.startsWith("guardian")) {
          const guardian = childrenOf(terminal.pid).find((pid) => pid !== monitor) ?? 0;
          process.kill(guardian, "SIGKILL");
          await terminal.until("another guardian", () => {
            const children = childrenOf(terminal.pid).filter((pid) => pid !== monitor);
            return children.length === 1 && children[0] !== guardian;
          });
        }
        if (victim.endsWith("client")) process.kill(terminal.pid, "SIGKILL");
        if (victim === "monitor") process.kill(monitor, "SIGKILL");
        if (victim === "payload") await box.must(["stop", "--signal", "KILL", String(monitor)]);
        const status = await terminal.end();
        const expected = victim.endsWith("client") ? -9 : victim === "monitor" ? 125 : 137;
        assert.equal(status, expected, victim);
        await terminal.until("modes are restored", async () => (await terminal.modes()).echo);
        assert.deepEqual(await terminal.modes(), COOKED, victim);
        // Without its starter the terminal is hung up, so that nothing stays.
        await terminal.until("the monitor's end", () => startTime(monitor) === undefined);
      }
    });

    test("a window that is closed hangs up", async (t) => {
      const terminal = await open(t, ["run", "--tty", "busybox", "sh", "-c", "echo ready; exec sleep 1000"]);
      await terminal.expect(/ready/);
      const monitor = await pidOf(null);
      terminal.hangUp();
      await terminal.until("the monitor's end", () => startTime(monitor) === undefined);
    });

    test("what a program wrote before it was killed is shown whole", async (t) => {
      const script = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i + 1)); done; kill -9 $$";
      const terminal = await open(t, ["run", "--tty", "busybox", "sh", "-c", script]);
      assert.equal(await terminal.end(), 137);
      await terminal.expect(/line 2999\r\n/);
      assert.equal(terminal.output.match(/line [0-9]+\r\n/g)?.length, 3000);
    });

    test("exec has terminals too, in containers with and without a pid namespace", async (t) => {
      for (const flags of [[], ["--pid=host"]]) {
        await box.must(["start", "--detach", ...flags, "box", "sleep", "1000"]);
        const terminal = await open(t, ["exec", "--tty", "box", "sh", "-c", "tty; read x; echo got $x; exit 6"]);
        await terminal.expect(/\/dev\/pts\/[0-9]+\r\n/);
        terminal.send("it\n");
        await terminal.expect(/got it/);
        assert.equal(await terminal.end(), 6);
        const missing = await open(t, ["exec", "--tty", "box", "no-such"]);
        assert.equal(await missing.end(), 127);
        await box.must(["stop", "--timeout", "0", "box"]);
      }
    });

    test("--isolate: never the caller's terminal, nor for exec", async (t) => {
      const script = "tty; ls /proc/self/fd | tr '\\n' ' '; read x; echo got $x; sleep 1000";
      const terminal = await open(t, ["run", "--isolate", "busybox", "sh", "-c", script]);
      await terminal.expect(/\/dev\/pts\/0\r\n0 1 2 3 \r?\n?/);
      assert.deepEqual(await terminal.modes(), RAW);
      terminal.send("it\n");
      await terminal.expect(/got it/);
      const pid = String(await pidOf(null));
      const second = await open(t, ["exec", pid, "sh", "-c", "tty; exit 8"]);
      await second.expect(/\/dev\/pts\/1\r\n/);
      assert.equal(await second.end(), 8);
      terminal.send(DETACH);
      assert.equal(await terminal.end(), 0);
      await box.must(["stop", "--timeout", "0", pid]);
    });

    test("--tty without a terminal is refused", async () => {
      const outcome = await box.run(["run", "--tty", "busybox", "true"]);
      assert.equal(outcome.status, 2);
      assert.match(outcome.stderr, /E_USAGE.*\n.*--tty\n.*--detach/);
    });
  });
}
