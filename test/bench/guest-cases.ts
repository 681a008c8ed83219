/** Guests: the way from /sbin/init to the next root, the boot file system, and the start of a virtual machine. */
import { join } from "node:path";
import { rootlingWords } from "../support/cli.ts";
import { shellWord } from "../support/command.ts";
import { guestProgram } from "../support/guest.ts";
import { machineKernel } from "../support/machine.ts";
import { type Bed, type Case, OURS, ratioBar } from "./case.ts";

/**
 * With two layers over an idmapped root. A guest of the host's namespaces gets no more: to move the host's network
 * interfaces into it would be no measurement.
 */
export const initCase = (bed: Bed): Case => {
  const at = (name: string) => shellWord(join(bed.work, name));
  const guest = guestProgram();
  const config = [
    "root: WORK/next",
    "setup:",
    "  mode: none",
    "  before:",
    `    - ${guest} mount-idmapped --map-mount=b:0:1000000:65536 WORK/next WORK/next`,
    `    - ${guest} overlay --path WORK/next --cache WORK/cache -- WORK/one WORK/two`,
    "exec: [/bin/busybox, true]",
  ].map((line) => line.replaceAll("WORK", bed.work));
  return {
    name: "guest-init",
    about: "from /sbin/init to the next root's first instruction: two overlay layers over an idmapped root",
    repetitions: 20,
    warmups: 2,
    before: [
      `mkdir -p ${["one/srv", "two/srv", "cache"].map(at).join(" ")}`,
      `cp -a ${shellWord(bed.rootfs)} ${at("next")}`,
      `printf '%s\\n' ${config.map(shellWord).join(" ")} >${at("init.yml")}`,
    ].join(" && "),
    subjects: [
      { name: OURS, run: ["unshare", "--mount", guest, "init", "--config", join(bed.work, "init.yml")] },
      { name: "unshare alone", run: ["unshare", "--mount", "/bin/busybox", "true"] },
    ],
    bars: [{ text: "CPU time at most 0.010 s", limit: 0.01, value: (medians) => medians.get(OURS)?.cpu ?? Number.NaN }],
  };
};

/** Both boot the same kernel to a first word; the peer without a root, and without a program that starts it. */
export const machineCase = (bed: Bed): Case => {
  const { file, version } = machineKernel();
  const boot = join(bed.work, "boot.img");
  const modules = ["--module", "virtio_pci", "--module", "virtiofs"];
  const make = [
    "bootfs",
    "build",
    "-o",
    boot,
    "--format",
    "initramfs",
    "--comp",
    "none",
    "--kernel",
    version,
    ...modules,
  ];
  const script = "echo up; poweroff -f";
  const config = join(bed.work, "machine.yml");
  const text = ["root: {path: /, mode: none}", "setup: none", `exec: [/bin/sh, -c, "${script}"]`];
  return {
    name: "machine",
    about: "a virtual machine to the first word of its payload, and its end",
    repetitions: 3,
    warmups: 1,
    before: [
      `printf '%s\\n' ${text.map(shellWord).join(" ")} >${shellWord(config)}`,
      rootlingWords(...make, "--config", config)
        .map(shellWord)
        .join(" "),
    ].join(" && "),
    subjects: [
      { name: OURS, run: rootlingWords("run", "--vm", "--kernel", file, `dir:${bed.rootfs}`, "sh", "-c", "echo up") },
      {
        name: "qemu -kernel -initrd",
        run: [
          ...["qemu-system-x86_64", "-nodefaults", "-no-reboot", "-display", "none", "-m", "1G", "-cpu", "max"],
          ...["-machine", "q35,accel=tcg", "-serial", "stdio", "-kernel", file, "-initrd", boot],
          ...["-append", "console=ttyS0 quiet loglevel=1 panic=-1"],
        ],
      },
    ],
    bars: [ratioBar("wall", "qemu -kernel -initrd", 1.2)],
  };
};
