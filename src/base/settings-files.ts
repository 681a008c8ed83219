/**
 * Configuration files: `enroot.conf` and the files of `enroot.conf.d` in the system's directory, likewise for rootling,
 * and the directives of a container's configuration. Lines are `KEY value` or `KEY=value`. A value is written as for a
 * shell, with quotes and $VARIABLES, but no shell reads it: what would need one is refused.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { errnoOf, Failure, fileFailure } from "./errors.ts";
import type { Caller, Program } from "./settings-places.ts";

/** A line that gives a setting a value. */
export interface Assignment {
  /** As it was written, such as ENROOT_DATA_PATH. */
  readonly name: string;
  readonly value: string;
  /** The file and line, or the variable of the environment. */
  readonly origin: string;
}

/** Variables of other programs that enroot's files may set. */
const FOREIGN = /^(SSL_CERT_(DIR|FILE)|(all|no|http|https)_proxy)$/;

const isKey = (name: string, program: Program): boolean =>
  new RegExp(`^${program.toUpperCase()}_[A-Z_]+$`).test(name) || FOREIGN.test(name);

/** Lines of `text`; others than assignments are passed over, as enroot does. Throws E_SETTING. */
function readLines(lines: Iterable<readonly [number, string]>, file: string, caller: Caller): Assignment[] {
  const assignments: Assignment[] = [];
  for (const [number, line] of lines) {
    const [, name = "", text = ""] = /^\s*([A-Za-z_]+)[ \t=]+(.*)$/.exec(line) ?? [];
    if (!isKey(name, caller.program)) continue;
    const origin = `${file}:${number}`;
    assignments.push({ name, value: expand(text, origin, caller), origin });
  }
  return assignments;
}

const numbered = (text: string): [number, string][] => text.split("\n").map((line, index) => [index + 1, line]);

/** What a configuration file says. */
export const parseSettings = (text: string, file: string, caller: Caller): Assignment[] =>
  readLines(numbered(text), file, caller);

/** The directives of a container's configuration: comments such as `#ENROOT_REMAP_ROOT=y`. */
export function parseDirectives(text: string, file: string, caller: Caller): Assignment[] {
  const begin = new RegExp(`^#\\s*(?=${caller.program.toUpperCase()}_)`);
  const lines = numbered(text).filter(([, line]) => begin.test(line));
  return readLines(
    lines.map(([number, line]) => [number, line.replace(begin, "")]),
    file,
    caller,
  );
}

/**
 * Reads the system's files, the main one first: later lines win. Nothing is read but what exists. Throws E_SETTING for
 * values that cannot be read, E_IO for files that cannot.
 */
export function readSettingsFiles(caller: Caller): Assignment[] {
  const { env, program } = caller;
  const directory = env[`${program.toUpperCase()}_SYSCONF_PATH`] || `/etc/${program}`;
  const main = join(directory, `${program}.conf`);
  const dropIns = `${main}.d`;
  // Most machines have none, and an error that is thrown costs as much as a hundred questions.
  if (!existsSync(directory)) return [];
  const names = attempt(() => readdirSync(dropIns), dropIns) ?? [];
  const files = [
    main,
    ...names
      .filter((name) => /^[^.].*\.conf$/.test(name))
      .sort()
      .map((name) => join(dropIns, name)),
  ];
  return files.flatMap((file) => {
    const text = attempt(() => readFileSync(file, "utf8"), file);
    return text === undefined ? [] : parseSettings(text, file, caller);
  });
}

function attempt<T>(read: () => T, path: string): T | undefined {
  try {
    return read();
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes(errnoOf(error) ?? "")) return undefined;
    throw fileFailure(error, "reading the configuration", path);
  }
}

/** A part of a value: a quoted text, an escaped character, a variable, a blank, a comment, or plain characters. */
const PART =
  /'(?<single>[^']*)'|"(?<double>(?:[^"\\]|\\.)*)"|\\(?<escaped>.)|\$(?:\{(?<braced>\w+)\}|(?<bare>[A-Za-z_]\w*))|(?<blank>[ \t]+)|(?<plain>[^'"\\$\s`;|&<>()]+)/y;

/** The value that a shell's echo would show, where that takes no more than quotes and variables. Throws E_SETTING. */
function expand(text: string, origin: string, caller: Caller): string {
  let value = "";
  let rest = text.trimEnd();
  while (rest !== "") {
    // A comment begins a word.
    if (rest.startsWith("#") && (value === "" || value.endsWith(" "))) break;
    PART.lastIndex = 0;
    const { 0: part = "", groups = {} } = PART.exec(rest) ?? {};
    if (part === "") throw shellWanted(rest, origin);
    const { single, double, escaped, braced, bare, blank, plain } = groups;
    if (double !== undefined) value += expandQuoted(double, origin, caller);
    else if (blank !== undefined) value += " ";
    else value += single ?? escaped ?? plain ?? variable(braced ?? bare ?? "", origin, caller);
    rest = rest.slice(part.length);
  }
  return value.trim();
}

/** What double quotes hold: variables, and backslashes before what would have a meaning. */
function expandQuoted(text: string, origin: string, caller: Caller): string {
  if (/`|\$(?!\{\w+\}|[A-Za-z_])/.test(text.replace(/\\./g, ""))) throw shellWanted(text, origin);
  return text.replace(/\\([$`"\\])|\$(?:\{(\w+)\}|([A-Za-z_]\w*))/g, (_part, escaped, braced, bare) =>
    escaped !== undefined ? escaped : variable(braced ?? bare, origin, caller),
  );
}

const shellWanted = (text: string, origin: string): Failure =>
  new Failure("E_SETTING", `the value would need a shell at ${JSON.stringify(text.slice(0, 60))}`, {
    where: origin,
    mend: "write the value itself; variables are understood, such as ${HOME}, $USER and $UID, and so are quotes",
  });

function variable(name: string, origin: string, { env, uid }: Caller): string {
  const value = env[name] ?? (name === "UID" || name === "EUID" ? String(uid) : undefined);
  if (value !== undefined) return value;
  throw new Failure("E_SETTING", `the variable ${name} is not set`, {
    where: origin,
    mend: "set it, or write its value",
  });
}
