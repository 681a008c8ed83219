/** What every command is given, and how each describes its words. */
import { Command, CommanderError, InvalidArgumentError } from "commander";
import type { Context } from "../base/context.ts";
import { Failure } from "../base/errors.ts";
import type { ProgressMode } from "../base/progress-render.ts";
import type { Assignment } from "../base/settings-files.ts";
import { escapeJson } from "../base/text.ts";
import type { Layout } from "../store/layout.ts";

export interface Cli {
  readonly layout: Layout;
  /** The context of long work. */
  context(progress?: ProgressMode): Context;
  /** Reads the settings anew, with directives of a container's configuration, which win over the environment. */
  direct(directives: readonly Assignment[]): void;
  /** Writes a result to standard output, with a line end. */
  print(text: string): void;
  /** Writes bytes to standard output as they are; resolves when there is room for more. */
  write(bytes: Uint8Array): Promise<void>;
  /** Prints a failure as main prints those that end the process. */
  report(failure: unknown): void;
  /** The exit status, where it is not 0. */
  setStatus(status: number): void;
}

/** What work on the store needs of a command, or of a program that has no words. */
export type AtStore = Pick<Cli, "layout" | "context">;

/** A file of this directory: describes its words and does its work. */
export interface CommandFile {
  define(cli: Cli): Command;
}

/** A command with the manners of all: failures are thrown, examples end the help, `-h` works everywhere. */
export function newCommand(name: string, about: string, examples: readonly string[]): Command {
  const command = new Command(name)
    .description(about)
    .helpOption("-h, --help", "show this help")
    // The name alone finds suggestions; people type the program's before it.
    .configureHelp({ commandUsage: (shown) => `rootling ${name} ${shown.usage()}` })
    .exitOverride()
    .configureOutput({ writeErr: () => {} })
    .showSuggestionAfterError(true)
    .hook("preAction", refuseEmpty);
  const shown = examples.map((example) => `  ${example}`).join("\n");
  return command.addHelpText("after", `\nExamples:\n${shown}`);
}

/** An empty word names nothing; a script has left a variable unset. Words of a payload are its own. */
function refuseEmpty(command: Command): void {
  for (const [index, argument] of command.registeredArguments.entries()) {
    const given: unknown = command.processedArgs[index];
    const names = !argument.variadic ? [given] : argument.name() === "name" ? (given as string[]) : [];
    if (names.includes(""))
      throw new Failure("E_USAGE", `the ${argument.name()} is empty`, { mend: "see the command's --help" });
  }
}

/** Turns commander's errors into ours; null for those that only end a help text. */
export function asFailure(error: unknown): unknown {
  if (isDirectoryGone(error)) {
    return new Failure("E_NOT_FOUND", "the current directory was removed", { mend: "go to another one: cd" });
  }
  if (!(error instanceof CommanderError)) return error;
  if (error.exitCode === 0) return null;
  const [what = "", hint] = error.message.replace(/^error: /, "").split("\n");
  const near = hint?.replace(/^\(|\)$/g, "");
  return new Failure("E_USAGE", what.replace(/\.$/, ""), {
    mend: near ?? "see the command's --help",
  });
}

/** What process.cwd throws, also where a relative path is resolved. */
const isDirectoryGone = (error: unknown): boolean => (error as { syscall?: unknown } | null)?.syscall === "uv_cwd";

/**
 * Options with an optional value take it only behind `=`: in `run --pid IMAGE`, IMAGE is no value of --pid. Commander
 * takes the next word, so the word is given its meaning here. What follows the first operand is the payload's.
 */
export function bindOptionalValues(command: Command, words: readonly string[]): string[] {
  const result = [...words];
  for (let i = 0; i < result.length; i++) {
    const word = result[i] ?? "";
    if (word === "--" || !word.startsWith("-") || word === "-") break;
    const option = command.options.find(({ long, short }) => word === long || word === short);
    if (option?.optional) result[i] = `${option.long}=private`;
    else if (option?.required) i++;
  }
  return result;
}

/** For options that may repeat. */
export const collect = (value: string, previous: string[] | undefined): string[] => [...(previous ?? []), value];

const PROGRESS: readonly string[] = ["auto", "tty", "plain", "json", "none"] satisfies ProgressMode[];

export const withProgress = (command: Command): Command =>
  command.option("--progress <how>", `how to report progress: ${PROGRESS.join(", ")}`, (value: string) => {
    if (!PROGRESS.includes(value)) throw new InvalidArgumentError(`It is one of ${PROGRESS.join(", ")}.`);
    return value;
  });

export const showJson = (value: unknown): string => escapeJson(JSON.stringify(value, null, 2));
