/** The flags that run and start share, and how a plan is shown. */
import type { Command } from "commander";
import { Failure } from "../base/errors.ts";
import type { ProgressMode } from "../base/progress-render.ts";
import type { Settings } from "../base/settings.ts";
import { escapeText } from "../base/text.ts";
import type { BootFlags } from "../boot/read-flags.ts";
import type { Plan } from "../plan/plan.ts";
import { type Cli, collect, showJson } from "./cli.ts";
import type { StartupFlags } from "./startup.ts";
import { DETACH_KEYS } from "./terminal-words.ts";

export interface BootOptions extends BootFlags, StartupFlags {
  readonly dryRun?: boolean;
  readonly json?: boolean;
  readonly progress?: ProgressMode;
  readonly detachKeys?: string;
  readonly entrypoint?: string;
  readonly vm?: boolean;
  readonly kernel?: string;
}

/** Adds the flags that say how a container is booted. */
export function withBootFlags(command: Command): Command {
  return command
    .option("-m, --mount <what>", "mount SRC:DST[:OPTIONS] or a line of fstab (may repeat)", collect)
    .option("--device <what>", "a device of the host, or VENDOR/CLASS=NAME of a CDI spec (may repeat)", collect)
    .option("-e, --env <variable>", "set NAME=VALUE, or NAME to the caller's value (may repeat)", collect)
    .option("--entrypoint <program>", "what runs instead of the image's own command and entrypoint; '': none")
    .option("-w, --workdir <path>", "directory in which the command runs")
    .option("-u, --user <who>", "USER[:GROUP] of the image (as root, or with --map subids)")
    .option("--timeline <file>", "draw where the time of the start goes, as SVG")
    .option("--hostname <name>", "host name inside")
    .option("-r, --root", "be root inside: --map root")
    .option("--map <ids>", "self, root, subids, keep, or INSIDE:OUTSIDE:COUNT[,...]; groups apart: uid:...;gid:...")
    .option("--upper <where>", "where ephemeral changes lie: tmpfs or disk")
    .option("--upper-size <size>", "how much ephemeral changes may take in memory, such as 512m")
    .option("--pid [how]", "processes: private (without a value), host, container:NAME or pid:PID")
    .option("--ipc [how]", "System V IPC and message queues: likewise")
    .option("--uts [how]", "host name: likewise")
    .option("--net [how]", "network: none (without a value), host, user (by pasta), container:NAME or pid:PID")
    .option(
      "--publish <ports>",
      "[ADDRESS:]HOST:INSIDE[/udp] leads inside; on 127.0.0.1 without ADDRESS (may repeat)",
      collect,
    )
    .option(
      "--cable <words>",
      "as root: a virtual cable, [BRIDGE]=[MAC][,address=ADDRESS/PREFIX...] (may repeat; see docs/how-to/cables.md)",
      collect,
    )
    .option("--memory <size>", "limit of memory, such as 512m")
    .option("--cpus <number>", "limit of processor time, such as 1.5")
    .option("--cpu-weight <number>", "share of processor time: 1 to 10000, others have 100")
    .option("--pids-limit <number>", "limit of processes and threads")
    .option("--ulimit <limit>", "NAME=SOFT[:HARD], such as nofile=1024:4096 (may repeat)", collect)
    .option("--umask <mode>", "mask of the modes of new files, such as 027")
    .option("--nice <number>", "scheduling priority, -20 to 19")
    .option("--oom-score-adj <number>", "how soon the kernel ends it for want of memory, -1000 to 1000")
    .option("--sysctl <setting>", "KEY=VALUE of the container's own namespaces (may repeat)", collect)
    .option("--cgroup [how]", "what is seen of cgroups: private, host, container:NAME or pid:PID")
    .option("--time [how]", "clocks since boot: likewise")
    .option("--isolate", "a hardened sandbox: own namespaces, no capabilities, few system calls")
    .option(
      "--seccomp <profile>",
      "what becomes of system calls: strict, compat (a map of one id: changes of owners seem to work) or none",
    )
    .option("--cap-add <name>", "a further capability, or all (may repeat)", collect)
    .option("--cap-drop <name>", "a capability less, or all (may repeat)", collect)
    .option("--vm", "boot a virtual machine with a kernel of its own: the image's, or --kernel")
    .option("--kernel <file>", "the kernel of --vm")
    .option("-t, --tty", "a terminal and a session of its own, shown on ours")
    .option("--detach-keys <keys>", `what to type to leave it running (${DETACH_KEYS})`)
    .option("--stop-signal <signal>", "what `rootling stop` sends; the image's own, else SIGTERM");
}

/** The flags of a start, and what settings say where a flag does not. */
export const withSettings = (options: BootOptions, settings: Settings): BootOptions => ({
  ...options,
  ...(settings.REMAP_ROOT && options.map === undefined ? { root: true } : {}),
  ...(settings.ROOTFS_WRITABLE ? { rw: true } : {}),
  ...(settings.UNSHARE_PID ? { pid: options.pid ?? true } : {}),
  ...(settings.UNSHARE_NET ? { net: options.net ?? true } : {}),
  ...(settings.UNSHARE_IPC ? { ipc: options.ipc ?? true } : {}),
  ...(settings.UNSHARE_UTS ? { uts: options.uts ?? true } : {}),
});

export const withDryRun = (command: Command): Command =>
  command
    .option("--dry-run", "print the plan, and change nothing")
    .option("--json", "with --dry-run: print the plan as JSON");

/** Refuses --json where no plan is printed, instead of passing it over. */
export function refuseIdleFlags(flags: { dryRun?: boolean; json?: boolean; vm?: boolean; kernel?: string }): void {
  const { dryRun, json, vm, kernel } = flags;
  if (kernel !== undefined && !vm) {
    throw new Failure("E_USAGE", "only a virtual machine has a kernel of its own", {
      where: "--kernel",
      mend: "add --vm, or leave it out",
    });
  }
  if (!json || dryRun) return;
  throw new Failure("E_USAGE", "only a plan is shown as JSON", {
    where: "--json",
    mend: "add --dry-run, or leave it out",
  });
}

/** A plan as a person reads it: a step a line, with who asked for it. */
export function formatPlan(plan: Plan): string {
  const quote = (field: string) =>
    // A program in hexadecimal is nothing that a person reads; --json has it whole.
    /^[0-9a-f]{200,}$/.test(field)
      ? `${field.slice(0, 16)}…`
      : /^[\w@%+=:,./-]+$/.test(field)
        ? field
        : `'${escapeText(field).replaceAll("'", "'\\''")}'`;
  const digits = String(plan.ops.length - 1).length;
  const steps = plan.ops.map(({ verb, fields, origin }, index) => {
    const line = [verb, ...fields.map(quote)].join(" ");
    return `${String(index).padStart(digits)}  ${line}  # ${escapeText(origin)}`;
  });
  return [
    `topology: ${plan.topology}`,
    ...plan.remarks.map((remark) => `remark: ${escapeText(remark)}`),
    ...steps,
  ].join("\n");
}

/** Plans are shown to others: of the caller's environment, which may hold secrets, the names alone. */
const withoutSecrets = (plan: Plan): Plan => ({
  ...plan,
  ops: plan.ops.map((op) =>
    op.verb === "caller" ? { ...op, fields: op.fields.map((variable) => variable.replace(/=.*/s, "=…")) } : op,
  ),
});

export function showPlan(cli: Cli, plan: Plan, json: boolean | undefined): void {
  const shown = withoutSecrets(plan);
  cli.print(json ? showJson(shown) : formatPlan(shown));
}
