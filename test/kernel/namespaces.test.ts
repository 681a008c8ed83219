/** Namespaces of its own, the host's, and those of others. */
import assert from "node:assert/strict";
import { existsSync, readlinkSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { type Box, busyboxBox } from "../support/boxes.ts";
import { startBeside } from "../support/running.ts";
import { oldestKernel, userKinds } from "../support/users.ts";

const ours = (kind: string): string => readlinkSync(`/proc/self/ns/${kind}`);

const namespaces = (...kinds: string[]): string => kinds.map((kind) => `readlink /proc/self/ns/${kind}`).join("; ");

for (const kind of userKinds) {
  describe(`namespaces as ${kind}`, () => {
    let box: Box;
    before(async () => {
      box = await busyboxBox(kind);
    });
    after(() => box.remove());

    const lines = async (...words: string[]): Promise<string[]> => (await box.must(words)).trim().split("\n");

    for (const topology of oldestKernel ? [["--pid"]] : [[], ["--pid"]]) {
      test(`--net has loopback and nothing else ${topology}`, async () => {
        const script =
          "ls /sys/class/net; cat /sys/class/net/lo/flags; wc -l </proc/net/route; ls /sys/fs | grep cgroup";
        assert.deepEqual(await lines("run", "--net", ...topology, "busybox", "sh", "-c", script), [
          ...["lo", "0x9", "1", "cgroup"],
        ]);
        assert.ok((await box.run(["run", "--net=none", "busybox", "touch", "/sys/x"])).status !== 0);
      });

      test(`--ipc, --uts, --cgroup and --time are others than ours ${topology}`, async () => {
        const kinds = ["ipc", "uts", "cgroup", ...(existsSync("/proc/self/ns/time") ? ["time"] : [])];
        const flags = kinds.map((name) => `--${name}`);
        const inside = await lines("run", ...flags, ...topology, "busybox", "sh", "-c", namespaces(...kinds));
        assert.equal(inside.length, kinds.length);
        for (const [i, name] of kinds.entries()) assert.notEqual(inside[i], ours(name), name);
        // What a cgroup namespace is made in is its root.
        const [paths] = await lines(
          "run",
          "--cgroup",
          ...topology,
          "busybox",
          "sh",
          "-c",
          "sort -t: -k3 -u /proc/self/cgroup | cut -d: -f3",
        );
        assert.equal(paths, "/");
      });
    }

    test("without flags, and with host, they are the host's", async () => {
      const kinds = ["net", "ipc", "uts", "cgroup", "pid"];
      const inside = await lines(
        "run",
        ...kinds.map((name) => `--${name}=host`),
        "busybox",
        "sh",
        "-c",
        namespaces(...kinds),
      );
      assert.deepEqual(inside, kinds.map(ours));
      assert.equal(await box.must(["run", "busybox", "readlink", "/proc/self/ns/net"]), `${ours("net")}\n`);
    });

    test("those of another container are joined, with its ids", async () => {
      const late = ["cgroup", ...(existsSync("/proc/self/ns/time") ? ["time"] : [])];
      const other = await startBeside(box, [
        "start",
        "--root",
        ...late.map((name) => `--${name}`),
        "--net",
        "--ipc",
        "--hostname",
        "other",
        "--pid",
        "box",
      ]);
      const kinds = ["net", "ipc", "uts", "pid", "user"];
      const theirs = await lines("exec", "box", "sh", "-c", namespaces(...kinds));
      const apart = await lines("exec", "box", "sh", "-c", namespaces(...late));
      for (const [i, name] of late.entries()) assert.notEqual(apart[i], ours(name), name);
      const joins = ["net", "ipc", "uts", "pid"].map((name) => `--${name}=container:box`);
      const script = `${namespaces(...kinds)}; hostname; id -u; ls -d /proc/1; ls -A /etc/mine 2>&1; ls /sys/class/net`;
      const joined = await lines("run", ...joins, "busybox", "sh", "-c", script);
      assert.deepEqual(joined.slice(0, 4), theirs.slice(0, 4));
      assert.equal(joined[4], theirs[4]);
      assert.deepEqual(joined.slice(5), ["other", "0", "/proc/1", "ls: /etc/mine: No such file or directory", "lo"]);
      // In place, and by pid; the mount namespace is its own.
      const byPid = await lines(
        "run",
        `--net=pid:${other.inside}`,
        "--ipc",
        "busybox",
        "sh",
        "-c",
        namespaces("net", "ipc"),
      );
      assert.equal(byPid[0], theirs[0]);
      assert.notEqual(byPid[1], theirs[1]);
      const listed = await lines("run", `--pid=pid:${other.pid}`, "busybox", "sh", "-c", namespaces("pid"));
      assert.equal(listed[0], theirs[3], "the pid that list shows");
      assert.equal((await box.run(["run", ...joins, "busybox", "sh", "-c", "exit 7"])).status, 7);
      assert.equal((await box.run(["run", ...joins, "busybox", "nothing"])).status, 127);
      await other.end();
    });

    test("one that shares the host's network and processes is joined all the same", async () => {
      const other = await startBeside(box, ["start", "--uts", "box"]);
      const joins = ["net", "pid", "uts"].map((name) => `--${name}=container:box`);
      const joined = await lines("run", ...joins, "busybox", "sh", "-c", namespaces("net", "pid", "uts"));
      assert.deepEqual(joined, [ours("net"), ours("pid"), readlinkSync(`/proc/${other.inside}/ns/uts`)]);
      await other.end();
    });

    // Many starts for a kernel where each takes seconds; nothing of it is about the kernel.
    if (oldestKernel) return;
    test("what cannot be joined is refused", async () => {
      await box.must(["create", "busybox", "--name", "second"]);
      const one = await startBeside(box, ["start", "--net", "--ipc", "box"]);
      const two = await startBeside(box, ["start", "--net", "--ipc", "second"]);
      const refused: [string[], string][] = [
        [["--net=container:none"], "E_NOT_FOUND"],
        [["--net=pid:4194303"], "E_NOT_FOUND"],
        [["--uts=container:box", "--hostname", "x"], "E_CONFLICT"],
        ...(kind === "root"
          ? []
          : ([
              [["--net=container:box", "--ipc=container:second"], "E_CONFLICT"],
              [["--net=container:box", "--root"], "E_CONFLICT"],
              [["--net=pid:1"], "E_USERNS"],
            ] as [string[], string][])),
      ];
      for (const [flags, code] of refused) {
        const { status, stderr } = await box.run(["run", ...flags, "busybox", "true"]);
        assert.equal(status, 125, flags.join(" "));
        assert.match(stderr, new RegExp(code), flags.join(" "));
      }
      if (kind === "root") {
        const both = ["--net=container:box", "--ipc=container:second"];
        const inside = await lines("run", ...both, "busybox", "sh", "-c", namespaces("net", "ipc"));
        assert.deepEqual(inside, [
          readlinkSync(`/proc/${one.inside}/ns/net`),
          readlinkSync(`/proc/${two.inside}/ns/ipc`),
        ]);
      }
      await one.end();
      await two.end();
      await box.must(["remove", "second"]);
    });
  });
}
