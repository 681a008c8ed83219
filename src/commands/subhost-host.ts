/** The edge of subhosts: their configuration's file and commands, and what of the host it is checked against. */
import { readFileSync, realpathSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { unescapeOctal } from "../base/bytes.ts";
import { Failure, fileFailure } from "../base/errors.ts";
import { ourselves, ownerName } from "../base/owner.ts";
import { packageRoot } from "../base/package.ts";
import { capture } from "../base/process.ts";
import { escapeText } from "../base/text.ts";
import { interfaces } from "../boot/cable-facts.ts";
import type { HostLook } from "../boot/read-subhost.ts";
import { type Assignment, type Conf, parseConf } from "../boot/subhost-conf.ts";
import { OWNER_VARIABLE } from "../store/disk-files.ts";
import { namesIn } from "../store/leavings.ts";

/** Far more than any configuration; what is larger is another file. */
const CONF_MAX = 1 << 20;

/** Reads the file. Its path is made absolute, and is part of every origin. Throws E_NOT_FOUND, E_SUBHOST. */
export function readConf(given: string): Conf {
  try {
    const path = resolve(given);
    const status = statSync(path);
    if (status.isDirectory())
      throw new Failure("E_SUBHOST", "a configuration of a subhost is a file, and this is a directory", {
        where: path,
        mend: `name the file, such as ${join(path, `${basename(path)}.conf`)}`,
      });
    if (status.size > CONF_MAX)
      throw new Failure("E_SUBHOST", "this is no configuration of a subhost: it is too large", { where: path });
    return parseConf(readFileSync(path, "utf8"), path);
  } catch (error) {
    throw fileFailure(error, "reading the configuration", given);
  }
}

/** PATH of commands of a configuration: our own names are found, wherever they are installed. */
const commandPath = (): string =>
  `${process.env.PATH || "/usr/sbin:/usr/bin:/sbin:/bin"}:/usr/sbin:/sbin:${join(packageRoot(), "bin")}`;

/** NAME=value for all command lines of a configuration. */
export const commandVariables = (conf: string): string[] => [
  `CONFIG=${conf}`,
  `PATH=${commandPath()}`,
  `HOME=${process.env.HOME ?? "/root"}`,
];

/**
 * Runs the `!commands`, one after the other, in BASE (that of BASE itself beside the file); their output is the value.
 * Throws E_HOOK, with the line, for one that fails.
 */
export async function runCommands(conf: Conf, signal: AbortSignal): Promise<Conf> {
  const places = Object.entries(process.env).filter(([name]) => /^ROOTLING_[A-Z]+_PATH$/.test(name));
  const env = Object.fromEntries([
    ...(places as [string, string][]),
    [OWNER_VARIABLE, ownerName(ourselves())],
    ...commandVariables(conf.path).map((variable) => variable.split(/=(.*)/s).slice(0, 2) as [string, string]),
  ]);
  let directory = dirname(conf.path);
  const known: Assignment[] = [];
  const order = [...conf.assignments].sort((a, b) => Number(b.name === "BASE") - Number(a.name === "BASE"));
  for (const one of order) {
    const value = one.command ? await outputOf(one, directory, env, signal) : one.value;
    if (one.name === "BASE") directory = resolve(directory, value);
    if (value !== "") known.push({ ...one, value, command: false });
  }
  return { ...conf, assignments: known };
}

async function outputOf(
  { name, value, origin }: Assignment,
  cwd: string,
  env: Record<string, string>,
  signal: AbortSignal,
): Promise<string> {
  try {
    return (await capture("/bin/sh", ["-c", value], { cwd, env, signal })).trim();
  } catch (cause) {
    const said = (cause as Error).message.replace(/^\/bin\/sh /, "");
    throw new Failure("E_HOOK", `the command of ${name} ${escapeText(said)}`, {
      where: origin,
      mend: "nothing was started: correct the command, or write the value itself",
    });
  }
}

interface MountPoint {
  readonly id: string;
  readonly path: string;
}

/** proc_pid_mountinfo(5). */
const mountPoints = (): MountPoint[] =>
  readFileSync("/proc/self/mountinfo", "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => line.split(" "))
    .map(([id = "", , , , path = ""]) => ({ id, path: unescapeOctal(path) }));

const isBelow = (path: string, above: string): boolean =>
  path === above || path.startsWith(above === "/" ? "/" : `${above}/`);

/** This host. */
export function hostLook(): HostLook {
  let mounts: MountPoint[] | undefined;
  const real = (path: string): string => {
    try {
      return realpathSync.native(path);
    } catch {
      return path;
    }
  };
  return {
    kind: (path) => {
      const status = statSync(path, { throwIfNoEntry: false });
      return status === undefined ? undefined : status.isDirectory() ? "directory" : "file";
    },
    real,
    names: namesIn,
    hasInterface: (name) => interfaces().includes(name),
    mountOf: (path) => {
      mounts ??= mountPoints();
      const place = real(path);
      // Of those on one mount point the last one is seen.
      const found = mounts.filter((mount) => isBelow(place, mount.path));
      const longest = Math.max(...found.map((mount) => mount.path.length));
      return found.findLast((mount) => mount.path.length === longest)?.id ?? "";
    },
  };
}
