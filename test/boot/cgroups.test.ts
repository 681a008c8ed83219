/** Where a process is in the cgroups of its host, from what /proc says. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { readHierarchies } from "../../src/boot/cgroup-facts.ts";

const mount = (root: string, path: string, type: string, options: string) =>
  `30 24 0:26 ${root} ${path} rw,nosuid shared:4 - ${type} cgroup rw,${options}`;

test("version 2 alone, in a session", () => {
  const [only, none] = readHierarchies(
    mount("/", "/sys/fs/cgroup", "cgroup2", "nsdelegate"),
    "0::/user.slice/user-1000.slice/session-2.scope\n",
  );
  assert.equal(none, undefined);
  assert.equal(only?.own, "/sys/fs/cgroup/user.slice/user-1000.slice/session-2.scope");
});

test("hybrid: version 1 with its controllers, some of them mounted together", () => {
  const mountinfo = [
    mount("/", "/sys/fs/cgroup/unified", "cgroup2", ""),
    mount("/", "/sys/fs/cgroup/cpu,cpuacct", "cgroup", "cpu,cpuacct"),
    mount("/", "/sys/fs/cgroup/systemd", "cgroup", "xattr,name=systemd"),
    "31 24 0:5 / /dev rw - devtmpfs dev rw",
  ].join("\n");
  const found = readHierarchies(mountinfo, "4:cpu,cpuacct:/a\n1:name=systemd:/s\n0::/\n");
  assert.deepEqual(
    found.map(({ version, own, controllers }) => [version, own, controllers.join()]),
    [
      [2, "/sys/fs/cgroup/unified", ""],
      [1, "/sys/fs/cgroup/cpu,cpuacct/a", "cpu,cpuacct"],
      [1, "/sys/fs/cgroup/systemd/s", "name=systemd"],
    ],
  );
});

test("in a container, whose mount begins at its own cgroup", () => {
  const [one] = readHierarchies(mount("/docker/ab", "/sys/fs/cgroup/pids", "cgroup", "pids"), "2:pids:/docker/ab/x\n");
  assert.equal(one?.own, "/sys/fs/cgroup/pids/x");
  const [top] = readHierarchies(mount("/docker/ab", "/sys/fs/cgroup/pids", "cgroup", "pids"), "2:pids:/docker/ab\n");
  assert.equal(top?.own, "/sys/fs/cgroup/pids");
});
