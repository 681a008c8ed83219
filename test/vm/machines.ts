/** npm run test:vm: virtual machines of every kind of user, with the image's own kernel, with systemd, and of a disk. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { chmodSync, cpSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { busyboxBox } from "../support/boxes.ts";
import { rootling, rootlingOnTerminal, rootlingWords } from "../support/cli.ts";
import { background, command, must } from "../support/command.ts";
import { busyboxRoot } from "../support/images.ts";
import { machineKernel, machineProcesses } from "../support/machine.ts";
import { tempDirectory } from "../support/temp.ts";
import { type TestUser, testUser, userKinds } from "../support/users.ts";

/** Milliseconds: without KVM a system takes half a minute to boot. */
const PATIENCE = 300_000;

const { file, version } = machineKernel();
const machine = ["start", "--vm", "--kernel", file];
const nonceOf = (): string => randomBytes(8).toString("hex");

/** Files that starts have left beside their plans. */
const leavings = (user: TestUser): string[] => readdirSync(join(user.env.ROOTLING_RUNTIME_PATH ?? "", "wires"));

for (const kind of userKinds) {
  describe(`virtual machines as ${kind}`, () => {
    test("memory, processors, user, and a root that is read-only", async (t) => {
      const box = await busyboxBox(kind);
      t.after(() => box.remove());
      const script = "free -m | sed -n 2p; nproc; id -u; touch /x 2>/dev/null || echo sealed; exit 200";
      const words = [...machine, "--memory", "300m", "--cpus", "2", "--user", "65534", "box", "sh", "-c", script];
      const { stdout, stderr, status } = await box.run(words, { timeout: PATIENCE });
      assert.equal(status, 200, stdout + stderr);
      const [memory = "", processors, user, sealed] = stdout.trim().split("\n");
      const megabytes = Number(memory.trim().split(/\s+/)[1]);
      assert.ok(megabytes > 200 && megabytes < 300, memory);
      assert.deepEqual([processors, user, sealed], ["2", "65534", "sealed"]);
    });

    test("changes of `run --vm` are gone, a signal ends it, and a crash leaves nothing", async (t) => {
      const box = await busyboxBox(kind);
      t.after(() => box.remove());
      const words = ["run", "--vm", "--kernel", file, "busybox", "sh", "-c"];
      assert.equal(await box.must([...words, "touch /x; ls /x"], { timeout: PATIENCE }), "/x\n");
      for (const signal of ["SIGTERM", "SIGKILL"] as const) {
        let said = "";
        const running = background(box.user.words(rootlingWords(...words, "test -e /x || echo up; sleep 1000")), {
          env: { ...box.user.env },
          cwd: box.user.home,
          onStart: (child) => child.stdout?.on("data", (data: Buffer) => (said += data.toString())),
        });
        for (let i = 0; i < 1200 && !said.includes("up"); i++) await new Promise((go) => setTimeout(go, 100));
        assert.match(said, /up/);
        const outcome = await running.end(signal);
        if (signal === "SIGTERM") assert.equal(outcome.status, 143, outcome.stderr);
        for (let i = 0; i < 50 && machineProcesses(box.user).length > 0; i++)
          await new Promise((go) => setTimeout(go, 100));
        assert.deepEqual(machineProcesses(box.user), [], signal);
        // What the killed one could not remove, the next start does.
        await box.must(["start", "box", "true"]);
        assert.deepEqual(leavings(box.user), [], signal);
      }
    });
  });
}

test("the image's own kernel, and a console on a terminal", async (t) => {
  const user = await testUser(t, "root");
  const root = join(user.home, "root");
  await busyboxRoot(root);
  mkdirSync(join(root, "boot"));
  cpSync(file, join(root, "boot", `vmlinuz-${version}`));
  const nonce = nonceOf();
  const script = `tty; test -t 1 && echo terminal ${nonce} $(uname -r)`;
  const { stdout, status } = await rootlingOnTerminal(user, ["start", "--vm", `dir:${root}`, "sh", "-c", script], {
    timeout: PATIENCE,
  });
  assert.equal(status, 0, stdout);
  assert.match(stdout, new RegExp(`terminal ${nonce} ${version}\r+\n`));
});

describe("Debian in a virtual machine", () => {
  const packages = "systemd,systemd-sysv,iproute2,kmod";

  test("systemd boots as process 1 with cgroup v2, and says the nonce", async (t) => {
    const user = await testUser(t, "root");
    const root = await debian(t, packages);
    const nonce = nonceOf();
    const unit = [
      ...["[Unit]", "After=basic.target", "[Service]", "Type=oneshot", "StandardOutput=tty", "TTYPath=/dev/ttyS0"],
      `ExecStart=/bin/sh -c 'echo nonce ${nonce} $(cat /proc/1/comm) $(cat /sys/fs/cgroup/cgroup.controllers)'`,
      ...["ExecStartPost=/bin/systemctl --no-block poweroff", "[Install]", "WantedBy=multi-user.target"],
    ];
    await must(["tee", join(root, "etc/systemd/system/nonce.service")], { input: `${unit.join("\n")}\n` });
    await must(["systemctl", `--root=${root}`, "enable", "nonce.service"]);
    const { stdout, stderr, status } = await rootling(user, [...machine, "--rw", `dir:${root}`, "/sbin/init"], {
      timeout: PATIENCE,
    });
    assert.match(stdout, new RegExp(`nonce ${nonce} systemd .*memory.*pids`), stdout + stderr);
    assert.equal(status, 0, stderr);
  });

  test("a disk of `import --format qcow2` boots with its own init", async (t) => {
    const temp = tempDirectory(t);
    const root = join(temp, "root");
    await busyboxRoot(root);
    const nonce = nonceOf();
    const user = await testUser(t, "root");
    const [disk, boot, init] = [join(temp, "disk.qcow2"), join(temp, "boot.img"), join(temp, "init.yml")];
    const config = ["setup:", "  before:", "    - mount -t ext4 /dev/vda /mnt/root"];
    config.push("exec:", `  command: [/bin/sh, -c, "echo nonce ${nonce} $(uname -r); poweroff -f"]`);
    await must(["tee", init], { input: `${config.join("\n")}\n` });
    const build = async (...words: string[]) => {
      const { status, stderr } = await rootling(user, words);
      assert.equal(status, 0, stderr);
    };
    await build("import", `dir:${root}`, "-o", disk, "--format", "qcow2", "--flatten");
    const modules = ["--module", "virtio_pci", "--module", "virtio_blk", "--module", "ext4"];
    await build(
      "bootfs",
      "build",
      "-o",
      boot,
      "--format",
      "initramfs",
      "--kernel",
      version,
      ...modules,
      "--config",
      init,
    );
    const qemu = ["qemu-system-x86_64", "-nodefaults", "-no-reboot", "-display", "none", "-m", "512M", "-cpu", "max"];
    const { stdout } = await command(
      [
        ...[...qemu, "-serial", "stdio", "-kernel", file, "-initrd", boot],
        ...["-append", "console=ttyS0 quiet panic=-1", "-drive", `file=${disk},if=virtio,format=qcow2`],
      ],
      { timeout: PATIENCE },
    );
    assert.match(stdout, new RegExp(`nonce ${nonce} ${version}`));
  });
});

/** A root of Debian by mmdebstrap. */
async function debian(t: Parameters<typeof tempDirectory>[0], packages: string): Promise<string> {
  const temp = tempDirectory(t);
  const root = join(temp, "debian");
  chmodSync(temp, 0o755);
  // Where the machine's clock is ahead of its mirror, lists have expired.
  const options = ["--variant=minbase", `--include=${packages}`, '--aptopt=Acquire::Check-Valid-Until "false"'];
  await must(["mmdebstrap", ...options, "bookworm", root], { timeout: PATIENCE });
  return root;
}
