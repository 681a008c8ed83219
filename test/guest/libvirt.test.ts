/** Guests under libvirt's LXC driver: a real libvirt, which starts the boot file system; its init enters the next root. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import {
  bootDirectory,
  type Libvirt,
  proofOf,
  prove,
  runningGuests,
  startGuest,
  startLibvirt,
  waitForEnd,
  waitForText,
} from "../support/guest.ts";
import { busyboxRoot } from "../support/images.ts";
import { makeTemp } from "../support/temp.ts";
import { needsRoot } from "../support/users.ts";

const SHIFT = 1_000_000;

describe("a guest of libvirt-LXC", needsRoot("libvirt's LXC driver"), () => {
  const scratch = makeTemp();
  let libvirt: Libvirt;
  let boot: string;
  let root: string;
  before(async () => {
    libvirt = await startLibvirt();
    boot = await bootDirectory(scratch.path);
    root = join(scratch.path, "root");
    await busyboxRoot(root);
    writeFileSync(join(root, "etc/own"), "lower\n");
  });
  after(async () => {
    await libvirt?.stop();
    await scratch.remove();
  });

  const start = (name: string, init: string, fails = false) =>
    startGuest(libvirt, join(scratch.path, name), name, init, { boot, root, fails });

  test("boots an overlay over its read-only root with ids of its own, and ends by initctl", async () => {
    const nonce = randomBytes(8).toString("hex");
    const lines = [
      `id_map: {users: 0 ${SHIFT} 65536, groups: 0 ${SHIFT} 65536}`,
      "initctl: true",
      "devices: {exclude: [full], rexclude: ['z.r.']}",
      "setup:",
      "  before:",
      `    - mount-idmapped --map-mount=b:0:${SHIFT}:65536 /mnt/root /mnt/root`,
      "    - overlay",
      "exec:",
      "  before:",
      "    - command: sh -e",
      "      input: |",
      `        ${prove(nonce)}`,
      "        echo ids $(cat /proc/self/uid_map); echo me $(id -u):$(id -g)",
      "        echo file $(stat -c %u:%g /etc/own) $(cat /etc/own)",
      "        echo changed >/etc/own; touch /new; echo net $(ls /sys/class/net)",
      "        echo devices $(ls /dev)",
      "        echo cgroup $(stat -f -c %t /sys/fs/cgroup)",
      // Run level 0, as halt of sysvinit writes it: magic, command 1, run level, and zeros up to 384 bytes.
      "        printf '\\151\\031\\011\\003\\001\\000\\000\\000\\060\\000\\000\\000' >/tmp/request",
      "  command: [sh, -c, \"trap 'echo ended by SIGTERM; sleep 1; exit 0' TERM; dd if=/tmp/request of=/dev/initctl bs=384 count=1 conv=sync 2>/dev/null; while :; do sleep 1; done\"]",
    ];
    const { console, cache } = await start("first", lines.join("\n"));
    const said = await waitForText(console, /ended by|mend:/);
    assert.match(said, new RegExp(proofOf(nonce)));
    assert.match(said, new RegExp(`ids 0 ${SHIFT} 65536`));
    assert.match(said, /me 0:0/);
    assert.match(said, /file 0:0 lower/);
    assert.match(said, /net lo\s/);
    const devices = /devices (.*?)\n/.exec(said)?.[1]?.split(" ") ?? [];
    for (const name of ["console", "null", "ptmx", "pts", "random", "shm", "tty"])
      assert.ok(devices.includes(name), said);
    for (const name of ["full", "zero"]) assert.ok(!devices.includes(name), said);
    assert.match(said, /cgroup 63677270/);
    assert.match(said, /ended by SIGTERM/);
    await waitForEnd(libvirt, "first");
    // From outside: what the guest changed is in the cache, its owners shifted; the root is as it was.
    const upper = join(cache, "overlay/upper");
    assert.equal(readFileSync(join(upper, "etc/own"), "utf8"), "changed\n");
    assert.equal(statSync(join(upper, "new")).uid, SHIFT);
    assert.equal(readFileSync(join(root, "etc/own"), "utf8"), "lower\n");
    assert.ok(!existsSync(join(root, "new")));
  });

  test("what is wrong is said on the console, and ends the guest", async () => {
    const wrong: readonly [string, RegExp][] = [
      ["root: /mnt/nowhere", /mount-point.*\/mnt\/nowhere.*\n.*\n.*mend: see whether that is there/],
      [
        "setup: {before: [overlay /mnt/layers/none]}",
        /overlay: realpath \/mnt\/layers\/none[\s\S]*mend:[\s\S]*from: init.yml:1/,
      ],
      ["exec: {before: [[sh, -c, 'exit 3']]}", /status 3/],
      ["exec: /etc/own", /\/etc\/own.*Permission denied\n.*\n.*mend: give it execute permission, or a first line/],
      ["roots: /mnt", /unknown key "roots"[\s\S]*from: init.yml:1:1/],
    ];
    for (const [i, [init, expected]] of wrong.entries()) {
      const { console } = await start(`wrong${i}`, init, true);
      assert.match(await waitForText(console, expected), expected);
      writeFileSync(join(scratch.path, `wrong${i}`, "config/seen"), "");
      await waitForEnd(libvirt, `wrong${i}`);
    }
  });

  test("leaves nothing on the host", async () => {
    assert.deepEqual(await runningGuests(libvirt), []);
    // Hierarchies in which libvirt made no cgroup for the guest are the host's as before.
    for (const name of readdirSync("/sys/fs/cgroup")) assert.equal(statSync(join("/sys/fs/cgroup", name)).uid, 0, name);
    assert.ok(!readdirSync("/sys/class/net").some((name) => name.startsWith("vnet")));
  });
});
