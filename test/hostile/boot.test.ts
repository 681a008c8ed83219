/**
 * What images, callers and payloads have done to tools like this one, from published advisories: each as root and as an
 * ordinary user.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import {
  chownSync,
  closeSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { findExecutor } from "../../src/plan/launch.ts";
import { type Box, busyboxBox } from "../support/boxes.ts";
import { rootlingOnTerminal } from "../support/cli.ts";
import { command } from "../support/command.ts";
import { type Given, tarOf, writeLayout } from "../support/image-support.ts";
import { carryOutPlan, planOf } from "../support/plans.ts";
import { compileProbe } from "../support/probe.ts";
import { userKinds } from "../support/users.ts";
import { compileSwapper, race } from "./races.ts";

const kinds = userKinds.filter((kind) => kind !== "subids");

const BUSYBOX: readonly Given[] = [
  { path: "bin", kind: "directory" },
  { path: "bin/sh", content: readFileSync("/bin/busybox"), mode: 0o755 },
];

const hashOf = (path: string): string => createHash("sha256").update(readFileSync(path)).digest("hex");

for (const kind of kinds) {
  describe(`hostile containers as ${kind}`, () => {
    let box: Box;
    before(async () => {
      box = await busyboxBox(kind);
      // What plans of this test name exists once there was a start.
      await box.must(["run", "--pid", "busybox", "true"]);
    });
    after(() => box.remove());

    /** Imports an image of busybox and these entries, by the name. */
    const image = async (name: string, entries: readonly Given[], config: object = {}) => {
      const layout = join(box.scratch, `image-${name}`);
      writeLayout(layout, [tarOf([...BUSYBOX, ...entries])], { config: { Cmd: ["/bin/sh"], ...config } });
      await command(["chmod", "-R", "a+rX", layout]);
      await box.must(["import", `oci:${layout}`, "--name", name]);
    };

    test("the executor cannot be written to, by way of whichever process (CVE-2019-5736)", async () => {
      const executor = await findExecutor("/nonexistent");
      const former = hashOf(executor);
      const script =
        'for exe in /proc/[0-9]*/exe; do (echo evil >"$exe") 2>/dev/null; (echo evil >>"$exe") 2>/dev/null; done; echo tried';
      for (const flags of [["--pid", "--root"], ["--root"], ["--isolate"]])
        assert.equal(
          await box.must([
            "run",
            ...flags,
            "busybox",
            "sh",
            "-c",
            flags.includes("--pid") || flags.includes("--isolate")
              ? script
              : "echo evil >/proc/self/exe 2>/dev/null; echo tried",
          ]),
          "tried\n",
        );
      // The executor as the entrypoint: itself, sealed, which can do nothing but say its words.
      const { status, stderr } = await box.run(["run", "--pid", "--root", "busybox", "/proc/self/exe"]);
      assert.equal(status, 125);
      assert.match(stderr, /^usage: /);
      assert.equal(hashOf(executor), former);
    });

    test("no descriptor of a caller leads out by way of the working directory (CVE-2024-21626)", async () => {
      const caller = ["bash", "-c", 'for ((fd = 3; fd <= 64; fd++)); do eval "exec $fd</"; done; exec "$@"', "bash"];
      for (const flags of [[], ["--pid"]]) {
        const plan = await planOf(box, ["run", ...flags, "busybox", "sh", "-c", "pwd; ls /proc/self/fd"]);
        // The executor has fewer than a dozen of its own; all above are the caller's, and gone.
        for (const fd of [...Array.from({ length: 16 }, (_, i) => i + 3), 33, 64]) {
          const { status, stdout } = await carryOutPlan(
            box,
            plan,
            (ops) => ops.map((one) => (one.verb === "workdir" ? { ...one, fields: [`/proc/self/fd/${fd}`] } : one)),
            { caller },
          );
          // A descriptor of the executor's own that is a directory leads into the root at most.
          if (status === 125) continue;
          assert.match(stdout, /^\/(dev|proc|sys)?\n/, `descriptor ${fd}`);
        }
        const { stdout } = await carryOutPlan(box, plan, undefined, { caller });
        assert.deepEqual(stdout.trim().split("\n").slice(-4), ["0", "1", "2", "3"]);
      }
    });

    for (const name of ["proc", "sys", "dev"]) {
      test(`an image with a symlink for /${name} is refused (CVE-2019-19921, CVE-2023-27561)`, async () => {
        await image(`link-${name}`, [
          { path: "tmp", kind: "directory" },
          { path: "tmp/own", kind: "directory" },
          { path: name, kind: "symlink", target: "/tmp/own" },
        ]);
        for (const flags of [[], ["--pid"], ["--isolate"]]) {
          const { status, stdout, stderr } = await box.run([
            "run",
            ...flags,
            `link-${name}`,
            "/bin/sh",
            "-c",
            "echo ran",
          ]);
          assert.equal(status, 125);
          assert.equal(stdout, "");
          assert.match(stderr, /E_MOUNT/);
          assert.match(stderr, new RegExp(`mend: the image has a symlink for /${name}`));
        }
      });
    }

    test("nothing is mounted over /proc, nor through a symlink into it (CVE-2019-16884)", async () => {
      await image("into-proc", [
        { path: "door", kind: "symlink", target: "/proc" },
        { path: "back", kind: "symlink", target: "sys" },
      ]);
      for (const target of ["/proc", "/proc/sys", "/proc/self/attr", "/x/../proc/sys"]) {
        const { status, stderr } = await box.run(["run", "--pid", "--mount", `/etc:${target}`, "into-proc", "true"]);
        assert.ok(status === 125 || status === 2, `${target}: ${stderr}`);
        assert.match(stderr, /E_CONFLICT|E_USAGE/);
      }
      for (const target of ["/door/sys", "/back/kernel"]) {
        const { status, stderr } = await box.run(["run", "--pid", "--mount", `/etc:${target}`, "into-proc", "true"]);
        assert.equal(status, 125);
        assert.match(stderr, /E_MOUNT[\s\S]*choose another target/);
      }
    });

    test("the image's own /dev is not looked at (CVE-2025-31133, CVE-2025-52565)", async () => {
      const names = ["null", "zero", "pts", "shm", "ptmx", "console", "tty"];
      await image("devices", [
        { path: "dev", kind: "directory" },
        ...names.map(
          (name): Given => ({ path: `dev/${name}`, kind: "symlink", target: "/proc/sys/kernel/core_pattern" }),
        ),
      ]);
      const former = readFileSync("/proc/sys/kernel/core_pattern", "utf8");
      const script =
        "for d in null zero tty; do [ -c /dev/$d ] && [ ! -L /dev/$d ] || echo bad $d; done; for d in pts shm; do [ -d /dev/$d ] && [ ! -L /dev/$d ] || echo bad $d; done; echo x >/dev/null; echo end";
      for (const flags of [[], ["--pid"], ["--isolate"]])
        assert.equal(await box.must(["run", ...flags, "devices", "/bin/sh", "-c", script]), "end\n");
      assert.equal(readFileSync("/proc/sys/kernel/core_pattern", "utf8"), former);
    });

    test("a device of another number is not bound", async () => {
      const plan = await planOf(box, ["run", "busybox", "true"]);
      for (const [source, major, minor] of [
        ["/dev/zero", "1", "3"],
        ["/dev/null", "1", "5"],
        ["/etc/passwd", "1", "3"],
        ["/proc/sys/kernel/core_pattern", "1", "3"],
      ]) {
        const { status, stderr } = await carryOutPlan(box, plan, (ops) =>
          ops.map((one) =>
            one.verb === "device" && one.fields[1] === "/dev/null"
              ? { ...one, fields: [source ?? "", "/dev/null", major ?? "", minor ?? ""] }
              : one,
          ),
        );
        assert.equal(status, 125);
        assert.match(stderr, /device check/);
      }
    });

    test("a root whose directories are swapped meanwhile (CVE-2021-30465, CVE-2024-45310)", async (t) => {
      const swapper = await compileSwapper(box.scratch);
      for (const target of ["volume", "proc"] as const) {
        const { starts, swaps, refused, wrong } = await race(box, swapper, target, 8, 1000);
        assert.deepEqual(wrong, []);
        t.diagnostic(`${target}: ${starts} starts, ${swaps} swaps, ${refused} refused`);
      }
    });

    test("passwd, group and resolv.conf that are no files of the root (CVE-2024-9676)", async () => {
      const outside = join(box.scratch, "outside");
      mkdirSync(outside, { recursive: true });
      writeFileSync(join(outside, "passwd"), "victim:x:0:0::/stolen:/bin/sh\n");
      const up = `../../../../../../../../..${outside}`;
      const cases: Record<string, Given[]> = {
        symlink: ["passwd", "group", "resolv.conf", "hosts"].map((name) => ({
          path: `etc/${name}`,
          kind: "symlink",
          target: `${up}/${name}`,
        })),
        fifo: ["passwd", "group"].map((name) => ({ path: `etc/${name}`, kind: "fifo" })),
        endless: ["passwd", "group"].map((name) => ({ path: `etc/${name}`, kind: "symlink", target: "/dev/zero" })),
        directory: ["passwd", "group"].map((name) => ({ path: `etc/${name}`, kind: "directory" })),
      };
      for (const [name, entries] of Object.entries(cases)) {
        await image(`files-${name}`, [{ path: "etc", kind: "directory" }, ...entries]);
        const began = Date.now();
        const { status, stdout, stderr } = await box.run(
          ["run", "--root", `files-${name}`, "/bin/sh", "-c", "echo $HOME"],
          { timeout: 60_000 },
        );
        assert.equal(status, 0, `${name}: ${stderr}`);
        assert.equal(stdout, "/\n", name);
        assert.ok(Date.now() - began < 60_000, name);
        const named = await box.run(["run", "--user", "victim", `files-${name}`, "/bin/sh", "-c", "echo $HOME"], {
          timeout: 60_000,
        });
        assert.equal(named.status, 125, `${name}: ${named.stdout}`);
      }
      assert.deepEqual(readdirSync(outside), ["passwd"]);
    });

    test("users that are no numbers of ids, and a large group file (CVE-2024-40635, CVE-2026-30892)", async () => {
      const plan = await planOf(box, ["run", "busybox", "sh", "-c", "echo ran"]);
      for (const spec of [
        "2147483648:0",
        "-1",
        "4294967296",
        "4294967295",
        "0x0",
        "0:-1",
        "0:4294967296",
        "+0",
        " 0",
        "0 ",
        "1e0",
        "00000000000",
      ]) {
        const { status, stdout } = await carryOutPlan(box, plan, (ops) =>
          ops.map((one) => (one.verb === "user" ? { ...one, fields: [spec] } : one)),
        );
        assert.equal(status, 125, spec);
        assert.equal(stdout, "", spec);
      }
      const large = join(box.scratch, "group");
      const fd = openSync(large, "w");
      ftruncateSync(fd, 1 << 30);
      closeSync(fd);
      const words = ["run", "--mount", `${large}:/etc/group:ro`, "busybox", "sh", "-c", "echo ran"];
      assert.equal(await box.must(words), "ran\n");
      if (kind === "root")
        assert.equal((await box.run([...words.slice(0, 3), "--user", "0:wheel", ...words.slice(3)])).status, 125);
    });

    test("capability sets of start and exec: nothing inheritable, nothing ambient (CVE-2022-27650)", async () => {
      // Root's isolated sandboxes have ids of their own, which a container's files are made for.
      await box.must(["create", "busybox", "--name", "apart", ...(kind === "root" ? ["--map", "subids"] : [])]);
      for (const [name, ...flags] of [["box", "--root"], ["box"], ["apart", "--isolate"]] as const) {
        const script = "grep -E '^(Cap|NoNew|Secc)' /proc/self/status; echo; sleep 30";
        const started = box.run(["start", ...flags, "--pid", name, "sh", "-c", script], { timeout: 60_000 });
        let said = "";
        for (let i = 0; i < 100 && said === ""; i++) {
          const { status, stdout } = await box.run([
            "exec",
            name,
            "grep",
            "-E",
            "^(Cap|NoNew|Secc)",
            "/proc/self/status",
          ]);
          if (status === 0) said = stdout;
          else await setTimeout(100);
        }
        await box.run(["exec", name, "kill", "-9", "2"]);
        const { stdout } = await started;
        const sets = (text: string) =>
          text
            .trim()
            .split("\n")
            .map((line) => line.split(/\s+/));
        assert.deepEqual(sets(said), sets(stdout), "exec has the sets of start");
        if (name === "apart") assert.match(said, /^Seccomp:\s*2$/m);
        for (const [set, value] of sets(said).filter(([set]) => set?.startsWith("Cap")))
          if (set === "CapInh:" || set === "CapAmb:" || name === "apart")
            assert.equal(value, "0000000000000000", `${name} ${set}`);
      }
    });

    test("Landlock keeps a read-only root read-only where its mount is not", async () => {
      const script =
        "( : >/new ) 2>/dev/null && echo written; : >/dev/shm/new && echo own; echo >/proc/self/comm && echo end";
      const plan = await planOf(box, ["start", "--isolate", "busybox", "sh", "-c", script]);
      const unsealed = plan.ops.filter(
        (one) => !(one.verb === "attributes" && one.fields[0] === "/" && one.fields[1] === "ro"),
      );
      assert.equal(unsealed.length, plan.ops.length - 1);
      const outcome = await carryOutPlan(box, plan, () => unsealed);
      assert.equal(outcome.stdout, "own\nend\n", outcome.stderr);
      const without = await carryOutPlan(box, plan, () => unsealed.filter(({ verb }) => verb !== "landlock"));
      assert.equal(without.stdout, "written\nown\nend\n", without.stderr);
    });

    test("nothing is typed into the caller's terminal (CVE-2017-5226, CVE-2019-10063, CVE-2023-28100)", async () => {
      const probe = join(box.scratch, "probe");
      await compileProbe(probe);
      const outcome = await rootlingOnTerminal(box.user, [
        "run",
        "--isolate",
        "--mount",
        `${probe}:/probe:ro`,
        "busybox",
        "/probe",
        "type",
      ]);
      assert.match(outcome.stdout, /TIOCSTI EPERM/);
      assert.match(outcome.stdout, /TIOCSTI\+2\^32 EPERM/);
      assert.match(outcome.stdout, /TIOCLINUX EPERM/);
      assert.match(outcome.stdout, /controlling terminal: own/);
    });

    test("an image's environment is nobody's but the payload's (CVE-2024-0132, CVE-2025-23266)", async () => {
      const canary = join(box.user.home, "canary");
      const source = join(box.scratch, "evil.c");
      writeFileSync(
        source,
        `#include <fcntl.h>\n__attribute__((constructor)) static void evil(void) { open("${canary}", O_CREAT | O_WRONLY, 0600); }\n`,
      );
      const built = await command(["gcc", "-shared", "-fPIC", "-o", join(box.user.home, "x.so"), source]);
      assert.equal(built.status, 0, built.stderr);
      const Env = [
        "LD_PRELOAD=/proc/self/cwd/x.so",
        "LD_LIBRARY_PATH=/proc/self/cwd",
        "PATH=/proc/self/cwd:/bin",
        `NODE_OPTIONS=--require=${box.user.home}/x.so`,
      ];
      // It does what it is meant to where it is loaded.
      await box.user.run(["/bin/true"], { env: { LD_PRELOAD: join(box.user.home, "x.so") } });
      assert.ok(existsSync(canary));
      await command(["rm", canary]);
      await image("preload", [], { Env });
      for (const flags of [["--pid"], ["--isolate"], ["--net", "--root"]]) {
        const { status, stderr } = await box.run(["run", ...flags, "preload", "/bin/sh", "-c", "exit 3"]);
        assert.equal(status, 3, stderr);
        assert.ok(!existsSync(canary), flags.join(" "));
      }
      // The program that puts failures into words is started by the executor.
      assert.equal((await box.run(["run", "preload", "/nonexistent"])).status, 127);
      assert.ok(!existsSync(canary));
    });

    test("the stored tree cannot be changed through a mount that contains it", async () => {
      const { ROOTLING_DATA_PATH = "" } = box.user.env;
      const images = join(ROOTLING_DATA_PATH, "images");
      const [hex = ""] = readdirSync(images);
      const tree = join(images, hex, "tree");
      const former = (await command(["find", tree, "-printf", "%p %s %m %T@\\n"])).stdout;
      const link = join(box.user.home, "link");
      if (!existsSync(link)) symlinkSync(ROOTLING_DATA_PATH, link);
      chownSync(box.user.home, box.user.uid, box.user.gid);
      const above = join(box.user.home, "..");
      for (const [source, target] of [
        [box.user.home, "/mnt"],
        [above, "/mnt/x"],
        [join(box.user.home, ".local"), "/mnt"],
        ["/dev/shm", "/mnt"],
      ]) {
        const inside = tree.replace(source === above ? join(box.user.home, "..") : (source ?? ""), target ?? "");
        const script = `cd ${inside} 2>/dev/null && echo entered; echo evil >${inside}/bin/sh; ln ${inside}/bin/sh /mnt/sh; mount --bind ${inside} /home; echo end`;
        for (const flags of [["--root"], ["--isolate"]]) {
          const { status, stdout, stderr } = await box.run([
            "run",
            ...flags,
            "--mount",
            `${source}:${target}`,
            "busybox",
            "sh",
            "-c",
            script,
          ]);
          // Ids of its own do not pass through private directories: then nothing is started.
          const closed = status === 125 && /E_MOUNT/.test(stderr) && kind === "root" && flags.includes("--isolate");
          assert.ok(stdout === "end\n" || closed, `${source} ${flags}: ${stdout}${stderr}`);
        }
      }
      for (const source of [link, join(link, "images"), tree]) {
        const { status, stderr } = await box.run(["run", "--mount", `${source}:/mnt`, "busybox", "true"]);
        assert.equal(status, 125);
        assert.match(stderr, /belongs to the store, which no container may see \[E_CONFLICT\]/);
      }
      assert.equal((await command(["find", tree, "-printf", "%p %s %m %T@\\n"])).stdout, former);
    });
  });
}
