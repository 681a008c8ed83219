/**
 * The configuration file of a subhost, as overlay-boot(8) has it: `NAME=value` flush left, the rest of the line is the
 * value, without blanks around it; `!command` is run for its output; other lines are comments. Pure over the text.
 */

/** Every variable; those from INIT_SYSTEM on are beyond overlay-boot's own. */
export const VARIABLES = [
  ...["NAME", "BASE", "CABLES", "INIT", "LIVE", "LOG", "LOWER", "POSTMOUNT", "PREMOUNT", "RAM_SIZE", "SHARE"],
  ...["START", "UPPER", "WORK"],
  ...["INIT_SYSTEM", "START_TIMEOUT", "STOP_TIMEOUT", "STOP_SIGNAL", "USERNS", "HIDE"],
  // Of the network, beside CABLES: see cables.ts.
  ...["ADDRESS", "GATEWAY", "HOST_ADDRESS", "MTU", "BANDWIDTH", "NAT", "ANTISPOOF", "RESOLVER", "PUBLISH"],
] as const;

export type Variable = (typeof VARIABLES)[number];

/** A line that sets a variable. */
export interface Assignment {
  readonly name: Variable;
  /** Without the blanks around it; of a command, without its exclamation mark. */
  readonly value: string;
  /** The value is what this command prints. */
  readonly command: boolean;
  /** `FILE:LINE`. */
  readonly origin: string;
}

/** What is wrong, where, and what helps: said together with all others of the file. */
export interface Mistake {
  readonly what: string;
  readonly where: string;
  readonly mend: string;
}

export interface Conf {
  readonly path: string;
  readonly assignments: readonly Assignment[];
  readonly mistakes: readonly Mistake[];
  /** Lines that look like an assignment and are none. */
  readonly remarks: readonly string[];
}

/** Those that may be given more than once. */
const REPEATED: ReadonlySet<string> = new Set<Variable>(["SHARE"]);

/** Those whose exclamation mark means nothing. */
const LITERAL: ReadonlySet<string> = new Set<Variable>(["SHARE"]);

const isVariable = (name: string): name is Variable => (VARIABLES as readonly string[]).includes(name);

/** Reads the text of the file at `path`, which is part of every origin. Empty values count as not given. */
export function parseConf(text: string, path: string): Conf {
  const assignments: Assignment[] = [];
  const mistakes: Mistake[] = [];
  const remarks: string[] = [];
  text.split("\n").forEach((line, index) => {
    const origin = `${path}:${index + 1}`;
    const [, name, rest = ""] = /^([A-Z][A-Z0-9_]*)=(.*)$/.exec(line.replace(/\r$/, "")) ?? [];
    if (name === undefined) {
      const near = /^\s*([A-Z][A-Z0-9_]*)\s*=/.exec(line)?.[1] ?? "";
      if (isVariable(near))
        remarks.push(`${origin} is a comment: ${near} has to stand flush left, with = right behind it`);
      return;
    }
    if (!isVariable(name)) {
      mistakes.push(unknown(name, origin));
      return;
    }
    const earlier = assignments.find((one) => one.name === name && !REPEATED.has(name));
    if (earlier !== undefined) {
      mistakes.push({
        what: `${name} is set twice`,
        where: origin,
        mend: `leave one of them out: the other is ${earlier.origin}`,
      });
      return;
    }
    const value = rest.trim();
    const command = value.startsWith("!") && !LITERAL.has(name);
    if (value !== "") assignments.push({ name, value: command ? value.slice(1).trim() : value, command, origin });
  });
  if (text.includes("\0")) mistakes.push({ what: "the file holds a NUL byte", where: path, mend: "take it out" });
  return { path, assignments, mistakes, remarks };
}

function unknown(name: string, origin: string): Mistake {
  const [near] = VARIABLES.map((one) => ({ one, far: distance(one, name) }))
    .filter(({ one, far }) => far <= Math.floor((one.length + 1) / 3))
    .sort((a, b) => a.far - b.far)
    .map(({ one }) => one);
  return {
    what: `there is no variable ${name}`,
    where: origin,
    mend: near === undefined ? `the variables are ${VARIABLES.join(", ")}` : `did you mean ${near}?`,
  };
}

/** Edit distance. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
