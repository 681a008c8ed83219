/**
 * The words of enroot's commands: options before the first operand, none bundled, `--` between them if need be, values
 * as the next word or behind `=` of the long form. An option that is not known, or that lacks its value, is refused.
 */
import { Failure } from "../base/errors.ts";

export interface Option {
  readonly long: string;
  readonly short?: string;
  /** What its value is called; an option without takes none. */
  readonly value?: string;
  readonly about: string;
}

export interface Words {
  /** Whether the option was given. */
  has(long: string): boolean;
  /** Its last value. */
  value(long: string): string | undefined;
  /** All its values, in order. */
  values(long: string): readonly string[];
  readonly operands: readonly string[];
}

/** Asks for the help of a command, instead of doing something. */
export const HELP = Symbol("help");

/** Splits the words of the command `name`. Throws E_USAGE. */
export function readWords(
  name: string,
  options: readonly Option[],
  least: number,
  words: readonly string[],
): Words | typeof HELP {
  const wrong = (what: string) => new Failure("E_USAGE", what, { mend: `see \`enroot ${name} --help\`` });
  const given = new Map<string, string[]>();
  let at = 0;
  for (; at < words.length; at++) {
    const word = words[at] ?? "";
    if (word === "--") {
      at++;
      break;
    }
    if (!/^-./.test(word)) break;
    if (word === "-h" || word === "--help") return HELP;
    const [, flag = "", joined] = /^(--[^=]+)=(.*)$/s.exec(word) ?? [undefined, word];
    const option = options.find(({ long, short }) => flag === `--${long}` || (short && flag === `-${short}`));
    if (option === undefined || (joined !== undefined && option.value === undefined))
      throw wrong(`there is no option ${JSON.stringify(word)}`);
    const value = option.value === undefined ? "" : (joined ?? words[++at] ?? "");
    if (option.value !== undefined && value === "") throw wrong(`${flag} lacks its value`);
    given.set(option.long, [...(given.get(option.long) ?? []), value]);
  }
  const operands = words.slice(at);
  if (operands.length < least) throw wrong("words are missing");
  return {
    has: (long) => given.has(long),
    value: (long) => given.get(long)?.at(-1),
    values: (long) => given.get(long) ?? [],
    operands,
  };
}

/** The help of one command. */
export function helpOf(usage: string, about: string, options: readonly Option[]): string {
  const rows = [...options, { long: "help", short: "h", about: "show this help" } as Option].map(
    ({ long, short, value, about: does }) =>
      [`   ${short ? `-${short},` : "   "} --${long}${value ? ` ${value}` : ""}`, does] as const,
  );
  const width = Math.max(...rows.map(([flag]) => flag.length));
  return [
    `Usage: enroot ${usage}`,
    "",
    about,
    "",
    " Options:",
    ...rows.map(([flag, does]) => `${flag.padEnd(width)}  ${does}`),
  ].join("\n");
}
