/** What a command that makes no container would change: its steps, printed instead of done. */
import type { Command } from "commander";
import { escapeText } from "../base/text.ts";
import { type Cli, showJson } from "./cli.ts";

/** One change, in the order in which they happen. */
export interface Step {
  /** What is done: import, unpack, name, read, map, set, write, replace, create, end, kill, remove, forget. */
  readonly verb: string;
  /** To what: `container web`, `image debian:12`, `file out.sqsh`. */
  readonly object: string;
  /** Who asked for it: a flag, or `command line`. */
  readonly origin: string;
}

export const step = (verb: string, object: string, origin = "command line"): Step => ({ verb, object, origin });

/** The flag of each command that changes something; what it prints is `showSteps`, or a plan (boot-words.ts). */
export const withSteps = (command: Command): Command =>
  command.option("--dry-run", "print the steps, and change nothing");

/** Prints the steps: a line each with who asked for it, or as JSON. */
export function showSteps(cli: Pick<Cli, "print">, steps: readonly Step[], json: boolean | undefined): void {
  const digits = String(steps.length - 1).length;
  const line = ({ verb, object, origin }: Step, index: number) =>
    `${String(index).padStart(digits)}  ${verb} ${escapeText(object)}  # ${escapeText(origin)}`;
  cli.print(json ? showJson({ version: 1, steps }) : steps.map(line).join("\n"));
}
