/**
 * Configuration files: `enroot.conf` and the files of `enroot.conf.d` in the system's directory, likewise for rootling,
 * and the directives of a container's configuration. Lines are `KEY value` or `KEY=value`. A value is written as for a
 * shell, with quotes and $VARIABLES, but no shell reads it: what would need one is refused.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { errnoOf, Failure, fileFailure } from "./errors.ts";
import type { Program } from "./settings.ts";

/** A line that gives a setting a value. */
export interface Assignment {
  /** As it was written, such as ENROOT_DATA_PATH. */
  readonly name: string;
  readonly value: string;
  /** The file and line, or the variable of the environment. */
  readonly origin: string;
}

/** Who reads the file: what its variables stand for. */
export interface Reader {
  readonly env: NodeJS.ProcessEnv;
  readonly uid: number;
  readonly program: Program;
}

/** Variables of other programs that enroot's files may set. */
const FOREIGN = /^(SSL_CERT_(DIR|FILE)|(all|no|http|https)_proxy)$/;

const isKey = (name: string, program: Program): boolean =>
  new RegExp(`^${program.toUpperCase()}_[A-Z_]+$`).test(name) || FOREIGN.test(name);

/** Lines of `text`; others than assignments are passed over, as enroot does. Throws E_SETTING. */
function readLines(lines: Iterable<readonly [number, string]>, file: string, reader: Reader): Assignment[] {
  const assignments: Assignment[] = [];
  for (const [number, line] of lines) {
    const [, name = "", text = ""] = /^\s*([A-Za-z_]+)[ \t=]+(.*)$/.exec(line) ?? [];
    if (!isKey(name, reader.program)) continue;
    const origin = `${file}:${number}`;
    assignments.push({ name, value: expand(text, origin, reader), origin });
  }
  return assignments;
}

const numbered = (text: string): [number, string][] => text.split("\n").map((line, index) => [index + 1, line]);

/** What a configuration file says. */
export const parseSettings = (text: string, file: string, reader: Reader): Assignment[] =>
  readLines(numbered(text), file, reader);

/** The directives of a container's configuration: comments such as `#ENROOT_REMAP_ROOT=y`. */
export function parseDirectives(text: string, file: string, reader: Reader): Assignment[] {
  const begin = new RegExp(`^#\\s*(?=${reader.program.toUpperCase()}_)`);
  const lines = numbered(text).filter(([, line]) => begin.test(line));
  return readLines(
    lines.map(([number, line]) => [number, line.replace(begin, "")]),
    file,
    reader,
  );
}

/**
 * Reads the system's files, the main one first: later lines win. Nothing is read but what exists. Throws E_SETTING for
 * values that cannot be read, E_IO for files that cannot.
 */
export function readSettingsFiles(reader: Reader): Assignment[] {
  const { env, program } = reader;
  const directory = env[`${program.toUpperCase()}_SYSCONF_PATH`] || `/etc/${program}`;
  const main = join(directory, `${program}.conf`);
  const dropIns = `${main}.d`;
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
    return text === undefined ? [] : parseSettings(text, file, reader);
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
function expand(text: string, origin: string, reader: Reader): string {
  let value = "";
  let rest = text.trimEnd();
  while (rest !== "") {
    // A comment begins a word.
    if (rest.startsWith("#") && (value === "" || value.endsWith(" "))) break;
    PART.lastIndex = 0;
    const { 0: part = "", groups = {} } = PART.exec(rest) ?? {};
    if (part === "") throw shellWanted(rest, origin);
    const { single, double, escaped, braced, bare, blank, plain } = groups;
    if (double !== undefined) value += expandQuoted(double, origin, reader);
    else if (blank !== undefined) value += " ";
    else value += single ?? escaped ?? plain ?? variable(braced ?? bare ?? "", origin, reader);
    rest = rest.slice(part.length);
  }
  return value.trim();
}

/** What double quotes hold: variables, and backslashes before what would have a meaning. */
function expandQuoted(text: string, origin: string, reader: Reader): string {
  if (/`|\$(?!\{\w+\}|[A-Za-z_])/.test(text.replace(/\\./g, ""))) throw shellWanted(text, origin);
  return text.replace(/\\([$`"\\])|\$(?:\{(\w+)\}|([A-Za-z_]\w*))/g, (_part, escaped, braced, bare) =>
    escaped !== undefined ? escaped : variable(braced ?? bare, origin, reader),
  );
}

const shellWanted = (text: string, origin: string): Failure =>
  new Failure("E_SETTING", `the value would need a shell at ${JSON.stringify(text.slice(0, 60))}`, {
    where: origin,
    mend: "write the value itself; variables are understood, such as ${HOME}, $USER and $UID, and so are quotes",
  });

function variable(name: string, origin: string, { env, uid }: Reader): string {
  const value = env[name] ?? (name === "UID" || name === "EUID" ? String(uid) : undefined);
  if (value !== undefined) return value;
  throw new Failure("E_SETTING", `the variable ${name} is not set`, {
    where: origin,
    mend: "set it, or write its value",
  });
}
