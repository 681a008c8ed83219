/** `rootling guest define`: a guest as a domain of libvirt or a configuration of LXC, printed or defined. */
import { mkdirSync, realpathSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { Failure, fileFailure } from "../base/errors.ts";
import { requireProgram, run } from "../base/process.ts";
import { defineGuest, GUEST_DRIVERS, type GuestDefinition, type GuestDriver } from "../boot/guest-definition.ts";
import { readSize } from "../boot/limits.ts";
import { readInit } from "../boot/read-init.ts";
import { checkedRanges, parseIdRange } from "../image/alter-ids.ts";
import { checkContainerName } from "../store/containers.ts";
import { type Cli, newCommand } from "./cli.ts";
import { showSteps, step, withSteps } from "./dry-run.ts";
import { textOf } from "./init.ts";

interface Options {
  driver: string;
  boot: string;
  root?: string;
  layer: string[];
  cache?: string;
  config?: string;
  memory: string;
  cpus?: string;
  bridge?: string;
  map: string[];
  kernel?: string;
  translated?: boolean;
  define?: boolean;
  dryRun?: boolean;
}

const several = (value: string, before: string[]): string[] => [...before, value];

export const define = (cli: Cli) =>
  withSteps(
    newCommand("guest", "Print a guest as a domain of libvirt or a configuration of LXC; or define it there.", [
      "rootling guest define web --driver libvirt-lxc --boot /srv/boot --root /srv/debian --cache /srv/web/cache --config /srv/web/init.yml",
      "rootling guest define web --driver lxc --boot /srv/boot --root /srv/debian --bridge br0 --define",
      "rootling guest define vm --driver qemu --boot boot.img --kernel /boot/vmlinuz --root debian.qcow2 >vm.xml",
    ]),
  )
    .argument("<operation>", "define")
    .argument("<name>", "the guest's name")
    .requiredOption("--driver <driver>", `what starts it: ${GUEST_DRIVERS.join(", ")}`)
    .requiredOption("--boot <path>", "the boot file system, as of `bootfs build`: a directory; of qemu an initramfs")
    .option("--root <path>", "the next root, at /mnt/root, read-only: a directory; of qemu a disk")
    .option("--layer <dir>", "a layer, at /mnt/layers/0 and so on (may repeat)", several, [])
    .option("--cache <dir>", "where changes are kept, at /mnt/cache; of qemu a disk")
    .option("--config <file>", "its init.yml, which may change between boots")
    .option("--memory <size>", "such as 512M", "512M")
    .option("--cpus <n>", "processors")
    .option("--bridge <name>", "a bridge of the host that its interface is a port of; none if not given")
    .option("--map <range>", "ids of the whole guest, INSIDE:OUTSIDE:COUNT (may repeat)", several, [])
    .option("--kernel <file>", "of qemu: the kernel")
    .option("--translated", "of qemu: without the processor's help (KVM)")
    .option("--define", "define it: with virsh, or as NAME/config in /var/lib/lxc")
    .action(async (operation: string, name: string, options: Options) => {
      if (operation !== "define") {
        throw new Failure("E_USAGE", `${JSON.stringify(operation)} is no operation of guest`, {
          where: "guest",
          mend: "write `rootling guest define NAME --driver DRIVER --boot PATH`",
        });
      }
      const driver = driverOf(options.driver);
      const text = defineGuest(definitionOf(name, options), driver);
      if (options.define && options.dryRun) {
        return showSteps(cli, [step("write", `guest ${name} of ${driver}`, "--define")], false);
      }
      cli.print(options.define ? await keep(name, driver, text) : text);
    });

function driverOf(text: string): GuestDriver {
  const driver = GUEST_DRIVERS.find((each) => each === text);
  if (driver !== undefined) return driver;
  throw new Failure("E_USAGE", `there is no driver ${JSON.stringify(text)}`, {
    where: "--driver",
    mend: `use one of ${GUEST_DRIVERS.join(", ")}`,
  });
}

function definitionOf(name: string, options: Options): GuestDefinition {
  const { boot, root, layer, cache, config, memory, cpus, bridge, map, kernel, translated } = options;
  if (config !== undefined) readInit(textOf(config), basename(config));
  const file = config === undefined ? undefined : real(config, "--config");
  return {
    name: checkContainerName(name),
    boot: real(boot, "--boot"),
    ...(root === undefined ? {} : { root: real(root, "--root") }),
    layers: layer.map((path) => real(path, "--layer")),
    ...(cache === undefined ? {} : { cache: real(cache, "--cache") }),
    ...(file === undefined ? {} : { config: { directory: dirname(file), file: basename(file) } }),
    memory: readSize(memory, "--memory"),
    ...(cpus === undefined ? {} : { cpus: readCount(cpus) }),
    ...(bridge === undefined ? {} : { bridge: readBridge(bridge) }),
    ...(map.length === 0 ? {} : { idMap: rangesOf(map) }),
    ...(kernel === undefined ? {} : { kernel: real(kernel, "--kernel") }),
    ...(translated ? { accelerated: false } : {}),
  };
}

const rangesOf = (texts: readonly string[]) =>
  checkedRanges(
    texts.map((text) => parseIdRange(text, "--map")),
    "--map",
  ).map(({ start, target, count }) => ({ inside: start, outside: target, count }));

function real(path: string, flag: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    throw fileFailure(error, `what ${flag} names`, path);
  }
}

function readCount(text: string): number {
  if (/^[1-9][0-9]{0,3}$/.test(text)) return Number(text);
  throw new Failure("E_USAGE", "not a number of processors", { where: "--cpus", mend: "give a number such as 2" });
}

/** dev_valid_name of the kernel: up to 15 characters, without slash, colon and blanks. */
function readBridge(text: string): string {
  if (/^[A-Za-z0-9_.-]{1,15}$/.test(text) && !/^\.{1,2}$/.test(text)) return text;
  throw new Failure("E_USAGE", "not the name of an interface", { where: "--bridge", mend: "see `ip link`" });
}

const LXC = "/var/lib/lxc";

/** Hands the definition to who keeps such; returns what says so. */
async function keep(name: string, driver: GuestDriver, text: string): Promise<string> {
  if (driver === "lxc") {
    const directory = join(LXC, name);
    const file = join(directory, "config");
    try {
      mkdirSync(directory, { recursive: true, mode: 0o755 });
      writeFileSync(file, `${text}\n`, { flag: "wx", mode: 0o644 });
    } catch (error) {
      throw fileFailure(error, "defining the guest", file);
    }
    return file;
  }
  const virsh = requireProgram("virsh", "libvirt-clients");
  const connection = driver === "libvirt-lxc" ? "lxc:///" : "qemu:///system";
  const { child, finished } = run(virsh, ["-c", connection, "define", "/dev/stdin"], { stdin: "pipe" });
  child.stdin?.end(text);
  await finished;
  return `${connection}${name}`;
}
