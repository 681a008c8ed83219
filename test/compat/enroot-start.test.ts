/** What enroot starts: containers, files, and what a configuration names. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { background, command } from "../support/command.ts";
import { type EnrootBox, enrootBox, enrootWords } from "../support/enroot.ts";
import { userKinds } from "../support/users.ts";

/** Says what waitpid(2) sees of a child: stopped, continued, and the end. */
const WAITER = `
import os, signal, sys
pid = os.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
_, status = os.waitpid(pid, os.WUNTRACED)
print("stopped", os.WIFSTOPPED(status) and os.WSTOPSIG(status) == signal.SIGSTOP, flush=True)
comm = open(f"/proc/{pid}/comm").read().strip()
os.kill(pid, signal.SIGCONT)
_, status = os.waitpid(pid, os.WCONTINUED)
print("continued", os.WIFCONTINUED(status), comm, flush=True)
_, status = os.waitpid(pid, 0)
print("ended", os.waitstatus_to_exitcode(status))
`;

for (const kind of userKinds.filter((each) => each !== "subids")) {
  describe(`enroot, as ${kind}`, () => {
    let box: EnrootBox;
    let image: string;
    before(async () => {
      box = await enrootBox(kind);
      image = box.image;
    });
    after(() => box.remove());

    test("start: environment, root, mounts; read-only unless --rw or the setting says so", async () => {
      assert.equal(await box.must(["start", "box", "cat", "/etc/hello"]), "hello\n");
      const words = ["start", "-e", "A=1", "--env", "B", "--env=C=", "box", "sh", "-c", 'echo "$A$B${C-unset}"'];
      assert.equal(await box.must(words, { env: { B: "2" } }), "12\n");
      assert.match(await box.must(["start", "--root", "box", "id", "-u"]), /^0\n/);
      assert.match(await box.must(["start", "box", "id", "-u"], { env: { ENROOT_REMAP_ROOT: "y" } }), /^0\n/);
      assert.match(await box.must(["start", "box", "id", "-u"]), new RegExp(`^${box.user.uid}\n`));
      assert.notEqual((await box.run(["start", "box", "touch", "/mark"])).status, 0);
      await box.must(["start", "box", "touch", "/mark"], { env: { ENROOT_ROOTFS_WRITABLE: "y" } });
      await box.must(["start", "box", "ls", "/mark"]);
      const mounted = ["start", "-m", `${box.scratch}:/mnt:x-create=dir,ro`, "box", "ls", "/mnt"];
      assert.match(await box.must(mounted), /my\+image\.sqsh/);
      if (kind === "root") {
        const map = async (env: Record<string, string>) =>
          (await box.must(["start", image, "cat", "/proc/self/uid_map"], { env })).trim().split(/ +/);
        assert.deepEqual(await map({}), ["0", "0", "1"]);
        assert.deepEqual(await map({ ENROOT_ALLOW_SUPERUSER: "y" }), ["0", "0", "4294967295"]);
      }
      await box.fails(["start", "-e", "1A=x", "box", "true"], /Invalid argument: 1A=x/);
      await box.fails(["start", "-m", "/srv", "box", "true"], /Invalid argument: \/srv/);
      await box.fails(["start", "none", "true"], /No such file or directory: .*\/none/);
    });

    test("start is in the process that was started: its parent sees stops, continuations and the status", async () => {
      // Who ends at once after it goes on may be seen to have ended only.
      const script = "kill -STOP $$; sleep 1; exit 7";
      const words = ["python3", "-c", WAITER, ...enrootWords("start", "box", "sh", "-c", script)];
      const outcome = await box.user.run(words, { cwd: box.user.home });
      assert.equal(outcome.stdout, "stopped True\ncontinued True sh\nended 7\n", outcome.stderr);
    });

    test("a squashfs file starts by itself; what changes in it is kept nowhere", async () => {
      assert.equal(await box.must(["start", image, "cat", "/etc/hello"]), "hello\n");
      await box.must(["start", "-w", image, "touch", "/mark"]);
      assert.doesNotMatch(await box.must(["start", image, "ls", "/"]), /mark/);
      writeFileSync(join(box.scratch, "box"), "of the same name");
      assert.equal(await box.must(["start", "box", "cat", "/etc/hello"], { cwd: box.scratch }), "hello\n");
    });

    test("list --fancy shows what runs, and exec enters it by pid and by name", async () => {
      await box.foreign("old");
      const words = (...rest: string[]) => box.user.words(enrootWords("start", ...rest));
      const script = 'export OF=payload; cd /etc; exec sh -c "echo ready; cat; true"';
      const beside = [
        ["box", "sh", "-c", script],
        [image, "cat"],
        ["old", "cat"],
      ].map((rest) => background(words(...rest), { env: box.user.env, cwd: box.user.home, keepInput: true }));
      try {
        const rows = await until(
          async () => (await box.must(["list", "-f"])).split("\n").filter(Boolean),
          (lines) => lines.filter((line) => /\bcat(; true)?$/.test(line)).length >= 3,
        );
        assert.match(rows[0] ?? "", /^NAME +PID +COMM +STATE +STARTED +TIME +MNTNS +USERNS +COMMAND$/);
        assert.deepEqual(
          rows.slice(1).map((row) => row.split(" ")[0]),
          ["<unknown>", "box", "old"],
        );
        const [, pid = "", comm, , started, time, mntns, , ...line] = (rows[2] ?? "").split(/ +/);
        assert.equal(comm, "sh");
        assert.deepEqual(line, ["sh", "-c", "echo", "ready;", "cat;", "true"]);
        const shown = ["ps", "-p", pid, "--no-headers", "-o", "mntns"];
        assert.equal((await command(shown)).stdout.trim(), mntns);
        assert.match(started ?? "", /^[0-9]{2}:[0-9]{2}:[0-9]{2}$/);
        assert.match(time ?? "", /^00:[0-9]{2}$/);
        for (const name of [pid, "box"]) {
          assert.equal(
            await box.must(["exec", "-e", "A=1", name, "sh", "-c", "echo $OF$A; pwd"]),
            "payload1\n/etc\n",
            name,
          );
        }
        assert.equal(await box.must(["exec", "old", "cat", "/etc/hello"]), "hello\n");
        assert.equal((await box.run(["exec", "box", "sh", "-c", "exit 5"])).status, 5);
        await box.fails(["remove", "old"], /is running/, { input: "y\n" });
        await box.fails(["remove", "box"], /is running/, { input: "y\n" });
      } finally {
        for (const one of beside) one.closeInput();
        await Promise.all(beside.map(({ ended }) => ended));
      }
      await box.fails(["exec", "box", "true"], /does not run/);
      await box.must(["remove", "-f", "old"]);
    });

    test("directives of a configuration win over the environment; batch takes its root from there", async () => {
      const conf = join(box.scratch, "job");
      const text = [`#!${enrootWords()[0]} batch`, "#ENROOT_ROOTFS=box", "# ENROOT_REMAP_ROOT y", ""].join("\n");
      writeFileSync(conf, text, { mode: 0o755 });
      const env = { ENROOT_REMAP_ROOT: "n" };
      assert.equal(await box.must(["start", "--conf", conf, "box", "id", "-u"], { env }), "0\n");
      assert.equal(await box.must(["batch", conf, "id", "-u"], { env }), "0\n");
      const shebang = await box.user.run([conf, "echo", "a b"], { cwd: box.user.home });
      assert.deepEqual([shebang.status, shebang.stdout], [0, "a b\n"], shebang.stderr);
      writeFileSync(conf, "#ENROOT_TEMP_PATH=$(touch evil)\n");
      await box.fails(["start", "-c", conf, "box", "true"], /need a shell.*\n {2}from: .*job:1/);
      writeFileSync(conf, "");
      await box.fails(["batch", conf], /Missing directive ENROOT_ROOTFS/);
    });
  });
}

/** Asks until the answer is good, for ten seconds; gives the last one. */
async function until<T>(ask: () => Promise<T>, good: (answer: T) => boolean): Promise<T> {
  for (let tries = 0; ; tries++) {
    const answer = await ask();
    if (good(answer) || tries > 100) return answer;
  }
}
