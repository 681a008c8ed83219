/** The files that configure a start, of a site and of a user: read here, understood in read-enroot.ts. */
import { accessSync, constants, readdirSync, readFileSync, realpathSync, statSync } from "node:fs";
import { join } from "node:path";
import { errnoOf, Failure, fileFailure } from "../base/errors.ts";
import type { Startup, Value } from "./intent.ts";
import { type ConfigFile, readStartupTexts, type StartupTexts } from "./read-enroot.ts";

/** Bytes that a configuration file or a script may have. */
const MOST = 1 << 20;

/** Files of `directory/part` that end so, by name. Empty where the directory does not exist. */
function filesIn(directory: string, part: string, end: string): { path: string; name: string }[] {
  const path = join(directory, part);
  try {
    return readdirSync(path)
      .filter((name) => name.endsWith(end) && !name.startsWith("."))
      .sort()
      .map((name) => ({ path: join(path, name), name: `${part}/${name}` }));
  } catch (error) {
    if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ENOTDIR") return [];
    throw fileFailure(error, "reading the configuration", path);
  }
}

function readText(path: string, origin: string): string {
  try {
    const text = readFileSync(path, "utf8");
    if (text.length <= MOST) return text;
  } catch (error) {
    throw fileFailure(error, `reading ${origin}`, path);
  }
  throw new Failure("E_LIMIT", "a configuration file of more than a mebibyte", { where: path });
}

const isExecutable = (path: string): boolean => {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
};

/** What lies in these directories, the system's first, then the user's. A hook has to be executable. */
export function readStartupFiles(directories: StartupOptions["directories"]): StartupTexts {
  const all = (part: string, end: string) =>
    directories.filter((one) => one.part === part).flatMap(({ directory }) => filesIn(directory, part, end));
  const texts = (part: string, end: string): ConfigFile[] =>
    all(part, end).map(({ path, name }) => ({ name, text: readText(path, name) }));
  return {
    environ: texts("environ.d", ".env"),
    mounts: texts("mounts.d", ".fstab"),
    hooks: all("hooks.d", ".sh").filter(({ path }) => isExecutable(path)),
  };
}

export interface StartupOptions {
  /** Where `part` (environ.d, mounts.d, hooks.d) lies: the system's directory first, then the user's. */
  readonly directories: readonly { readonly part: string; readonly directory: string }[];
  /** --conf: a bash script. */
  readonly conf?: string | undefined;
  /** --rc: a script for the shell of the root; may be a pipe. */
  readonly rc?: string | undefined;
  /** Files of the root count, and why. */
  readonly rootFiles?: Value<true> | undefined;
  readonly local?: Startup["local"] | undefined;
  readonly login: boolean;
  /** What the start was given to run. */
  readonly words: readonly string[];
  readonly lastLines?: Startup["lastLines"];
  /** The caller's environment; hooks get it with `hookVariables`. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly hookVariables?: Readonly<Record<string, string | undefined>>;
}

/**
 * The configuration of a start. Throws E_USAGE for a line that cannot be understood, E_NOT_FOUND for a script that is
 * not there.
 */
export function readStartup(options: StartupOptions): Startup {
  const { conf, rc, rootFiles, local, login, words, env } = options;
  const caller = { ...env, ...options.hookVariables };
  return {
    ...readStartupTexts(readStartupFiles(options.directories), env),
    ...(rootFiles ? { rootFiles } : {}),
    ...(local ? { local } : {}),
    ...(conf === undefined ? {} : { conf: readConf(conf) }),
    ...(rc === undefined ? {} : { rc: { value: readText(rc, "--rc"), origin: "--rc" } }),
    caller: Object.entries(caller).flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${value}`])),
    lastLines: options.lastLines ?? [],
    login,
    words,
  };
}

/**
 * A script by path or, where none leads to it, by its text: Slurm's plugin hands over a file that it has open, as
 * /proc/self/fd/N, and that descriptor stays behind.
 */
function readConf(path: string): NonNullable<Startup["conf"]> {
  const text = readText(path, "--conf");
  try {
    const real = realpathSync(path);
    if (statSync(real).isFile()) return { path: real, origin: "--conf" };
  } catch {
    // It has no name any more.
  }
  return { text, origin: "--conf" };
}
