/** Limits by cgroups: version 1 or 2, as this kernel has them; for ordinary users where a cgroup is delegated. */
import assert from "node:assert/strict";
import { chownSync, existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type Box, busyboxBox } from "../support/boxes.ts";
import { rootlingWords } from "../support/cli.ts";
import { background, command, type Outcome } from "../support/command.ts";
import { oldestKernel, ordinaryKinds, type UserKind } from "../support/users.ts";

const amRoot = process.getuid?.() === 0;
const V2 = "/sys/fs/cgroup";
const unified = existsSync(`${V2}/cgroup.controllers`);

/** What root has everywhere, and an ordinary user where a cgroup is delegated: as systemd does it for its users. */
const kinds: readonly UserKind[] = !amRoot ? [] : unified ? ["root", "plain"] : ["root"];

/** A cgroup of the user's, with one below in which commands begin. */
function delegate(uid: number, gid: number): { session: string; remove: () => void } {
  const slice = `${V2}/rootling-test-${process.pid}`;
  const session = `${slice}/session`;
  for (const name of ["memory", "cpu", "pids"]) writeFileSync(`${V2}/cgroup.subtree_control`, `+${name}`);
  for (const path of [slice, session]) {
    mkdirSync(path);
    for (const file of ["", "/cgroup.procs", "/cgroup.subtree_control"]) chownSync(`${path}${file}`, uid, gid);
  }
  return { session, remove: () => [session, slice].forEach((path) => rmdirSync(path)) };
}

/** Every cgroup that a start has made. */
function cgroups(directory = V2): string[] {
  return readdirSync(directory, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .flatMap(({ name }) =>
      /^rootling-[0-9]+\.[0-9]+\./.test(name) ? [join(directory, name)] : cgroups(join(directory, name)),
    );
}

for (const kind of kinds) {
  describe(`limits as ${kind}, cgroups of version ${unified ? 2 : 1}`, () => {
    let box: Box;
    let place: ReturnType<typeof delegate> | undefined;
    before(async () => {
      box = await busyboxBox(kind);
      if (kind !== "root") place = delegate(box.user.uid, box.user.gid);
    });
    after(async () => {
      place?.remove();
      await box.remove();
    });

    /** Begins in the delegated cgroup, as everything of a systemd user does. */
    const within = (words: readonly string[]): string[] => {
      const argv = box.user.words(rootlingWords(...words));
      return place === undefined
        ? argv
        : ["sh", "-c", `echo $$ >${place.session}/cgroup.procs; exec "$@"`, "sh", ...argv];
    };
    const run = (...words: string[]): Promise<Outcome> =>
      command(within(words), { env: box.user.env, cwd: box.user.home });
    const marks = () => readdirSync(join(box.user.env.ROOTLING_RUNTIME_PATH ?? "", "cgroups"));
    const nothingLeft = () => assert.deepEqual([cgroups(), marks()], [[], []]);

    for (const topology of oldestKernel ? [["--pid"]] : [[], ["--pid"]]) {
      test(`memory: what is over the limit is ended, and it is said ${topology}`, async () => {
        const words = ["run", ...topology, "--memory", "48m", "busybox", "busybox", "tail", "/dev/zero"];
        const { status, stderr } = await run(...words);
        assert.equal(status, 137, stderr);
        assert.match(stderr, /the memory limit was hit: the kernel ended 1 process/);
        assert.equal((await run("run", ...topology, "--memory", "48m", "busybox", "sh", "-c", "exit 7")).status, 7);
        nothingLeft();
      });
    }

    test("processes", async () => {
      const script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 2 & done; echo all";
      const { stdout, stderr } = await run("run", "--pids-limit", "6", "busybox", "sh", "-c", script);
      assert.match(stderr, /can't fork/, stdout);
      nothingLeft();
    });

    test("processor time, and its share", async () => {
      const script = `timeout 1 sh -c 'while :; do :; done'
        cat $(find /sys/fs/cgroup -path '*rootling-[0-9]*' -name cpu.stat | head -1) | grep nr_throttled
        cat $(find /sys/fs/cgroup -path '*rootling-[0-9]*' -name cpu.${unified ? "weight" : "shares"} | head -1)`;
      const flags = ["--cpus", "0.1", "--cpu-weight", "50"];
      const { stdout, stderr } = await run("run", ...flags, "busybox", "sh", "-c", script);
      const [throttled = "", share] = stdout.trim().split("\n");
      assert.ok(Number(throttled.split(" ")[1]) >= 1, stdout + stderr);
      assert.equal(share, unified ? "50" : "512");
    });

    test("exec is limited with its container; a cgroup namespace begins at the container's cgroup", async () => {
      const words = [
        "start",
        "--pids-limit",
        "20",
        "--cgroup",
        "box",
        "sh",
        "-c",
        "cut -d: -f2,3 /proc/self/cgroup; echo ready; cat",
      ];
      let said = "";
      const running = background(within(words), {
        env: box.user.env,
        keepInput: true,
        onStart: (child) => child.stdout?.on("data", (chunk: Buffer) => (said += chunk)),
      });
      for (let tries = 0; !said.includes("ready") && running.alive() && tries < 600; tries++) await sleep(50);
      if (!running.alive()) assert.fail((await running.ended).stderr);
      assert.match(said, unified ? /^:\/$/m : /^pids:\/$/m);
      const [made = ""] = cgroups();
      const executed = await run("exec", "box", "sh", "-c", "cat /proc/self/cgroup; sleep 1");
      assert.equal(executed.status, 0, executed.stderr);
      assert.match(executed.stdout, unified ? /::\/$/m : /:pids:\/$/m);
      assert.ok(readFileSync(`${made}/cgroup.procs`, "utf8") !== "");
      running.closeInput();
      assert.equal((await running.ended).status, 0);
      nothingLeft();
    });

    test("a detached container keeps to its limits, and leaves nothing", async (t) => {
      const started = await run("start", "--detach", "--pids-limit", "20", "box", "sleep", "300");
      assert.equal(started.status, 0, started.stderr);
      const [made = ""] = cgroups();
      assert.equal(readFileSync(`${made}/pids.max`, "utf8"), "20\n");
      assert.ok(readFileSync(`${made}/cgroup.procs`, "utf8") !== "");
      // Also where the test fails: nobody else would end it.
      t.after(() => run("stop", "--timeout", "1", "box"));
      assert.equal((await run("stop", "--timeout", "1", "box")).status, 0);
      for (let tries = 0; cgroups().length > 0 && tries < 100; tries++) await sleep(50);
      nothingLeft();
    });

    test("what is left inside ends with the container, also after a kill, by the next command", async () => {
      assert.equal(
        (await run("run", "--pids-limit", "20", "busybox", "sh", "-c", "sleep 300 >/dev/null 2>&1 & exit 3")).status,
        3,
      );
      nothingLeft();
      const running = background(
        within(["run", "--memory", "64m", "busybox", "sh", "-c", "sleep 300 & echo ready; wait"]),
        {
          env: box.user.env,
        },
      );
      for (let tries = 0; cgroups().length === 0 && tries < 600; tries++) await sleep(50);
      await sleep(200);
      running.kill("SIGKILL");
      for (let tries = 0; running.alive() && tries < 20; tries++) await sleep(50);
      assert.equal(cgroups().length, 1);
      assert.equal((await run("run", "busybox", "true")).status, 0);
      nothingLeft();
      await running.ended;
    });
  });
}

for (const kind of oldestKernel ? [] : ordinaryKinds) {
  test(`limits are refused, never passed over, where no cgroup is delegated, as ${kind}`, async () => {
    const box = await busyboxBox(kind);
    try {
      const { status, stderr } = await box.run(["run", "--memory", "64m", "busybox", "true"]);
      assert.equal(status, 125);
      assert.match(stderr, /no cgroup with memory is yours.*E_CGROUP/);
      assert.match(stderr, /systemd-run --user --scope/);
    } finally {
      await box.remove();
    }
  });
}
