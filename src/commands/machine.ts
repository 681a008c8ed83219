/** `--vm`: the root of a start as a virtual machine's. */
import { existsSync, realpathSync } from "node:fs";
import { join } from "node:path";
import type { Context } from "../base/context.ts";
import { Failure, fileFailure } from "../base/errors.ts";
import { makePrivateDirectory } from "../base/files.ts";
import { findProgram, requireProgram } from "../base/process.ts";
import { gatherFacts, type Places, windowSize } from "../boot/facts.ts";
import { from, type Intent, type Root } from "../boot/intent.ts";
import { isSystem, lowerInMachine, lowerMachine, rootBeside } from "../boot/lower-machine.ts";
import { emulatorWords, type Machine, machineFiles, serverWords } from "../boot/machine-words.ts";
import { buildImage } from "../image/build.ts";
import { initramfsSink } from "../image/sinks/tar.ts";
import { bootfsImage } from "../image/sources/bootfs.ts";
import { kernelOf, modulesIn, versionOf } from "../image/sources/kernel.ts";
import { modulesOf } from "../image/sources/kernel-modules.ts";
import { hostPlatform } from "../image/sources/reference.ts";
import { check } from "../plan/check.ts";
import { guestProgramFor } from "../plan/launch.ts";
import { op, type Plan } from "../plan/plan.ts";
import { toWire } from "../plan/wire.ts";
import { accelerates } from "./machine-probe.ts";

export interface MachineFlags {
  readonly vm?: boolean;
  readonly kernel?: string;
}

const EMULATORS: Readonly<Record<string, string>> = { x64: "qemu-system-x86_64" };
/** It is no program that users call, and lies off PATH. */
const SERVERS = ["/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd", "/usr/lib/virtiofsd"];
/** Bytes, where --memory does not say. */
const MEMORY = 1 << 30;

/**
 * The plan that boots the intent's root as a virtual machine. Its files are made in `directory`, which the plan removes;
 * `trials`: where it is noted what has been tried. With `dry`, nothing is made. Throws E_NOT_FOUND without a kernel, E_PROGRAM without an emulator.
 */
export async function planMachine(
  context: Context,
  asked: Intent,
  flags: MachineFlags,
  places: Places,
  { directory, trials, dry }: { directory: string; trials: string; dry: boolean },
): Promise<Plan> {
  const { limits: _limits, user: _user, ...host } = asked;
  // The machine has all ids of its own; who is root in it is the caller to the host's files.
  const intent: Intent = { ...host, idMap: asked.idMap.origin === "rootling" ? from("root", "--vm") : asked.idMap };
  const facts = gatherFacts(intent, places);
  const emulator = EMULATORS[process.arch];
  if (emulator === undefined) {
    throw new Failure("E_PLATFORM", `virtual machines are not known on ${process.arch}`, { where: "--vm" });
  }
  const { kernel, version, modules } = findKernel(asked.root.value, flags.kernel);
  const machine: Machine = {
    emulator: requireProgram(emulator, "qemu-system-x86"),
    kernel,
    memory: asked.limits?.memory?.value ?? MEMORY,
    cpus: Math.ceil(asked.limits?.cpus?.value ?? 1),
    accelerated: false,
    first: [consoleWord(), ...(isSystem(asked) ? ["system"] : [])],
  };
  const server = serverWords(findServer(), rootBeside(facts));
  const plan = (accelerated: boolean) =>
    check(
      lowerMachine(
        intent,
        facts,
        directory,
        op(
          "machine",
          "--vm",
          directory,
          isSystem(asked) ? "system" : "status",
          String(server.length),
          ...server,
          ...emulatorWords({ ...machine, accelerated }),
        ),
      ),
    );
  const translated = plan(false);
  if (dry) return translated;
  makePrivateDirectory(directory);
  const file = join(directory, machineFiles.initramfs);
  const image = bootfsImage({
    guest: guestProgramFor(process.arch),
    applets: [],
    platform: hostPlatform(),
    time: 0,
    modules: modules === undefined ? [] : modulesOf(version, ["virtio_pci", "virtiofs"], modules),
    files: new Map([["etc/rootling-wire", toWire(lowerInMachine(asked), [])]]),
  });
  await buildImage(image, initramfsSink({ output: file, comp: "none", force: false }), context);
  if (await accelerates(context, { ...machine, directory, mark: join(trials, "kvm") })) return plan(true);
  context.warn("KVM does not work here: the virtual machine is emulated, and several times slower");
  return translated;
}

/** The size of the terminal that the console is shown on; `raw` where it is none. */
function consoleWord(): string {
  const { isatty } = process.getBuiltinModule("node:tty");
  const window = isatty(0) && isatty(1) ? windowSize() : undefined;
  return window === undefined ? "raw" : `${window.rows}x${window.columns}`;
}

/** The kernel that was named, or the image's own; with its modules, from the image or from the host. */
function findKernel(root: Root, named: string | undefined) {
  const roots =
    root.kind === "layers"
      ? [...(root.kept ? [root.kept.upper] : []), ...root.lowers]
      : root.kind === "directory"
        ? [root.path]
        : [];
  const found = named === undefined ? kernelOf(roots) : { kernel: real(named), version: versionOf(named) };
  if (found === undefined) {
    throw new Failure("E_NOT_FOUND", "the image has no kernel: there is no /boot/vmlinuz-VERSION in it", {
      where: "--vm",
      mend: "install one in it (Debian: apt-get install linux-image-cloud-amd64), or name one with --kernel",
    });
  }
  return { ...found, modules: modulesIn([...roots, "/"], found.version) };
}

function real(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    throw fileFailure(error, "what --kernel names", path);
  }
}

function findServer(): string {
  const found = findProgram("virtiofsd") ?? SERVERS.find((file) => existsSync(file));
  if (found !== undefined) return found;
  throw new Failure("E_PROGRAM", "virtiofsd, which lends the root to the machine, is not installed", {
    where: "--vm",
    mend: "install it (Debian 12: apt-get install qemu-system-common; later: virtiofsd)",
  });
}
