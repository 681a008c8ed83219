/**
 * init.yml → plan: the order in which a guest's next root is made ready and entered. Pure. In guests
 * executor/guest/init-plan.c makes the same plan, byte for byte; tests hold both against each other.
 */
import { type Op, OURSELVES, op, type Plan } from "../plan/plan.ts";
import type { GuestCommand, GuestFacts, GuestIntent, GuestRange, SetupMode } from "./guest-intent.ts";

/** Makes the plan of a guest's first process. */
export function lowerGuest(intent: GuestIntent, facts: GuestFacts): Plan {
  const { root, rootMode, initctl } = intent;
  const mode = setupHere(intent.setup.value, facts.environment);
  const ops: Op[] = [
    op("environment", OURSELVES, ...facts.environment),
    // Before the namespace, so that the outside has /proc as well.
    ...(mode === "qemu" ? [op("system-mounts", OURSELVES)] : []),
    op("namespaces", OURSELVES, "mount"),
    op("propagation", OURSELVES, "/", "private"),
    ...intent.setupBefore.map(command),
    ...(rootMode.value === "none" && mode === "none" ? [] : [op("mount-point", root.origin, root.value, "missing")]),
    ...(initctl.value ? [op("initctl", initctl.origin, "/dev/initctl")] : []),
    ...setup(intent, mode),
    ...(rootMode.value === "none" ? [] : [op("enter-root", rootMode.origin, rootMode.value, root.value)]),
    ...intent.execBefore.map(command),
    op("become", intent.command.origin, ...intent.command.words),
  ];
  return { version: 1, topology: "in-place", ops, remarks: [] };
}

const command = ({ words, input, origin }: GuestCommand): Op =>
  op("command", origin, input === undefined ? "null" : "text", input ?? "", ...words);

/** What started the guest: systemd's container interface says so by the variable `container`. */
function setupHere(mode: SetupMode, environment: readonly string[]): Exclude<SetupMode, "auto"> {
  if (mode !== "auto") return mode;
  const container = environment.find((variable) => variable.startsWith("container="))?.slice("container=".length) ?? "";
  if (container === "lxc-libvirt") return "lxc-libvirt";
  if (container === "lxc") return "lxc";
  return container === "" ? "qemu" : "oci";
}

/** The next root's /proc, /dev and /sys, in namespaces of its own. */
function setup(intent: GuestIntent, mode: Exclude<SetupMode, "auto">): Op[] {
  if (mode === "none") return [];
  const { origin } = intent.setup;
  // A virtual machine is the guest's alone: without an id map there is nothing to keep it apart from.
  const whole = mode === "qemu" && intent.idMap === undefined;
  const unwritable = whole ? "nosuid,nodev,noexec" : "ro,nosuid,nodev,noexec";
  return [
    ...handOver(intent),
    op("root", intent.root.origin, intent.root.value),
    op("mount", origin, "proc", "proc", "/proc", "nosuid,nodev,noexec", "", "own"),
    ...(whole ? [] : namespaces(intent, origin)),
    ...devices(intent, whole, origin),
    op("mount", origin, "sysfs", "sysfs", "/sys", unwritable, "", "own"),
    op("mount", origin, "cgroup2", "cgroup2", "/sys/fs/cgroup", "nosuid,nodev,noexec", "", "none"),
  ];
}

/** What the mapped root needs of what belongs to ours. */
function handOver({ idMap }: GuestIntent): Op[] {
  if (idMap === undefined) return [];
  const { users, groups } = idMap.value;
  return [op("hand-over", idMap.origin, String(rootOf(users)), String(rootOf(groups)))];
}

const rootOf = (ranges: readonly GuestRange[]): number => ranges.find(({ inside }) => inside === 0)?.outside ?? 0;

const lines = (ranges: readonly GuestRange[]): string =>
  ranges.map(({ inside, outside, count }) => `${inside} ${outside} ${count}`).join(",");

function namespaces({ idMap, root }: GuestIntent, origin: string): Op[] {
  const list = idMap === undefined ? "cgroup,uts,ipc,net" : "user,mount,cgroup,uts,ipc,net";
  return [
    op("namespaces", origin, list),
    ...(idMap === undefined
      ? []
      : [op("id-map", idMap.origin, lines(idMap.value.users), lines(idMap.value.groups), "allow")]),
    op("interfaces", origin),
    ...(idMap === undefined
      ? []
      : [op("take-ids", idMap.origin, "0", "0"), op("mount-point", root.origin, root.value, "always")]),
    // In a new mount namespace the old one's descriptors lead elsewhere.
    op("root", root.origin, root.value),
  ];
}

/** /dev: the kernel's own where all devices are the guest's, else one with what ours has. */
function devices({ exclude, rexclude }: GuestIntent, whole: boolean, origin: string): Op[] {
  const excluded = exclude.value.length > 0 ? exclude : rexclude;
  const all = whole && excluded.value.length === 0;
  const made = all
    ? op("mount", origin, "devtmpfs", "dev", "/dev", "nosuid", "mode=755", "own")
    : op("mount", origin, "tmpfs", "rootling", "/dev", "nosuid,strictatime", "mode=755,size=1m", "own");
  return [
    made,
    op("mount", origin, "devpts", "devpts", "/dev/pts", "nosuid,noexec", "newinstance,ptmxmode=0666,mode=0620", "dir"),
    op("mount", origin, "tmpfs", "shm", "/dev/shm", "nosuid,nodev", "mode=1777", "dir"),
    op("mount", origin, "mqueue", "mqueue", "/dev/mqueue", "nosuid,nodev,noexec", "", "dir"),
    ...(all ? [] : [op("symlink", origin, "pts/ptmx", "/dev/ptmx")]),
    ...(all ? [] : [op("devices", excluded.origin, String(exclude.value.length), ...exclude.value, ...rexclude.value)]),
  ];
}
