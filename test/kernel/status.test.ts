/** Exit statuses: all 256 codes and all signals, through every way in which a payload is started. */
import assert from "node:assert/strict";
import { chmodSync, chownSync, cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { startTime } from "../../src/base/owner.ts";
import { check } from "../../src/plan/check.ts";
import { type Op, op, type Topology } from "../../src/plan/plan.ts";
import { toWire } from "../../src/plan/wire.ts";
import { type Box, busyboxBox, removeWith } from "../support/boxes.ts";
import { packageDirectory, rootlingWords } from "../support/cli.ts";
import { must } from "../support/command.ts";
import { oldestKernel, userKinds } from "../support/users.ts";

/** All but those that stop, continue, or are ignored where nobody has asked for them. */
const DEADLY = Array.from({ length: 64 }, (_, index) => index + 1).filter((number) => {
  const { SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT, SIGCHLD, SIGURG, SIGWINCH } = constants.signals;
  return ![SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT, SIGCHLD, SIGURG, SIGWINCH].includes(number);
});

/** All; on the oldest kernel, where each start takes ten times as long, those around which something changes. */
const CODES = oldestKernel ? [0, 127, 128, 255] : Array.from({ length: 256 }, (_, code) => code);

/** Shell text that ends the shell itself in the way that $1 says: a code, or a signal behind a minus. */
const END = 'case $1 in -*) kill "$1" $$; exit 99 ;; *) exit "$1" ;; esac';

for (const kind of userKinds) {
  describe(`statuses as ${kind}`, () => {
    let box: Box;
    before(async () => {
      box = await busyboxBox(kind);
    });
    after(() => removeWith(box, "box"));

    /** What a shell has as $? after each of `ends`. */
    const statuses = async (words: readonly string[], ends: readonly number[]): Promise<number[]> => {
      const script = `for end in ${ends.join(" ")}; do "$@" sh -c '${END}' sh "$end" 2>/dev/null; echo $?; done`;
      const argv = box.user.words(["sh", "-c", script, "sh", ...rootlingWords(...words)]);
      const said = await must(argv, { env: box.user.env, cwd: box.user.home });
      return said.trim().split("\n").map(Number);
    };

    const codes = [0, 125, 255];
    const signals = [15, 64];

    for (const [way, words] of Object.entries({
      "in place": ["start", "box"],
      supervised: ["start", "--pid", "box"],
    })) {
      test(`${way}: the payload's code is ours, and 128 and the signal's number`, async () => {
        const ends = [...codes, ...signals.map((number) => -number)];
        const expected = ends.map((end) => (end < 0 ? 128 - end : end));
        assert.deepEqual(await statuses(words, ends), expected);
      });
    }

    test("detached: wait gives the same", async () => {
      for (const end of [255, -9]) {
        await box.must(["start", "--detach", "box", "sh", "-c", END, "sh", String(end)]);
        const expected = end < 0 ? 128 - end : end;
        const waited = await box.run(["wait", "box"]);
        assert.deepEqual([waited.status, waited.stdout], [expected, `${expected}\n`]);
      }
    });

    test("what cannot be executed: 126 and 127, and 125 for what is ours", async () => {
      const cases: [words: string[], status: number][] = [
        [["--workdir=/etc/passwd", "true"], 125],
        [["/etc"], 126],
        [["no-such"], 127],
      ];
      for (const [index, flags] of [[], ["--pid"], ["--detach"]].entries()) {
        for (const [words, status] of index === 0 ? cases : cases.slice(index)) {
          const [flag, ...rest] = words[0]?.startsWith("--") ? words : ["", ...words];
          const outcome = await box.run(["start", ...flags, ...(flag ? [flag] : []), "box", ...rest]);
          assert.equal(outcome.status, status, `${[...flags, ...words].join(" ")}: ${outcome.stderr}`);
        }
      }
    });

    test("an image without a shell starts", async () => {
      const bare = join(box.scratch, "bare");
      mkdirSync(bare);
      cpSync("/bin/busybox", join(bare, "echo"));
      chmodSync(bare, 0o755);
      // Nothing but one program and a directory to mount on: no shell, no passwd, no libraries.
      await must(["tar", "-C", box.scratch, "-cf", join(box.scratch, "bare.tar"), "bare"]);
      await box.must(["import", join(box.scratch, "bare.tar"), "--name", "bare"]);
      await box.must(["create", "bare", "--name", "bare"]);
      assert.equal(await box.must(["start", "bare", "/bare/echo", "alive"]), "alive\n");
      await box.must(["start", "--detach", "bare", "/bare/echo", "alive"]);
      assert.equal(await box.must(["wait", "bare"]), "0\n");
      const missing = await box.run(["start", "bare", "sh"]);
      assert.equal(missing.status, 127);
    });

    test("all codes and all signals, by the executor itself", async () => {
      const directory = join(box.scratch, "wires");
      mkdirSync(directory);
      await box.must(["start", "--detach", "box", "sleep", "1000"]);
      const inside = await insideOf(box);
      const own = kind === "root" ? "" : "user,";
      const map = kind === "root" ? [] : [op("id-map", "test", `0 ${box.user.uid} 1`, `0 ${box.user.gid} 1`, "deny")];
      const environment = op("environment", "test", "PATH=/bin");
      const ways: Record<string, { topology: Topology; ops: Op[] }> = {
        "in-place": { topology: "in-place", ops: [op("namespaces", "test", `${own}mount`), ...map] },
        reaper: {
          topology: "supervised",
          ops: [op("namespaces", "test", `${own}mount,pid`), ...map, op("reaper", "test")],
        },
        join: { topology: "supervised", ops: [op("join", "test", inside.pid, inside.start, `${own}mount,pid`)] },
      };
      const ends = [...CODES, ...DEADLY.map((number) => -number)];
      const expected = ends.map((end) => (end < 0 ? 128 - end : end)).join(" ");
      // busybox's shell, which is inside, ignores SIGQUIT.
      const without = ` ${128 + constants.signals.SIGQUIT}`;
      for (const [way, { topology, ops }] of Object.entries(ways)) {
        for (const end of ends) {
          const exec = op("exec", "test", "/bin/sh", "-c", END, "sh", String(end));
          const plan = check({ version: 1, topology, ops: [...ops, environment, exec], remarks: [] });
          const wire = join(directory, String(end));
          writeFileSync(wire, toWire(plan, []));
          chownSync(wire, box.user.uid, box.user.gid);
        }
        chownSync(directory, box.user.uid, box.user.gid);
        const executor = join(packageDirectory(), `dist/executor-${process.arch}`);
        const script = `for end in ${ends.join(" ")}; do "$1" "$2/$end" 2>/dev/null; echo $?; done`;
        const outcome = await box.user.run(["sh", "-c", script, "sh", executor, directory]);
        const said = outcome.stdout.trim().split("\n").join(" ");
        if (way === "join") assert.equal(said, expected.replace(`255 129 130${without}`, "255 129 130 99"), way);
        else assert.equal(said, expected, way);
      }
      await box.must(["stop", "--timeout", "0", "box"]);
    });
  });
}

/** The first process inside of what runs as `box`. */
async function insideOf(box: Box): Promise<{ pid: string; start: string }> {
  const rows = JSON.parse(await box.must(["list", "--json"])) as { name: string; pid: number }[];
  const row = rows.find(({ name }) => name === "box");
  const pid = readFileSync(`/proc/${row?.pid}/task/${row?.pid}/children`, "utf8").trim();
  return { pid, start: startTime(Number(pid)) ?? "" };
}
