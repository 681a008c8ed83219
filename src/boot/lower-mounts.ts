/** What is mounted into the root: the system's own mounts, then what was asked for, then the masks. Pure. */
import { Failure } from "../base/errors.ts";
import { type Op, OURSELVES, op } from "../plan/plan.ts";
import type { Facts } from "./facts.ts";
import type { Intent, Mount } from "./intent.ts";
import { staysOurs } from "./join-facts.ts";
import type { Lender } from "./lower-lend.ts";
import { isDetached, markOf } from "./lower-life.ts";
import { place } from "./lower-root.ts";
import { lowerResolver, networkOf, resolverOf } from "./network.ts";

/** /proc, /sys, /dev, and the host's files for name resolution: a sandbox shares the host's network. */
export function lowerSystem(intent: Intent, facts: Facts, lent: Lender): Op[] {
  if (intent.isolate) return isolatedSystem(intent, facts, lent, intent.isolate.origin);
  const pids = intent.namespaces.pid;
  return [
    pids !== undefined && !staysOurs(pids.value, "pid", facts.targets)
      ? op("mount", pids.origin, "proc", "proc", "/proc", "nosuid,nodev,noexec", "", "own")
      : // A user namespace alone may not mount procfs: it would show what the mount namespace hides.
        op("bind", OURSELVES, "/proc", "/proc", "", "", "rec", "own", "755"),
    ...system(intent, facts),
    ...(facts.uid === 0 ? kernelGuards() : []),
    ...(intent.devices.value === "host"
      ? [...hostDevices(intent), ...freshQueues(intent)]
      : freshDevices(intent, facts)),
    ...networkFiles(intent, facts, lent),
  ];
}

const hostSystem = (path: string): Op => op("bind", OURSELVES, path, path, "ro", "", "rec", "own", "755");

/** /sys shows the network of whoever mounted it; the host's is shown where a new one cannot be mounted. */
function system(intent: Intent, facts: Facts): Op[] {
  const { cgroup } = intent.namespaces;
  const net = intent.namespaces.net ?? networkOf(intent);
  const fresh = facts.freshSys === true;
  const cgroups = "/sys/fs/cgroup";
  // Only where nothing but version 2 is in use can what a cgroup namespace shows be mounted in one go.
  const own = cgroup !== undefined && cgroup.value !== "host" && facts.cgroups?.unified === cgroups;
  return [
    fresh ? op("mount", net.origin, "sysfs", "sysfs", "/sys", "ro,nosuid,nodev,noexec", "", "own") : hostSystem("/sys"),
    ...(own
      ? [op("mount", cgroup.origin, "cgroup2", "cgroup2", cgroups, "ro,nosuid,nodev,noexec", "", "none")]
      : fresh
        ? [op("bind", net.origin, cgroups, cgroups, "ro", "", "rec,if-there", "none", "0")]
        : []),
  ];
}

/** What is said aloud where the host's /sys has to do. */
export const shownNetwork = ({ isolate }: Intent, facts: Facts): string[] =>
  isolate === undefined && facts.freshSys === false
    ? ["/sys shows the host's network interfaces: something is mounted over parts of the host's /sys"]
    : [];

/** The host's /dev shows the message queues of the host's ipc namespace. */
const freshQueues = ({ namespaces: { ipc } }: Intent): Op[] =>
  ipc === undefined || ipc.value === "host"
    ? []
    : [op("mount", ipc.origin, "mqueue", "mqueue", "/dev/mqueue", "nosuid,nodev,noexec", "", "skip")];

/** What the kernel lets uid 0 write without any capability: /proc/sys/kernel/core_pattern alone is the whole host. */
const READ_ONLY = ["/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs", "/proc/asound"];
const HIDDEN_FILES = ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug"];
const HIDDEN_DIRECTORIES = ["/proc/acpi", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"];

const hide = (path: string): Op => op("bind", OURSELVES, "/dev/null", path, "ro", "", "if-there", "none", "0");

/** Root of the machine is root to these files as well; an ordinary user's ids are not. */
const kernelGuards = (): Op[] => [
  ...READ_ONLY.map((path) => op("bind", OURSELVES, path, path, "ro", "", "rec,if-there", "none", "0")),
  ...HIDDEN_FILES.map(hide),
  ...HIDDEN_DIRECTORIES.map((path) => cover(OURSELVES, path)),
];

/** What else of the kernel's insides an isolated sandbox does not get to see, whatever its ids. */
const FURTHER_FILES = [
  ...["/proc/kmsg", "/proc/kallsyms", "/proc/key-users", "/proc/modules", "/proc/iomem", "/proc/ioports"],
  ...["/proc/slabinfo", "/proc/vmallocinfo", "/proc/pagetypeinfo", "/proc/buddyinfo", "/proc/zoneinfo"],
  ...["/proc/kpagecount", "/proc/kpageflags", "/proc/kpagecgroup", "/proc/interrupts", "/proc/softirqs"],
  ...[
    "/proc/latency_stats",
    "/proc/timer_stats",
    "/proc/mtrr",
    "/proc/config.gz",
    "/proc/partitions",
    "/proc/diskstats",
  ],
];
const FURTHER_DIRECTORIES = ["/proc/driver", "/proc/pressure", "/proc/tty"];

/** What libraries ask sysfs for: how many processors there are, and which memory is near. */
const PROCESSORS = ["/sys/devices/system/cpu", "/sys/devices/system/node"];

/** The same for an isolated sandbox: nothing of /sys but the processors, and no file of the host's network. */
const isolatedSystem = (intent: Intent, facts: Facts, lent: Lender, origin: string): Op[] => [
  op("mount", origin, "proc", "proc", "/proc", "nosuid,nodev,noexec", "", "own"),
  ...kernelGuards().filter(({ fields }) => fields.some((field) => field.startsWith("/proc/"))),
  ...FURTHER_FILES.map(hide),
  ...FURTHER_DIRECTORIES.map((path) => cover(OURSELVES, path)),
  op("mount", origin, "tmpfs", "rootling", "/sys", "nosuid,nodev,noexec", "mode=755,size=64k", "own"),
  ...PROCESSORS.map((path) =>
    op("bind", origin, path, path, "ro,nosuid,nodev,noexec", "", "nofail,if-there", "dir", "755"),
  ),
  op("attributes", origin, "/sys", "ro", ""),
  ...freshDevices(intent, facts),
  ...ownResolver(intent, facts, lent),
  op("attributes", origin, "/", "nosuid,nodev", ""),
];

/** An empty directory over one that exists. */
export const cover = (origin: string, path: string): Op =>
  op("mount", origin, "tmpfs", "rootling", path, "ro,nosuid,nodev,noexec", "mode=0,size=4k", "skip");

function networkFiles(intent: Intent, facts: Facts, lent: Lender): Op[] {
  // A subhost has its own.
  const shown = intent.root.value.kind === "host" || intent.subhost ? [] : facts.networkFiles;
  const own = ownResolver(intent, facts, lent);
  return [...shown.filter((path) => own.length === 0 || path !== "/etc/resolv.conf").map(networkFile), ...own];
}

function ownResolver(intent: Intent, facts: Facts, lent: Lender): Op[] {
  const lines = resolverOf(intent, facts.network);
  return lines === undefined ? [] : lowerResolver(lines, place(facts, lent));
}

const networkFile = (path: string): Op =>
  op("bind", OURSELVES, path, path, "ro,nosuid,nodev", "", "nofail", "file", "0");

const hostDevices = (intent: Intent): Op[] => [
  op("bind", intent.devices.origin, "/dev", "/dev", "", "", "rec", "own", "755"),
];

/**
 * A tmpfs with the devices that every program expects, and pseudo terminals of its own. The devices are mounts of the
 * host's, so that the tmpfs itself can be nodev: no node made inside opens anything.
 */
function freshDevices(intent: Intent, facts: Facts): Op[] {
  const { origin } = intent.devices;
  const links: [target: string, path: string][] = [
    ["/proc/self/fd", "/dev/fd"],
    ["/proc/self/fd/0", "/dev/stdin"],
    ["/proc/self/fd/1", "/dev/stdout"],
    ["/proc/self/fd/2", "/dev/stderr"],
    ["pts/ptmx", "/dev/ptmx"],
  ];
  return [
    op("mount", origin, "tmpfs", markOf(facts), "/dev", "nosuid,nodev,noexec", "mode=755", "own"),
    ...facts.devices.map(({ name, major, minor }) =>
      op("device", origin, `/dev/${name}`, `/dev/${name}`, `${major}`, `${minor}`),
    ),
    op("mount", origin, "devpts", "devpts", "/dev/pts", "nosuid,noexec", "newinstance,ptmxmode=0666,mode=620", "dir"),
    op("mount", origin, "tmpfs", "rootling", "/dev/shm", "nosuid,nodev", "mode=1777", "dir"),
    ...links.map(([target, path]) => op("symlink", origin, target, path)),
    // The caller's terminal has its name in another devpts; here programs find it as /dev/console.
    ...(facts.terminal && !intent.isolate && !isDetached(intent)
      ? [op("bind", origin, facts.terminal, "/dev/console", "", "", "", "file", "0")]
      : []),
  ];
}

export function lowerMounts(intent: Intent, facts: Facts, lent: Lender): Op[] {
  for (const mount of intent.mounts) refuseSystem(mount, intent.isolate);
  return [...intent.mounts.map((mount) => lowerMount(mount, facts, lent)), ...masks(intent, facts)];
}

/** What lies over /proc, or in an isolated sandbox over /sys and /dev, would undo what guards them. */
function refuseSystem({ target, origin }: Mount, isolate: Intent["isolate"]): void {
  const guarded = ["/proc", ...(isolate ? ["/sys", "/dev"] : [])];
  const place = guarded.find((path) => target === path || target.startsWith(`${path}/`));
  if (place === undefined) return;
  throw new Failure("E_CONFLICT", `nothing can be mounted in ${place}${isolate ? ` with ${isolate.origin}` : ""}`, {
    where: origin,
    mend: "choose another target",
  });
}

function lowerMount(mount: Mount, facts: Facts, lent: Lender): Op {
  if (mount.type !== "bind") {
    const set = mount.set.join(",");
    return op("mount", mount.origin, mount.type, mount.source, mount.target, set, mount.data.join(","), mount.create);
  }
  const words = [...(mount.recursive ? ["rec"] : []), ...(mount.nofail ? ["nofail"] : [])];
  // A mount point that is made gets mode 0, the mark by which exports leave it out.
  return op(
    "bind",
    mount.origin,
    // The path that was checked against the store, not one that may lead elsewhere by now.
    lent.source(mount.origin, facts.realPaths[mount.source] ?? mount.source, [
      ...words,
      ...(mount.owners ? ["idmap"] : []),
    ]),
    mount.target,
    mount.set.join(","),
    mount.clear.join(","),
    words.join(","),
    mount.create,
    "0",
  );
}

export function refuseStore(source: string, origin: string, facts: { places: Pick<Facts["places"], "hidden"> }): void {
  if (!facts.places.hidden.some((path) => source === path || source.startsWith(`${path}/`))) return;
  throw new Failure("E_CONFLICT", `${source} belongs to the store, which no container may see`, {
    where: origin,
    mend: "mount another directory",
  });
}

/** Covers the store wherever a mount would show it: the tree below containers must not be changed from inside. */
function masks(intent: Intent, facts: Facts): Op[] {
  const shown = intent.mounts
    .filter(({ type }) => type === "bind")
    .map(({ source, target, origin }) => ({ source: facts.realPaths[source] ?? source, target, origin }));
  for (const { source, origin } of shown) refuseStore(source, origin, facts);
  const { value: root, origin: asked } = intent.root;
  if (root.kind === "host") shown.unshift({ source: "/", target: "/", origin: asked });
  // A directory of the host below an overlay may contain the store; trees of the store contain none.
  if (root.kind === "layers") shown.unshift(...root.lowers.map((source) => ({ source, target: "/", origin: asked })));
  if (root.kind === "directory" && root.stored !== true) {
    refuseStore(root.path, asked, facts);
    shown.unshift({ source: root.path, target: "/", origin: asked });
  }
  return shown.flatMap(({ source, target, origin }) =>
    facts.places.hidden
      .filter((path) => path === source || path.startsWith(source === "/" ? "/" : `${source}/`))
      .map((path) => {
        const below = path.slice(source === "/" ? 0 : source.length);
        const place = `${target === "/" ? "" : target}${below}` || "/";
        return cover(origin, place);
      }),
  );
}
