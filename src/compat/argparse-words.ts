/**
 * Words as Python's argparse takes them: options and operands in any order, long options by an unambiguous beginning,
 * values as the next word, behind `=`, or right behind a short option; `--` ends the options.
 */
import { Failure } from "../base/errors.ts";

export interface ArgparseOption {
  readonly long: string;
  readonly short?: string;
  /** What its value is called; an option without takes none. */
  readonly value?: string;
  readonly about: string;
}

export interface ArgparseWords {
  /** All values of an option, in order: those of switches are empty. */
  values(long: string): readonly string[];
  /** Which of these options came last. */
  last(longs: readonly string[]): string | undefined;
  readonly operands: readonly string[];
}

const wrong = (what: string) => new Failure("E_USAGE", what, { mend: "see --help" });

/** Splits the words of a program with these options and operands. Throws E_USAGE. */
export function readArgparseWords(
  options: readonly ArgparseOption[],
  operands: readonly string[],
  words: readonly string[],
): ArgparseWords {
  const given: { readonly long: string; readonly value: string }[] = [];
  const found: string[] = [];
  let at = 0;
  /** The value of an option: `joined`, or the next word. */
  const take = (option: ArgparseOption, joined: string | undefined): void => {
    const shown = option.short === undefined ? `--${option.long}` : `-${option.short}/--${option.long}`;
    if (option.value === undefined) {
      if (joined !== undefined) throw wrong(`argument ${shown}: takes no value`);
      given.push({ long: option.long, value: "" });
      return;
    }
    const next = words[at + 1];
    if (joined === undefined && (next === undefined || /^-(?![0-9]+$)./s.test(next))) {
      throw wrong(`argument ${shown}: expected one argument`);
    }
    if (joined === undefined) at++;
    given.push({ long: option.long, value: joined ?? next ?? "" });
  };
  for (; at < words.length; at++) {
    const word = words[at] ?? "";
    if (word === "--") {
      found.push(...words.slice(at + 1));
      break;
    }
    if (!/^-./s.test(word)) found.push(word);
    else if (word.startsWith("--")) takeLong(word);
    else takeShort(word);
  }
  const missing = operands.slice(found.length);
  if (missing.length > 0) throw wrong(`the following arguments are required: ${missing.join(", ")}`);
  if (found.length > operands.length) {
    throw wrong(`unrecognized arguments: ${found.slice(operands.length).join(" ")}`);
  }
  return {
    values: (long) => given.filter((one) => one.long === long).map(({ value }) => value),
    last: (longs) => given.findLast(({ long }) => longs.includes(long))?.long,
    operands: found,
  };

  function takeLong(word: string): void {
    const [, name = "", joined] = /^--([^=]*)(?:=(.*))?$/s.exec(word) ?? [];
    const exact = options.filter(({ long }) => long === name);
    const matching = exact.length > 0 ? exact : options.filter(({ long }) => long.startsWith(name));
    const [option] = matching;
    if (matching.length > 1) {
      const could = matching.map(({ long }) => `--${long}`).join(", ");
      throw wrong(`ambiguous option: --${name} could match ${could}`);
    }
    if (option === undefined) throw wrong(`unrecognized arguments: ${word}`);
    take(option, joined);
  }

  /** Switches may stand together, and a value right behind its option. */
  function takeShort(word: string): void {
    for (let rest = word.slice(1); rest !== ""; rest = rest.slice(1)) {
      const option = options.find(({ short }) => short === rest[0]);
      if (option === undefined) throw wrong(`unrecognized arguments: ${word}`);
      if (option.value === undefined) {
        take(option, undefined);
        continue;
      }
      take(option, rest.length > 1 ? rest.slice(1).replace(/^=/, "") : undefined);
      return;
    }
  }
}
