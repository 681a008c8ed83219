/** `run`: ephemeral containers of an image. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type Box, busyboxBox } from "../support/boxes.ts";
import { rootlingWords } from "../support/cli.ts";
import { command } from "../support/command.ts";
import { userKinds } from "../support/users.ts";

for (const kind of userKinds) {
  describe(`run as ${kind}`, () => {
    let box: Box;
    before(async () => {
      box = await busyboxBox(kind, { workdir: "/work", entrypoint: ["/bin/env"], cmd: ["echo", "from cmd"] });
    });
    after(() => box.remove());

    test("entrypoint and cmd, environment and directory come from the image", async () => {
      assert.equal(await box.must(["run", "busybox"]), "from cmd\n");
      const said = await box.must(["run", "busybox", "sh", "-c", "pwd; echo $FROM; echo $HOME; echo x$USER"]);
      assert.equal(said, `/work\nimage\n${kind === "root" ? "/root" : "/"}\nx\n`);
    });

    test("flags win over the image", async () => {
      const said = await box.must([
        ...["run", "--env", "FROM=flag", "-e", "NEW=1", "--workdir", "/tmp", "busybox"],
        ...["sh", "-c", "pwd; echo $FROM $NEW"],
      ]);
      assert.equal(said, "/tmp\nflag 1\n");
      assert.equal(await box.must(["run", "--entrypoint", "echo", "busybox"]), "\n");
      assert.equal(await box.must(["start", "--entrypoint", "", "box", "echo", "no env"]), "no env\n");
    });

    test("the root is writable, and nothing is left of it", async () => {
      const script =
        "echo new >/etc/new && rm /bin/ls && rmdir /home/demo && mkdir /home/demo /home/two && cat /etc/new";
      assert.equal(await box.must(["run", "--root", "busybox", "sh", "-c", script]), "new\n");
      assert.equal(
        await box
          .must(["run", "busybox", "sh", "-c", "ls /etc/new /home 2>&1; test -e /bin/ls && echo there"])
          .catch(String),
        "ls: /etc/new: No such file or directory\n/home:\ndemo\nthere\n",
      );
      const { ROOTLING_DATA_PATH = "" } = box.user.env;
      assert.deepEqual(readdirSync(join(ROOTLING_DATA_PATH, "ephemeral")), []);
    });

    test("the payload's exit status and signal are rootling's", async () => {
      for (const topology of [[], ["--pid"]]) {
        for (const status of [0, 1, 7, 125, 255]) {
          assert.equal((await box.run(["run", ...topology, "busybox", "sh", "-c", `exit ${status}`])).status, status);
        }
        const killed = await box.run(["run", ...topology, "busybox", "sh", "-c", "kill -TERM $$; sleep 5"]);
        // In place the process itself dies of the signal; a monitor says it as shells do.
        assert.ok(killed.signal === "SIGTERM" || killed.status === 143, `${killed.signal} ${killed.status}`);
      }
    });

    test("what cannot be executed has the status that shells give it", async () => {
      const missing = await box.run(["run", "busybox", "no-such-program"]);
      // The image's entrypoint is env: it looks for the program, and says so.
      assert.equal(missing.status, 127);
      const denied = await box.run(["run", "busybox", "/etc"]);
      assert.equal(denied.status, 126);
    });

    test("--pid: only its own processes, and a reaper for orphans", async () => {
      const script = "sleep 0.1 & (sleep 0.2 &) ; echo $$ $(ls -d /proc/[0-9]* | wc -l); sleep 0.4";
      const [pid, count] = (await box.must(["run", "--pid", "busybox", "sh", "-c", script]))
        .trim()
        .split(" ")
        .map(Number);
      assert.equal(pid, 2);
      assert.ok((count ?? 99) < 8, `${count} processes`);
      const stopped = await box.run([
        "run",
        "--pid",
        "busybox",
        "sh",
        "-c",
        "trap 'exit 9' TERM; kill -TERM $$; sleep 5",
      ]);
      assert.equal(stopped.status, 9);
    });

    test("--root is root inside, with one id; otherwise the caller stays who they are", async () => {
      assert.equal(await box.must(["run", "--root", "busybox", "id", "-u"]), "0\n");
      assert.equal(await box.must(["run", "busybox", "id", "-u"]), `${box.user.uid}\n`);
    });

    test("capability sets and privileges are what they should be", async () => {
      const status = await box.must(["run", "busybox", "cat", "/proc/self/status"]);
      const field = (name: string) => new RegExp(`^${name}:\\s*(\\S+)`, "m").exec(status)?.[1];
      assert.equal(field("NoNewPrivs"), "1");
      for (const set of ["CapInh", "CapAmb"]) assert.equal(field(set), "0000000000000000");
      const own = kind === "root" ? "00000000800405fb" : "0000000000000000";
      for (const set of ["CapPrm", "CapEff", "CapBnd"]) assert.equal(field(set), own);
    });

    for (const topology of [[], ["--pid"]]) {
      test(`what the kernel leaves open to uid 0 is closed${topology.join(" ")}`, async () => {
        const script = [
          'value=$(cat /proc/sys/kernel/core_pattern); echo "$value" 2>/dev/null >/proc/sys/kernel/core_pattern && echo sysctl',
          "( : >>/proc/sysrq-trigger ) 2>/dev/null && echo sysrq",
          "mknod /dev/made c 1 3 2>/dev/null && ( : >/dev/made ) 2>/dev/null && echo device",
          "mknod /made c 1 3 2>/dev/null && ( : >/made ) 2>/dev/null && echo device",
          "echo end",
        ].join("; ");
        assert.equal(await box.must(["run", "--root", ...topology, "busybox", "sh", "-c", script]), "end\n");
      });
    }

    test("the caller's umask is the payload's, and changes no mode of the root", async () => {
      const words = box.user.words(rootlingWords("run", "busybox", "sh", "-c", "umask; stat -c %a / /dev /work"));
      const outcome = await command(["sh", "-c", 'umask 077; exec "$@"', "sh", ...words], { env: box.user.env });
      assert.equal(outcome.stdout, "0077\n755\n755\n755\n", outcome.stderr);
    });

    test("--pid: the job stops with its payload, and goes on with it", async () => {
      const words = box.user.words(rootlingWords("run", "--pid", "busybox", "sh", "-c", "kill -STOP $$; echo on"));
      // $! is rootling itself, which becomes the monitor; it is continued once it is seen to be stopped.
      const script = `"$@" & i=0
        while [ $i -lt 100 ] && kill -0 $!; do
          case $(cat /proc/$!/stat) in *") T "*) echo stopped; kill -CONT $!; break ;; esac
          i=$((i + 1)); sleep 0.1
        done
        [ $i -lt 100 ] || kill -KILL $!; wait $!`;
      const outcome = await command(["sh", "-c", script, "sh", ...words], { env: box.user.env });
      assert.equal(outcome.stdout, "stopped\non\n", outcome.stderr);
    });

    test("pid 1 does not show the caller's environment", async () => {
      const outcome = await box.run(["run", "--pid", "busybox", "cat", "/proc/1/environ"], {
        env: { SECRET: "s3cret" },
      });
      assert.equal(outcome.status, 0, outcome.stderr);
      assert.ok(!outcome.stdout.includes("s3cret"));
    });

    test("mounts: bind, read-only, tmpfs, in an image's directory and in a new one", async () => {
      const data = join(box.scratch, "data with blank");
      mkdirSync(data, { recursive: true });
      writeFileSync(join(data, "file"), "shared\n");
      const said = await box.must([
        ...["run", "--mount", `${data}:/mnt/new`, "--mount", `${data}:/home:ro`, "--mount", "tmpfs /t tmpfs size=64k"],
        ...["--mount", `${join(data, "file")}:/etc/passwd:ro`, "busybox", "sh", "-c"],
        "cat /mnt/new/file /home/file /etc/passwd; echo x >/home/x || echo read-only; echo y >/t/y && cat /t/y",
      ]);
      assert.equal(said, "shared\nshared\nshared\nread-only\ny\n");
      assert.ok(!existsSync(join(data, "x")));
    });

    test("/dev has devices and terminals, /sys is read-only, no descriptor leaks", async () => {
      const script = [
        "echo x >/dev/null && head -c 2 /dev/zero | wc -c && test -c /dev/tty && test -e /dev/ptmx && echo devices",
        "touch /sys/x 2>/dev/null || echo sys",
        "ls /proc/self/fd | tr '\\n' ' '",
      ].join("; ");
      assert.equal(await box.must(["run", "busybox", "sh", "-c", script]), "2\ndevices\nsys\n0 1 2 3 ");
    });

    test("a private host name", async () => {
      assert.equal(await box.must(["run", "--hostname", "inner", "busybox", "hostname"]), "inner\n");
    });

    test("the store cannot be seen through a mount that contains it", async () => {
      const { ROOTLING_DATA_PATH = "", ROOTLING_RUNTIME_PATH = "" } = box.user.env;
      const below = (path: string) => path.replace(box.user.home, "/mnt/home");
      const script = `ls -A ${below(ROOTLING_DATA_PATH)} | wc -l; touch ${below(ROOTLING_DATA_PATH)}/x 2>/dev/null || echo closed`;
      assert.equal(
        await box.must(["run", "--mount", `${box.user.home}:/mnt/home`, "busybox", "sh", "-c", script]),
        "0\nclosed\n",
      );
      assert.notEqual(ROOTLING_RUNTIME_PATH, "");
      const within = await box.run(["run", "--mount", `${join(ROOTLING_DATA_PATH, "images")}:/x`, "busybox", "true"]);
      assert.equal(within.status, 125);
      assert.match(within.stderr, /E_CONFLICT/);
    });
  });
}
