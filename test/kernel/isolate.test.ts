/** `--isolate`, `--seccomp`, `--cap-add` and `--cap-drop`: what is left, on this kernel and the oldest. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { type Box, busyboxBox } from "../support/boxes.ts";
import { Bed } from "../support/probe.ts";
import { userKinds } from "../support/users.ts";

for (const kind of userKinds) {
  describe(`confinement as ${kind}`, () => {
    let box: Box;
    before(async () => {
      box = await busyboxBox(kind);
    });
    after(() => box.remove());

    const capabilities = async (...flags: string[]) => {
      const status = await box.must(["run", ...flags, "busybox", "grep", "^Cap", "/proc/self/status"]);
      return Object.fromEntries(
        [...status.matchAll(/^Cap(\w+):\s*([0-9a-f]+)$/gm)].map(([, set, mask]) => [set, BigInt(`0x${mask}`)]),
      );
    };

    test("every fact of an isolated sandbox holds", async (t) => {
      const bed = await Bed.create(kind);
      t.after(() => bed.remove());
      const { ok, bad, unable } = await bed.run("--isolate");
      assert.deepEqual([...bad], []);
      assert.deepEqual(unable, []);
      assert.ok(ok.size >= 100, `${ok.size} facts`);
    });

    test("what a container keeps is the same with and without --isolate", async () => {
      const sh = (words: readonly string[], script: string) =>
        box.must(["start", ...words, "box", "sh", "-c", `set -e; ${script}`]);
      const rw = ["--rw", ...(kind === "root" ? [] : ["--root"])];
      await sh(rw, "mkdir -p /srv/d; echo 1 >/srv/d/one; rm -r /home; mkdir /home; echo x >/home/plain");
      await sh(
        ["--rw", "--isolate", "--root"],
        "cat /home/plain; rm -r /srv; mkdir /srv; echo 2 >/srv/two; rm -r /tmp",
      );
      const state = "ls -d /srv/* /home/*; stat -c %u:%g /srv/two /home/plain; test ! -e /tmp";
      const seen = "/home/plain\n/srv/two\n0:0\n0:0\n";
      for (const words of [rw, rw.slice(1), ["--isolate", "--root"]]) assert.equal(await sh(words, state), seen);
      assert.match(await box.must(["diff", "box"]), /D \/tmp\n/);
      await box.must(["reset", "box"]);
    });

    test("its first process tells nothing of the host's paths", async () => {
      const script = "cat /proc/1/comm; tr '\\0' ' ' </proc/1/cmdline";
      const [name, words = ""] = (await box.must(["run", "--isolate", "busybox", "sh", "-c", script])).split("\n");
      assert.deepEqual([name, words.trim()], ["rootling", "rootling"]);
    });

    test("capabilities are added and dropped by name, in all sets", async () => {
      const root = kind === "root";
      const usual = await capabilities("--root");
      const chown = 1n;
      const netRaw = 1n << 13n;
      const without = await capabilities("--root", "--cap-drop", "CAP_CHOWN");
      for (const set of ["Prm", "Eff", "Bnd"]) assert.equal(without[set], (usual[set] ?? 0n) & ~chown, set);
      const added = await capabilities("--root", "--cap-drop", "all");
      for (const set of ["Inh", "Prm", "Eff", "Bnd", "Amb"]) assert.equal(added[set], 0n, set);
      if (root) {
        const more = await capabilities("--cap-add", "net_raw,sys_chroot");
        for (const set of ["Prm", "Eff", "Bnd"]) assert.equal(more[set], (usual[set] ?? 0n) | netRaw, set);
      }
      for (const set of ["Inh", "Amb"]) assert.equal(usual[set], 0n);
    });

    test("a capability that cannot be had is refused before anything is done", async () => {
      const refused: [words: string[], says: RegExp][] = [
        [["--cap-add", "nonsense"], /E_USAGE[\s\S]*--cap-add/],
        [["--isolate", "--cap-add", "chown"], /E_CONFLICT[\s\S]*--cap-add/],
        [["--seccomp", "loose"], /E_USAGE[\s\S]*--seccomp=strict/],
        [["--isolate", "--net=host"], /E_CONFLICT[\s\S]*--net/],
        ...(kind === "root"
          ? ([
              [["--user", "demo", "--cap-add", "chown"], /E_CONFLICT.*\n.*--cap-add/],
              [["--isolate", "--map", "self"], /E_CONFLICT[\s\S]*--map/],
            ] as [string[], RegExp][])
          : ([[["--cap-add", "chown"], /only root of a container[\s\S]*--root/]] as [string[], RegExp][])),
      ];
      for (const [words, says] of refused) {
        const { status, stdout, stderr } = await box.run(["run", ...words, "busybox", "echo", "ran"]);
        assert.ok(status === 125 || status === 2, stderr);
        assert.match(stderr, says);
        assert.equal(stdout, "");
      }
    });

    test("the filter alone refuses mounts and namespaces, and no filter does not", async () => {
      const script = "mount -t tmpfs none /home 2>/dev/null && echo mounted; echo end";
      assert.equal(await box.must(["run", "--root", "--seccomp=strict", "busybox", "sh", "-c", script]), "end\n");
      const mounts = kind === "root" ? ["--cap-add", "sys_admin"] : [];
      assert.equal(
        await box.must(["run", "--root", "--seccomp=none", ...mounts, "busybox", "sh", "-c", script]),
        "mounted\nend\n",
      );
    });

    test("the host's own root cannot be isolated", async () => {
      const { status, stderr } = await box.run(["run", "--isolate", "host:", "true"]);
      assert.equal(status, 125);
      assert.match(stderr, /E_CONFLICT[\s\S]*name an image/);
    });
  });
}
