/** Settings of the payload's process and of its namespaces. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { type Box, busyboxBox } from "../support/boxes.ts";
import { oldestKernel, userKinds } from "../support/users.ts";

for (const kind of userKinds) {
  describe(`settings as ${kind}`, () => {
    let box: Box;
    before(async () => {
      box = await busyboxBox(kind);
    });
    after(() => box.remove());

    for (const topology of oldestKernel ? [["--pid"]] : [[], ["--pid"]]) {
      test(`limits, mask and priorities reach the payload ${topology}`, async () => {
        const script =
          "ulimit -n; ulimit -H -n; ulimit -c; umask; cat /proc/self/oom_score_adj; cut -d' ' -f19 /proc/self/stat";
        const flags = ["--ulimit", "nofile=64:128", "--ulimit", "core=0", "--umask", "027", "--oom-score-adj", "500"];
        const said = await box.must(["run", ...topology, ...flags, "--nice", "19", "busybox", "sh", "-c", script]);
        assert.equal(said, "64\n128\n0\n0027\n500\n19\n");
        assert.equal(await box.must(["run", "--umask", "0", "busybox", "sh", "-c", "umask"]), "0000\n");
      });

      test(`sysctls of its own namespaces ${topology}`, async () => {
        const keys = { "net.ipv4.ip_default_ttl": "17", "net.ipv4.ping_group_range": "0\t0" };
        const ours = readFileSync("/proc/sys/net/ipv4/ip_default_ttl", "utf8");
        const flags = Object.entries(keys).flatMap(([key, value]) => [
          "--sysctl",
          `${key}=${value.replace("\t", " ")}`,
        ]);
        const script = "cat /proc/sys/net/ipv4/ip_default_ttl /proc/sys/net/ipv4/ping_group_range";
        const said = await box.must(["run", "--root", "--net", ...topology, ...flags, "busybox", "sh", "-c", script]);
        assert.equal(said, "17\n0\t0\n");
        assert.equal(readFileSync("/proc/sys/net/ipv4/ip_default_ttl", "utf8"), ours);
      });
    }

    test("what would change the host, or is not to be had, is refused", async () => {
      const refused: [string[], RegExp][] = [
        [["--sysctl", "kernel.core_pattern=x"], /belongs to the whole machine/],
        [["--sysctl", "net.ipv4.ip_default_ttl=17"], /would change the host.*--net/s],
        [["--net", "--sysctl", "net.ipv4.no_such_thing=1"], /sysctl net.ipv4.no_such_thing|sysctl net\/ipv4/],
        [["--ulimit", "nofile=999999999"], kind === "root" ? /./ : /ulimit nofile/],
        ...(kind === "root"
          ? []
          : ([
              [["--nice", "-5"], /nice -5/],
              [["--oom-score-adj=-900"], /oom-score-adj -900/],
            ] as [string[], RegExp][])),
      ];
      for (const [flags, what] of refused) {
        const { status, stderr } = await box.run(["run", ...flags, "busybox", "true"]);
        assert.equal(status, 125, flags.join(" "));
        assert.match(stderr, what);
      }
    });
  });
}
