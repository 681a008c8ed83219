/** What this host offers. Read once, at the edge; lower.ts sees nothing else of the world. */
import {
  accessSync,
  constants,
  lstatSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  statSync,
} from "node:fs";
import { release } from "node:os";
import { unescapeOctal } from "../base/bytes.ts";
import { Failure } from "../base/errors.ts";
import { findProgram } from "../base/process.ts";
import { readSubordinateIds, type SubordinateIds } from "../base/subids.ts";
import { type CableFacts, gatherCables } from "./cable-facts.ts";
import { type CgroupFacts, gatherCgroups } from "./cgroup-facts.ts";
import { wantsSubordinate } from "./id-map.ts";
import type { Intent, JoinWish } from "./intent.ts";
import { gatherTargets, type JoinTargets, joinWishes, type RunningProcess, staysOurs } from "./join-facts.ts";
import { controllersOf } from "./limits.ts";
import { gatherNetwork, type NetworkFacts, networkOf } from "./network.ts";
import { gatherNodes } from "./node-facts.ts";

/** Directories that the caller provides for this start; the boot side knows no store. */
export interface Places {
  /** An empty directory on which the container's private tmpfs is mounted. */
  readonly stage: string;
  /** A path, not there yet, for an ephemeral upper on disk. */
  readonly ephemeral: string;
  /** A path for the record of the pid inside. */
  readonly record: string;
  /** The name of a cgroup for this start, and a path for its mark. */
  readonly cgroup?: { readonly name: string; readonly mark: string };
  /** A path for the mark of a program that connects the network. */
  readonly network?: string;
  /** For cables: a name where none is asked for, a path for the journal, and what tells machines apart. */
  readonly cables?: { readonly name: string; readonly mark: string; readonly machine: string };
  /** Directories that no mount may show inside: the store of images, containers and credentials. */
  readonly hidden: readonly string[];
  /** A process inside each container that is to be joined. */
  readonly containers?: Readonly<Partial<Record<JoinWish, RunningProcess>>>;
  /** Source of the container's mounts, by which its processes are found: base/survivors.ts. */
  readonly mark?: string;
  /** A path, not there yet, for the socket by which clients come to the payload's terminal. */
  readonly socket?: string;
  /** Where pid 1 of a subhost says what became of its services. */
  readonly services?: string;
  /** Disk files that were mounted for this start, each with its mark. */
  readonly diskFiles?: readonly { readonly mark: string; readonly mount: string; readonly file: string }[];
  /** Of a detached start. */
  readonly life?: { readonly log: string; readonly olderLog: string; readonly exit: string };
}

/** Of a terminal, in characters. */
export interface Window {
  readonly rows: number;
  readonly columns: number;
}

export interface Device {
  readonly name: string;
  readonly major: number;
  readonly minor: number;
}

/** A device that is there. */
export interface NodeFact {
  /** Where symlinks lead to. */
  readonly path: string;
  readonly type: "c" | "b";
  readonly major: number;
  readonly minor: number;
}

/** One name in the host's root directory. */
export interface HostEntry {
  readonly name: string;
  readonly kind: "directory" | "symlink" | "file";
  /** Where a symlink leads. */
  readonly target?: string;
  /** Permission bits. */
  readonly mode: number;
  /** The caller may read (list) it. */
  readonly readable: boolean;
  readonly writable: boolean;
  /** Something is mounted below it, or on it and is no file system that is known to serve as a lower layer. */
  readonly holdsMounts: boolean;
}

export interface Facts {
  readonly uid: number;
  readonly gid: number;
  /** We are root of the machine, not of a user namespace: what overlayfs calls trusted is ours. */
  readonly initialRoot: boolean;
  readonly kernel: readonly [major: number, minor: number];
  readonly places: Places;
  /** Character devices that exist on the host and belong into every container. */
  readonly devices: readonly Device[];
  /** What else was asked for, by the path that was given. */
  readonly nodes?: Readonly<Record<string, NodeFact>>;
  /** The caller's groups; only gathered where devices are for some. */
  readonly groups?: readonly number[];
  /** Of /etc/resolv.conf and /etc/hosts, those the host has. */
  readonly networkFiles: readonly string[];
  /** The terminal on standard input, such as /dev/pts/3. */
  readonly terminal?: string;
  /** That of the terminal on standard output, where the payload gets one of its own. */
  readonly window?: Window;
  /** Real paths of bind sources, where they differ from what was written. */
  readonly realPaths: Readonly<Record<string, string>>;
  /** The processor as Node names it; only gathered for a seccomp filter. */
  readonly architecture?: string;
  /** Capabilities that we have, as a mask; only gathered where some are asked for. */
  readonly capabilities?: string;
  /** Only gathered for maps of more than one id. */
  readonly subordinate?: SubordinateIds;
  /** squashfuse(1), where root is a squashfs file and the caller is not root. */
  readonly squashfuse?: string;
  /** What is to be joined; absent where nothing is. */
  readonly targets?: JoinTargets;
  /** Absent where the network is the host's: a new sysfs can be mounted (mount_namespaces(7) says when it cannot). */
  readonly freshSys?: boolean;
  /** Only gathered for user-mode networking. */
  readonly network?: NetworkFacts;
  /** Only gathered for cables. */
  readonly cables?: CableFacts;
  /** The kernel has time namespaces; only gathered where one is asked for. */
  readonly timeNamespaces?: boolean;
  /** Only gathered for a cgroup namespace, and for limits. */
  readonly cgroups?: CgroupFacts;
  /** Only gathered for a root of kind host. */
  readonly hostRoot?: readonly HostEntry[];
  /**
   * Directories below those of hostRoot, outer ones first, that belong to another user and lead to where the caller works:
   * the current directory, /var/tmp. Only for a root of kind host.
   */
  readonly hostWays?: readonly { readonly path: string; readonly mode: number; readonly writable: boolean }[];
  /** Mount points of the host that no other mount but / contains; only for a root of kind host. */
  readonly hostMounts?: readonly string[];
}

/** Numbers are part of the kernel's interface (Documentation/admin-guide/devices.txt). */
export const DEVICES: readonly Device[] = [
  { name: "null", major: 1, minor: 3 },
  { name: "zero", major: 1, minor: 5 },
  { name: "full", major: 1, minor: 7 },
  { name: "random", major: 1, minor: 8 },
  { name: "urandom", major: 1, minor: 9 },
  { name: "tty", major: 5, minor: 0 },
];

const exists = (path: string): boolean => statSync(path, { throwIfNoEntry: false }) !== undefined;

const permits = (path: string, mode: number): boolean => {
  try {
    accessSync(path, mode);
    return true;
  } catch {
    return false;
  }
};

interface MountPoint {
  readonly path: string;
  readonly type: string;
}

/** Mount points in the order of /proc/self/mountinfo (proc(5)): later ones lie on top. */
function mountPoints(): MountPoint[] {
  return readFileSync("/proc/self/mountinfo", "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => ({
      path: unescapeOctal(line.split(" ")[4] ?? ""),
      type: line.split(" - ")[1]?.split(" ")[0] ?? "",
    }));
}

/** File systems that overlayfs takes as a lower layer without conditions. */
const ORDINARY = new Set(["ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "tmpfs", "zfs"]);

const holdsMounts = (path: string, mounts: readonly MountPoint[]): boolean =>
  mounts.some((mount) => mount.path.startsWith(`${path}/`) || (mount.path === path && !ORDINARY.has(mount.type)));

function readHostRoot(mounts: readonly MountPoint[]): HostEntry[] {
  const entries: HostEntry[] = [];
  for (const name of readdirSync("/").sort()) {
    const path = `/${name}`;
    const status = lstatSync(path, { throwIfNoEntry: false });
    if (status === undefined) continue;
    const kind = status.isDirectory() ? "directory" : status.isSymbolicLink() ? "symlink" : "file";
    entries.push({
      name,
      kind,
      ...(kind === "symlink" ? { target: readlinkSync(path) } : {}),
      mode: status.mode & 0o7777,
      readable:
        kind !== "symlink" && permits(path, kind === "directory" ? constants.R_OK | constants.X_OK : constants.R_OK),
      writable: kind === "directory" && permits(path, constants.W_OK),
      holdsMounts: holdsMounts(path, mounts),
    });
  }
  return entries;
}

/** The directories of others on the way to `path`; those of /, which hostRoot has, are left out. */
function readWay(path: string, uid: number): NonNullable<Facts["hostWays"]>[number][] {
  const parts = path.split("/").slice(1);
  return parts.slice(1).flatMap((_, index) => {
    const at = `/${parts.slice(0, index + 2).join("/")}`;
    const status = lstatSync(at, { throwIfNoEntry: false });
    if (!status?.isDirectory() || status.uid === uid) return [];
    return [{ path: at, mode: status.mode & 0o7777, writable: permits(at, constants.W_OK) }];
  });
}

/** Empty for root, who needs none of them. */
function readWays(uid: number, workdir: string): Pick<Facts, "hostWays"> {
  if (uid === 0) return {};
  const ways = [...readWay("/var/tmp", uid), ...readWay(workdir, uid)];
  return { hostWays: ways.filter(({ path }, index) => ways.findIndex((way) => way.path === path) === index) };
}

const topmost = (mounts: readonly string[]): string[] =>
  [...new Set(mounts)]
    .filter(
      (mount) =>
        mount !== "/" && !mounts.some((other) => other !== "/" && other !== mount && mount.startsWith(`${other}/`)),
    )
    .sort();

/** The path of the terminal on standard input, if there is one that has a path. */
function terminalPath(): string | undefined {
  try {
    const path = readlinkSync("/proc/self/fd/0");
    if (!path.startsWith("/dev/") || path === "/dev/null" || !exists(path)) return undefined;
    return process.getBuiltinModule("node:tty").isatty(0) ? path : undefined;
  } catch {
    return undefined;
  }
}

/** The size of the terminal on standard output. */
export function windowSize(): Window | undefined {
  if (!process.getBuiltinModule("node:tty").isatty(1)) return undefined;
  const [columns, rows] = process.stdout.getWindowSize();
  return { rows, columns };
}

/** The initial user namespace maps every id to itself (user_namespaces(7)). */
const isInitialUserNamespace = (): boolean =>
  /^\s*0\s+0\s+4294967295\s*$/.test(readFileSync("/proc/self/uid_map", "utf8"));

/** The permitted set of proc_pid_status(5). */
const ownCapabilities = (): string =>
  /^CapPrm:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "0";

function realPathsOf(intent: Intent): Record<string, string> {
  const paths: Record<string, string> = {};
  for (const mount of intent.mounts) {
    if (mount.type !== "bind") continue;
    try {
      const real = realpathSync(mount.source);
      if (real !== mount.source) paths[mount.source] = real;
    } catch (cause) {
      if (mount.nofail) continue;
      throw new Failure("E_NOT_FOUND", `the source of a mount does not exist: ${mount.source}`, {
        where: mount.origin,
        mend: "check the path, or add the option nofail",
        cause,
      });
    }
  }
  return paths;
}

const squashfuseFact = (): Pick<Facts, "squashfuse"> => {
  const squashfuse = findProgram("squashfuse");
  return squashfuse === undefined ? {} : { squashfuse };
};

const ownNetwork = (intent: Intent, targets?: JoinTargets): boolean =>
  networkOf(intent).kind === "user" || !staysOurs(intent.namespaces.net?.value, "net", targets);

/** Directories of sysfs that are empty but for what is mounted on them: they hide nothing. */
const EMPTY_IN_SYS =
  /^\/sys\/(fs\/(cgroup|fuse\/connections|bpf|pstore|selinux|smackfs)|kernel\/(debug|tracing|security|config)|firmware\/efi\/efivars)(\/|$)/;

/** A user namespace may mount sysfs anew only where the one that is there hides nothing (mount_namespaces(7)). */
const maySysBeFresh = (mounts: readonly MountPoint[]): boolean =>
  mounts.some(({ path, type }) => path === "/sys" && type === "sysfs") &&
  !mounts.some(({ path }) => path.startsWith("/sys/") && !EMPTY_IN_SYS.test(path));

/** Looks at the host for what this intent needs. Throws E_NOT_FOUND for a bind source that does not exist. */
export function gatherFacts(intent: Intent, places: Places): Facts {
  const uid = process.geteuid?.() ?? 0;
  const [major = 0, minor = 0] = release()
    .split(".")
    .map((part) => Number.parseInt(part, 10));
  const host = intent.root.value.kind === "host";
  const mounts = host ? mountPoints() : [];
  const terminal = intent.terminal === undefined ? terminalPath() : undefined;
  const window = intent.terminal === undefined ? undefined : windowSize();
  const targets = joinWishes(intent).size > 0 ? gatherTargets(intent, places.containers ?? {}) : undefined;
  return {
    uid,
    initialRoot: uid === 0 && isInitialUserNamespace(),
    gid: process.getegid?.() ?? 0,
    kernel: [major, minor],
    places,
    devices: DEVICES.filter(({ name }) => exists(`/dev/${name}`)),
    ...(intent.nodes ? { nodes: gatherNodes(intent.nodes) } : {}),
    ...(intent.deviceGroups?.length ? { groups: process.getgroups?.() ?? [] } : {}),
    networkFiles: ["/etc/resolv.conf", "/etc/hosts"].filter(exists),
    ...(terminal === undefined ? {} : { terminal }),
    ...(window === undefined ? {} : { window }),
    realPaths: realPathsOf(intent),
    ...(intent.root.value.kind === "squashfs" ? squashfuseFact() : {}),
    ...(intent.seccomp ? { architecture: process.arch } : {}),
    ...(intent.capabilities ? { capabilities: ownCapabilities() } : {}),
    ...(wantsSubordinate(intent.idMap.value) ? { subordinate: readSubordinateIds(uid) } : {}),
    ...(targets === undefined ? {} : { targets }),
    ...(ownNetwork(intent, targets) ? { freshSys: maySysBeFresh(mountPoints()) } : {}),
    ...(networkOf(intent).kind === "user" ? { network: gatherNetwork() } : {}),
    ...(intent.cables ? { cables: gatherCables() } : {}),
    ...(intent.namespaces.cgroup || intent.limits ? { cgroups: gatherCgroups(controllersOf(intent.limits), uid) } : {}),
    ...(intent.namespaces.time ? { timeNamespaces: exists("/proc/self/ns/time") } : {}),
    ...(host
      ? {
          hostRoot: readHostRoot(mounts),
          hostMounts: topmost(mounts.map(({ path }) => path)),
          ...readWays(uid, intent.workdir.value),
        }
      : {}),
  };
}
