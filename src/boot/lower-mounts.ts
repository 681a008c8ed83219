/** What is mounted into the root: the system's own mounts, then what was asked for, then the masks. Pure. */
import { Failure } from "../base/errors.ts";
import { type Op, OURSELVES, op } from "../plan/plan.ts";
import type { Facts } from "./facts.ts";
import type { Intent, Mount } from "./intent.ts";
import type { Lender } from "./lower-lend.ts";
import { markOf } from "./lower-life.ts";

/** /proc, /sys, /dev, and the host's files for name resolution: a sandbox shares the host's network. */
export function lowerSystem(intent: Intent, facts: Facts): Op[] {
  const isolated = intent.namespaces.pid;
  return [
    isolated?.value === "private"
      ? op("mount", isolated.origin, "proc", "proc", "/proc", "nosuid,nodev,noexec", "", "dir")
      : // A user namespace alone may not mount procfs: it would show what the mount namespace hides.
        op("bind", OURSELVES, "/proc", "/proc", "", "", "rec", "dir", "755"),
    op("bind", OURSELVES, "/sys", "/sys", "ro", "", "rec", "dir", "755"),
    ...(facts.uid === 0 ? kernelGuards() : []),
    ...(intent.devices.value === "host" ? hostDevices(intent) : freshDevices(intent, facts)),
    ...(intent.root.value.kind === "host" ? [] : facts.networkFiles.map(networkFile)),
  ];
}

/** What the kernel lets uid 0 write without any capability: /proc/sys/kernel/core_pattern alone is the whole host. */
const READ_ONLY = ["/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs", "/proc/asound"];
const HIDDEN_FILES = ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug"];
const HIDDEN_DIRECTORIES = ["/proc/acpi", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"];

/** Root of the machine is root to these files as well; an ordinary user's ids are not. */
const kernelGuards = (): Op[] => [
  ...READ_ONLY.map((path) => op("bind", OURSELVES, path, path, "ro", "", "rec,if-there", "none", "0")),
  ...HIDDEN_FILES.map((path) => op("bind", OURSELVES, "/dev/null", path, "ro", "", "if-there", "none", "0")),
  ...HIDDEN_DIRECTORIES.map((path) => cover(OURSELVES, path)),
];

/** An empty directory over one that exists. */
const cover = (origin: string, path: string): Op =>
  op("mount", origin, "tmpfs", "rootling", path, "ro,nosuid,nodev,noexec", "mode=0,size=4k", "skip");

const networkFile = (path: string): Op =>
  op("bind", OURSELVES, path, path, "ro,nosuid,nodev", "", "nofail", "file", "0");

const hostDevices = (intent: Intent): Op[] => [
  op("bind", intent.devices.origin, "/dev", "/dev", "", "", "rec", "dir", "755"),
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
    op("mount", origin, "tmpfs", markOf(facts), "/dev", "nosuid,nodev,noexec", "mode=755", "dir"),
    ...facts.devices.map(({ name, major, minor }) =>
      op("device", origin, `/dev/${name}`, `/dev/${name}`, `${major}`, `${minor}`),
    ),
    op("mount", origin, "devpts", "devpts", "/dev/pts", "nosuid,noexec", "newinstance,ptmxmode=0666,mode=620", "dir"),
    op("mount", origin, "tmpfs", "rootling", "/dev/shm", "nosuid,nodev", "mode=1777", "dir"),
    ...links.map(([target, path]) => op("symlink", origin, target, path)),
    // The caller's terminal has its name in another devpts; here programs find it as /dev/console.
    ...(facts.terminal ? [op("bind", origin, facts.terminal, "/dev/console", "", "", "", "file", "0")] : []),
  ];
}

export function lowerMounts(intent: Intent, facts: Facts, lent: Lender): Op[] {
  return [...intent.mounts.map((mount) => lowerMount(mount, facts, lent)), ...masks(intent, facts)];
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
    lent.source(mount.origin, facts.realPaths[mount.source] ?? mount.source, words),
    mount.target,
    mount.set.join(","),
    mount.clear.join(","),
    words.join(","),
    mount.create,
    "0",
  );
}

function refuseStore(source: string, origin: string, facts: Facts): void {
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
  if (intent.root.value.kind === "host") shown.unshift({ source: "/", target: "/", origin: intent.root.origin });
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
