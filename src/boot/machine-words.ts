/** The words of QEMU and of virtiofsd for a virtual machine. Pure. */
import { ROOT_TAG } from "./lower-machine.ts";

export interface Machine {
  /** qemu-system-ARCH. */
  readonly emulator: string;
  readonly kernel: string;
  /** Bytes. */
  readonly memory: number;
  readonly cpus: number;
  /** The processor runs it (KVM), or QEMU translates (TCG). */
  readonly accelerated: boolean;
  /** Words for the machine's first process. */
  readonly first: readonly string[];
}

/** Names in the directory that the emulator works in; executor/machine.c knows `fs` and `status`, too. */
export const machineFiles = { initramfs: "initramfs", socket: "fs", status: "status" } as const;

/** What the kernel is told; the rest is for the first process. `panic=-1`: whoever panics ends. */
const kernelWords = ({ first }: Pick<Machine, "first">): string =>
  ["console=ttyS0", "quiet", "loglevel=1", "panic=-1", "rdinit=/sbin/machine", "--", ...first].join(" ");

/** https://www.qemu.org/docs/master/system/invocation.html; the console is the caller's terminal, Ctrl-C included. */
export function emulatorWords(machine: Machine): string[] {
  const { memory, cpus, accelerated } = machine;
  const mebibytes = `${Math.ceil(memory / 2 ** 20)}M`;
  return [
    ...commonWords(machine),
    ...["-cpu", accelerated ? "host" : "max", "-smp", String(cpus), "-m", mebibytes],
    ...["-machine", `q35,accel=${accelerated ? "kvm" : "tcg"},memory-backend=memory`],
    // The file server reads and writes the machine's memory.
    ...["-object", `memory-backend-memfd,id=memory,size=${mebibytes},share=on`],
    ...["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"],
    ...["-chardev", `file,id=status,path=${machineFiles.status}`, "-serial", "chardev:status"],
    ...["-chardev", `socket,id=fs,path=${machineFiles.socket}`],
    ...["-device", `vhost-user-fs-pci,chardev=fs,tag=${ROOT_TAG}`],
  ];
}

/** A machine of KVM's without a root, which writes to the file `probe` that there is none. */
export const probeWords = (emulator: string, kernel: string): string[] => [
  ...commonWords({ emulator, kernel, first: ["raw"] }),
  ...["-cpu", "host", "-m", "256M", "-machine", "q35,accel=kvm", "-serial", "null", "-serial", "file:probe"],
];

const commonWords = (machine: Pick<Machine, "emulator" | "kernel" | "first">): string[] => [
  machine.emulator,
  ...["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"],
  ...["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"],
  // How the first process ends the machine: executor/guest/machine.c.
  ...["-device", "isa-debug-exit,iobase=0x501,iosize=0x04"],
  ...["-kernel", machine.kernel, "-initrd", machineFiles.initramfs, "-append", kernelWords(machine)],
];

/** `root`: the directory that the machine gets. Without a limit of open files: raising it takes what many do not have. */
export const serverWords = (server: string, root: string): string[] => [
  server,
  // The socket, which executor/machine.c made.
  "--fd=3",
  "--rlimit-nofile=0",
  ...["-o", `source=${root}`, "-o", "sandbox=chroot", "-o", "xattr", "-o", "cache=auto", "-o", "log_level=err"],
];
