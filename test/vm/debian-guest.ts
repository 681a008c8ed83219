/** npm run test:vm: Debian's own init as a guest of libvirt-LXC, with ids and an interface of its own, and lcboot's example. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { must } from "../support/command.ts";
import {
  bootDirectory,
  type Libvirt,
  proofOf,
  prove,
  startGuest,
  startLibvirt,
  waitForEnd,
  waitForText,
} from "../support/guest.ts";
import { makeTemp } from "../support/temp.ts";
import { needsRoot } from "../support/users.ts";

const SHIFT = 1_000_000;
const PATIENCE = 600_000;
const BRIDGE = "guests0";

describe("Debian as a guest", needsRoot("libvirt's LXC driver"), () => {
  const scratch = makeTemp();
  let libvirt: Libvirt;
  let places: { boot: string; root: string; bridge: string };
  before(async () => {
    const root = join(scratch.path, "debian");
    const options = ["--variant=minbase", "--skip=output/dev", '--aptopt=Acquire::Check-Valid-Until "false"'];
    const packages = "--include=sysvinit-core,busybox,iproute2";
    await must(["mmdebstrap", "--quiet", ...options, packages, "bookworm", root], { timeout: PATIENCE });
    mkdirSync(join(root, "dev"), { recursive: true });
    libvirt = await startLibvirt(BRIDGE);
    places = { boot: await bootDirectory(scratch.path), root, bridge: BRIDGE };
  });
  after(async () => {
    await libvirt?.stop();
    await scratch.remove();
  });
  const start = (name: string, lines: readonly string[], layers: readonly string[] = []) =>
    startGuest(libvirt, join(scratch.path, name), name, lines.join("\n"), { ...places, layers });
  const mapped = [
    `id_map: {users: 0 ${SHIFT} 65536, groups: 0 ${SHIFT} 65536}`,
    "initctl: true",
    "setup:",
    "  before:",
    `    - mount-idmapped --map-mount=b:0:${SHIFT}:65536 /mnt/root /mnt/root`,
    "    - overlay",
  ];

  test("its sysvinit boots, is reached by the bridge, looks right from outside, and halts", async () => {
    const nonce = randomBytes(8).toString("hex");
    const script = [
      `${prove(nonce)}; echo one $(cat /proc/1/comm) ids $(cat /proc/self/uid_map)`,
      "ip link set eth0 up; ip address add 10.77.0.2/24 dev eth0; busybox ping -c1 10.77.0.1 >/dev/null && echo reached",
      "echo devices $(ls /dev); touch /kept; echo booted; while [ ! -e /end ]; do sleep 0.1; done; halt",
    ];
    const { console, cache } = await start("sysvinit", [
      ...mapped,
      "devices: {exclude: [full]}",
      "exec:",
      "  before:",
      "    - command: sh -e",
      "      input: |",
      "        sed -i /getty/d /etc/inittab",
      "        echo 'ts:2:once:/bin/sh /script >/dev/console 2>&1' >>/etc/inittab",
      "        cat >/script <<'END'",
      ...script.map((line) => `        ${line}`),
      "        END",
    ]);
    const said = await waitForText(console, /booted/, 60);
    assert.match(said, new RegExp(proofOf(nonce)));
    assert.match(said, new RegExp(`one init ids 0 ${SHIFT} 65536`));
    assert.match(said, /reached/);
    assert.match(said, /devices console .*initctl .*null .*ptmx .*zero/);
    assert.doesNotMatch(said, /devices .*\bfull\b/);
    const first = await firstProcess("sysvinit");
    assert.match(readFileSync(`/proc/${first}/status`, "utf8"), new RegExp(`^Uid:\\t${SHIFT}\\t${SHIFT}\\t`, "m"));
    const dev = `/proc/${first}/root/dev`;
    assert.deepEqual([statSync(`${dev}/null`).rdev, statSync(`${dev}/null`).uid], [(1 << 8) | 3, SHIFT]);
    assert.ok(!readdirSync(dev).includes("full"));
    const group = /:(?:freezer|):(\/machine.*)$/m.exec(readFileSync(`/proc/${first}/cgroup`, "utf8"))?.[1] ?? "";
    assert.equal(statSync(join("/sys/fs/cgroup/freezer", group)).uid, SHIFT);
    assert.equal(statSync(join(cache, "overlay/upper/kept")).uid, SHIFT);
    await must(["touch", join(`/proc/${first}/root`, "end")]);
    await waitForText(console, /Will now halt/, 90);
    // Its reboot(2) is not allowed in a PID namespace of another owner.
    await libvirt.run("virsh", "-q", "-c", "lxc:///", "destroy", "sysvinit");
  });

  test("telinit of sysvinit ends a guest of another init", async () => {
    const { console } = await start("telinit", [
      ...mapped,
      "exec:",
      "  before:",
      "    - ln -s /dev/initctl /run/initctl",
      "  command: [sh, -c, \"trap 'echo ended by SIGTERM; exit' TERM; telinit 0; while :; do sleep 0.1; done\"]",
    ]);
    await waitForText(console, /ended by SIGTERM/);
    await waitForEnd(libvirt, "telinit");
  });

  test("the example of lcboot's page, with a script in place of systemd", async () => {
    const layers = ["0", "1"].map((name) => join(scratch.path, "layers", name));
    for (const layer of layers) mkdirSync(join(layer, "etc"), { recursive: true });
    for (const layer of layers) writeFileSync(join(layer, "etc/uppermost"), layer.at(-1) ?? "");
    const example = readFileSync(join(import.meta.dirname, "../boot/init/readme.yml"), "utf8");
    const nonce = randomBytes(8).toString("hex");
    const own = `  command: [bash, -c, "${prove(nonce)}; echo uppermost $(cat /etc/uppermost)"]`;
    const { console } = await start("example", [example.replace(/^ {2}command: \/lib.*$/m, own)], layers);
    const said = await waitForText(console, /uppermost 1/);
    for (const text of [
      "Hello, 'next hop' root!",
      "interpreted by real shell (bash)!",
      "via `cli` key.",
      proofOf(nonce),
    ])
      assert.ok(said.includes(text), said);
    await waitForEnd(libvirt, "example");
  });

  /** What libvirt's controller of the guest has started. */
  async function firstProcess(name: string): Promise<string> {
    const list = await libvirt.run("virsh", "-q", "-c", "lxc:///", "list");
    const pid = new RegExp(`^ *(\\d+) +${name} `, "m").exec(list)?.[1] ?? "";
    return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
  }
});
