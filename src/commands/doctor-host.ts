/** Checks of the host that take more than a look at one file: devices, the terminal, cgroups. */
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
} from "node:fs";
import { join } from "node:path";
import { isatty } from "node:tty";
import { unescapeOctal } from "../base/bytes.ts";
import { errnoOf } from "../base/errors.ts";
import { type Finding, type Host, ok, warning } from "./doctor-finding.ts";

/** A character device that is opened for reading and writing; `module`: of the kernel. */
export function device(path: string, major: number, minor: number, module: string): Finding {
  const mend = `load the module, and let everybody open the device: modprobe ${module} && chmod 666 ${path}`;
  let file: number;
  try {
    file = openSync(path, constants.O_RDWR);
  } catch (error) {
    return warning(`${path} cannot be opened: ${errnoOf(error) ?? error}`, mend);
  }
  try {
    const status = fstatSync(file);
    const [its, minorOfIt] = [Math.floor(status.rdev / 256) & 0xfff, status.rdev & 0xff];
    return status.isCharacterDevice() && its === major && minorOfIt === minor
      ? ok(`${path} can be opened`)
      : warning(`${path} is not the device ${major}:${minor}`, mend);
  } finally {
    closeSync(file);
  }
}

/** Root mounts squashfs files by the kernel. */
export function squashfs({ uid }: Host): Finding {
  if (uid !== 0) return ok("ordinary users need fuse and squashfuse instead");
  return /\bsquashfs$/m.test(readFileSync("/proc/filesystems", "utf8"))
    ? ok("the kernel mounts squashfs files")
    : warning("the kernel does not know squashfs", "modprobe squashfs");
}

/** A container has terminals of its own; the caller's is bound in by its path. */
export async function terminal(host: Host): Promise<Finding> {
  const said = await host.trial("terminals");
  if (said !== undefined)
    return warning(said, "terminals need devpts: mount it on the host, or leave the container that you are in");
  if (!isatty(0)) return ok("terminals can be made; standard input is none");
  const path = readlinkSync("/proc/self/fd/0");
  return existsSync(path)
    ? ok(path)
    : warning(
        `the terminal ${path} cannot be reached by its path: containers have no /dev/console`,
        "bind /dev/pts into the container that you are in, or start script(1) first",
      );
}

interface Hierarchy {
  readonly mount: string;
  readonly root: string;
  /** Controllers of version 1, unified for version 2. */
  readonly holds: readonly string[];
}

/** Controllers that limits need. */
const CONTROLLERS = ["cpu", "memory", "pids"] as const;

/** By the fields of /proc/self/mountinfo (proc(5)). */
const hierarchies = (): Hierarchy[] =>
  readFileSync("/proc/self/mountinfo", "utf8")
    .trimEnd()
    .split("\n")
    .flatMap((line) => {
      const [left = "", right = ""] = line.split(" - ");
      const [, , , root = "", mount = ""] = left.split(" ").map(unescapeOctal);
      const [type, , options = ""] = right.split(" ");
      if (type === "cgroup2") return [{ mount, root, holds: ["unified"] }];
      return type === "cgroup" ? [{ mount, root, holds: options.split(",") }] : [];
    });

/** Our own cgroup in the hierarchy with this controller (cgroups(7)); undefined where it cannot be seen. */
function ownCgroup(holds: string): string | undefined {
  const line = readFileSync("/proc/self/cgroup", "utf8")
    .split("\n")
    .map((text) => /^[0-9]+:([^:]*):(.*)$/.exec(text) ?? [])
    .find(([, controllers = ""]) =>
      holds === "unified" ? controllers === "" : controllers.split(",").includes(holds),
    );
  const where = hierarchies().find((one) => one.holds.includes(holds));
  const path = line?.[2];
  if (where === undefined || path === undefined || !path.startsWith(where.root === "/" ? "" : where.root))
    return undefined;
  return join(where.mount, path.slice(where.root === "/" ? 0 : where.root.length));
}

const canDivide = (cgroup: string | undefined): boolean => {
  if (cgroup === undefined) return false;
  const child = join(cgroup, `rootling-doctor-${process.pid}`);
  try {
    mkdirSync(child);
    rmdirSync(child);
    return true;
  } catch {
    return false;
  }
};

const unifiedControllers = (cgroup: string): string[] => {
  try {
    return readFileSync(join(cgroup, "cgroup.controllers"), "utf8").trim().split(" ");
  } catch {
    return [];
  }
};

/** Limits need a cgroup that is ours to divide: of version 2 where it was delegated, of version 1 for root. */
export function cgroups({ uid }: Host): Finding {
  const unified = ownCgroup("unified");
  const offered = unified === undefined ? [] : unifiedControllers(unified);
  const lacks = CONTROLLERS.filter((controller) => !offered.includes(controller));
  if (lacks.length === 0 && canDivide(unified)) return ok(`${unified} is ours, with ${CONTROLLERS.join(", ")}`);
  if (uid === 0 && CONTROLLERS.every((controller) => canDivide(ownCgroup(controller))))
    return ok(`cgroups of version 1 with ${CONTROLLERS.join(", ")}`);
  const reason = lacks.length === 0 ? "our cgroup is not ours to divide" : `our cgroup offers no ${lacks.join(", ")}`;
  return warning(
    `${reason}: --memory, --cpus and --pids-limit are refused`,
    uid === 0
      ? "mount cgroup2 on /sys/fs/cgroup with these controllers, or do without limits"
      : "with systemd, start rootling by: systemd-run --user --scope --property=Delegate=yes rootling …",
  );
}
