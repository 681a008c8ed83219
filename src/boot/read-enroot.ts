/**
 * enroot's configuration of a start: files of a site and of the user, as parts of an intent. What is read is given as
 * texts (startup-files.ts); this is pure.
 */
import { Failure } from "../base/errors.ts";
import { VARIABLE } from "./fstab.ts";
import type { Startup, Variable } from "./intent.ts";

/** A file and what is in it; `name` as messages show it. */
export interface ConfigFile {
  readonly name: string;
  readonly text: string;
}

export interface StartupTexts {
  /** environ.d, mounts.d: the system's files, then the user's, each by name. */
  readonly environ: readonly ConfigFile[];
  readonly mounts: readonly ConfigFile[];
  /** hooks.d: executable files. */
  readonly hooks: readonly { readonly path: string; readonly name: string }[];
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Replaces ${NAME} by the caller's value; what is not set is nothing. */
export const substitute = (text: string, caller: Environment): string =>
  text.replace(VARIABLE, (_, name: string) => caller[name] ?? "");

interface Line {
  readonly text: string;
  readonly origin: string;
}

const linesOf = ({ name, text }: ConfigFile, caller: Environment): Line[] =>
  text
    .split("\n")
    .map((line, index) => ({ text: substitute(line, caller).trim(), origin: `${name}:${index + 1}` }))
    .filter(({ text }) => text !== "" && !text.startsWith("#"));

/** Quotes around a value are no part of it. */
const unquote = (value: string): string => /^(["'])(.*)\1$/s.exec(value)?.[2] ?? value;

function readVariable({ text, origin }: Line): Variable {
  const [, name, value] = /^([A-Za-z_][A-Za-z0-9_]*)=(.*)$/s.exec(text) ?? [];
  if (name === undefined || value === undefined) {
    throw new Failure("E_USAGE", "not a variable: a line has the form NAME=VALUE", {
      where: origin,
      mend: "correct the line, or make it a comment with #",
    });
  }
  return { name, value: unquote(value), origin };
}

/** The sixth field of a line of fstab: when it is mounted. */
function passOf({ text, origin }: Line): -1 | 0 {
  const pass = text.split(/[ \t]+/)[5] ?? "0";
  if (pass === "-1") return -1;
  if (pass === "0") return 0;
  throw new Failure("E_USAGE", `the pass number ${pass} is neither 0 nor -1`, {
    where: origin,
    mend: "use -1 for what hooks need, else 0",
  });
}

/** From texts to the parts of a start that they decide. Throws E_USAGE, naming file and line. */
export function readStartupTexts(
  { environ, mounts, hooks }: StartupTexts,
  caller: Environment,
): Pick<Startup, "environment" | "lines" | "hooks"> {
  return {
    environment: environ.flatMap((file) => linesOf(file, caller)).map(readVariable),
    lines: mounts
      .flatMap((file) => linesOf(file, caller))
      .map((line) => ({ line: line.text, pass: passOf(line), origin: line.origin })),
    hooks: hooks.map(({ path, name }) => ({ value: path, origin: name })),
  };
}

/** SRC:DST:OPTIONS of enroot's --mount, whose colons are blanks of a line. Throws E_USAGE. */
export function readEnrootMount(text: string): Startup["lastLines"][number] {
  const origin = "--mount";
  if (/^\S+:\S+$/.test(text)) return { line: text.replaceAll(":", " "), origin };
  throw new Failure("E_USAGE", `not a mount: ${text}`, { where: origin, mend: "write SRC:DST or SRC:DST:OPTIONS" });
}
