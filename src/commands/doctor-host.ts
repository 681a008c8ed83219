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
import { errnoOf } from "../base/errors.ts";
import { type CgroupPlace, type Controller, gatherCgroups } from "../boot/cgroup-facts.ts";
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

/** Controllers that limits need. */
const CONTROLLERS: readonly Controller[] = ["cpu", "memory", "pids"];

/** Tries it: what looks writable may yet refuse. */
function canDivide({ parent }: CgroupPlace): boolean {
  const child = join(parent, `rootling-doctor-${process.pid}`);
  try {
    mkdirSync(child);
    rmdirSync(child);
    return true;
  } catch {
    return false;
  }
}

/** Limits need a cgroup that is ours to divide: of version 2 where it was delegated, of version 1 for root. */
export function cgroups({ uid }: Host): Finding {
  const placesFor = (wanted: readonly Controller[]) => gatherCgroups(wanted, uid).places.filter(canDivide);
  const [place] = placesFor(CONTROLLERS);
  const lacks = CONTROLLERS.filter((controller) => placesFor([controller]).length === 0);
  if (place !== undefined && lacks.length === 0) {
    const held = CONTROLLERS.join(", ");
    return ok(place.version === 2 ? `${place.parent} is ours, with ${held}` : `cgroups of version 1 with ${held}`);
  }
  return warning(
    `no cgroup with ${(lacks.length === 0 ? CONTROLLERS : lacks).join(", ")} is ours to divide: --memory, --cpus and --pids-limit are refused`,
    uid === 0
      ? "mount cgroup2 on /sys/fs/cgroup with these controllers, or do without limits"
      : "with systemd, start rootling by: systemd-run --user --scope --property=Delegate=yes rootling …",
  );
}
