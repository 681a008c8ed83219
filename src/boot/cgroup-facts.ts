/** The cgroups of this host: which hierarchies there are, where we are in them, and what is ours to divide. */
import { accessSync, constants, existsSync, readFileSync } from "node:fs";
import { dirname } from "node:path";
import { unescapeOctal } from "../base/bytes.ts";

export type Controller = "memory" | "cpu" | "pids";

/** A cgroup below which one of our own can be made. */
export interface CgroupPlace {
  readonly version: 1 | 2;
  readonly parent: string;
  readonly controllers: readonly Controller[];
  /** Those that have to be enabled for its children first. */
  readonly enable: readonly Controller[];
}

export interface CgroupFacts {
  /** Where version 2 is mounted, if nothing else is. */
  readonly unified?: string;
  /** Places that together offer the wanted controllers; empty where there are none for this user. */
  readonly places: readonly CgroupPlace[];
}

interface Hierarchy {
  readonly version: 1 | 2;
  readonly mount: string;
  readonly controllers: readonly string[];
  /** Our own cgroup in it. */
  readonly own: string;
}

/** Hierarchies, of the texts of /proc/self/mountinfo and /proc/self/cgroup (proc(5), cgroups(7)). */
export function readHierarchies(mountinfo: string, cgroup: string): Hierarchy[] {
  const memberships = cgroup
    .trimEnd()
    .split("\n")
    .map((line) => /^[0-9]+:([^:]*):(.*)$/.exec(line) ?? [])
    .map(([, controllers = "", path = "/"]) => ({ controllers: controllers.split(",").filter(Boolean), path }));
  return mountinfo.split("\n").flatMap((line) => {
    const [left = "", right = ""] = line.split(" - ");
    const [root = "/", mount = ""] = left.split(" ").slice(3, 5).map(unescapeOctal);
    const [type, , options = ""] = right.split(" ");
    if (type !== "cgroup" && type !== "cgroup2") return [];
    const words = options.split(",");
    const mine = memberships.find(({ controllers }) =>
      type === "cgroup2" ? controllers.length === 0 : controllers.some((name) => words.includes(name)),
    );
    if (mine === undefined) return [];
    // In a container, the mount may begin at our own cgroup, as may what a cgroup namespace shows.
    const below = root !== "/" && mine.path.startsWith(root) ? mine.path.slice(root.length) : mine.path;
    const version = type === "cgroup2" ? 2 : 1;
    return [
      { version, mount, controllers: mine.controllers, own: below === "/" ? mount : `${mount}${below}` } as const,
    ];
  });
}

const permits = (path: string, mode = constants.W_OK): boolean => {
  try {
    accessSync(path, mode);
    return true;
  } catch {
    return false;
  }
};

const words = (path: string): string[] => {
  try {
    return readFileSync(path, "utf8").split(/\s+/).filter(Boolean);
  } catch {
    return [];
  }
};

/** Our own cgroup, and those above it up to the mount point. */
function upward({ own, mount }: Hierarchy): string[] {
  const paths = [own];
  for (let at = own; at !== mount && at.startsWith(mount); ) paths.push((at = dirname(at)));
  return paths;
}

/**
 * Version 2: the nearest cgroup that is ours, offers the controllers, and holds no processes itself (cgroups(7), "no
 * internal processes"), which only the root of all may. Root of the machine begins there, not in a session of systemd's.
 */
function placeOf2(hierarchy: Hierarchy, wanted: readonly Controller[], uid: number): CgroupPlace | undefined {
  const candidates = upward(hierarchy);
  for (const parent of uid === 0 ? candidates.toReversed() : candidates) {
    const has = words(`${parent}/cgroup.controllers`);
    if (!wanted.every((name) => has.includes(name))) continue;
    if (!permits(parent) || !permits(`${parent}/cgroup.procs`)) continue;
    const enabled = words(`${parent}/cgroup.subtree_control`);
    const enable = wanted.filter((name) => !enabled.includes(name));
    const mayEnable =
      permits(`${parent}/cgroup.subtree_control`) &&
      (!existsSync(`${parent}/cgroup.type`) || words(`${parent}/cgroup.procs`).length === 0);
    if (enable.length === 0 || mayEnable) return { version: 2, parent, controllers: wanted, enable };
  }
  return undefined;
}

/** Version 1: below our own cgroup of each hierarchy. */
function placesOf1(hierarchies: readonly Hierarchy[], wanted: readonly Controller[]): CgroupPlace[] {
  const places: CgroupPlace[] = [];
  for (const { version, controllers, own } of hierarchies) {
    const offered = wanted.filter((name) => controllers.includes(name));
    const known = places.some((place) => place.controllers.some((name) => controllers.includes(name)));
    if (version === 1 && offered.length > 0 && !known && permits(own))
      places.push({ version, parent: own, controllers: offered, enable: [] });
  }
  return wanted.every((name) => places.some((place) => place.controllers.includes(name))) ? places : [];
}

/** Looks for what the wanted limits need. */
export function gatherCgroups(wanted: readonly Controller[], uid: number): CgroupFacts {
  const hierarchies = readHierarchies(
    readFileSync("/proc/self/mountinfo", "utf8"),
    readFileSync("/proc/self/cgroup", "utf8"),
  );
  const [first] = hierarchies;
  const unified = first !== undefined && hierarchies.every(({ version }) => version === 2);
  const of2 = hierarchies.flatMap((one) => (one.version === 2 ? (placeOf2(one, wanted, uid) ?? []) : []));
  const places = wanted.length === 0 ? [] : of2.length > 0 ? of2.slice(0, 1) : placesOf1(hierarchies, wanted);
  return { ...(unified ? { unified: first.mount } : {}), places };
}

/** The cgroups with limits that a process of a container is in, as paths: what joins the container joins them. */
export function limitedCgroups(pid: number): string[] {
  const mountinfo = readFileSync("/proc/self/mountinfo", "utf8");
  const theirs = readHierarchies(mountinfo, readFileSync(`/proc/${pid}/cgroup`, "utf8"));
  const ours = new Set(readHierarchies(mountinfo, readFileSync("/proc/self/cgroup", "utf8")).map(({ own }) => own));
  const limited = theirs.map(({ own }) => /^.*\/rootling-[0-9]+\.[0-9]+\.[^/]+/.exec(own)?.[0] ?? "");
  return [...new Set(limited)].filter((path) => path !== "" && !ours.has(path));
}
