/** What pages, man pages and completions are made of: the commands of both names, with their words. */
import type { Command } from "commander";
import type { Cli } from "../../src/commands/cli.ts";
import { commands as ownCommands } from "../../src/commands/table.ts";
import { commands as enrootCommands } from "../../src/compat/enroot.ts";
import { overlayCommands } from "../../src/compat/overlay.ts";
import { options as virtBootstrapOptions } from "../../src/compat/virt-bootstrap.ts";

export interface OptionWords {
  readonly short: string | undefined;
  readonly long: string;
  /** What its value is called, without brackets; undefined for a switch. */
  readonly value: string | undefined;
  /** The value may be left out; then it is only taken behind `=`. */
  readonly optional: boolean;
  readonly about: string;
}

export interface CommandWords {
  readonly name: string;
  /** In an overview: begins lower, without full stop. */
  readonly short: string;
  /** A paragraph or more. */
  readonly about: string;
  /** The words behind the command's name. */
  readonly usage: string;
  readonly operands: readonly { readonly name: string; readonly about: string }[];
  readonly options: readonly OptionWords[];
  readonly examples: readonly string[];
}

export interface ProgramWords {
  readonly name: "rootling" | "enroot";
  readonly about: string;
  readonly commands: readonly CommandWords[];
}

const HELP: OptionWords = {
  short: "-h",
  long: "--help",
  value: undefined,
  optional: false,
  about: "show this help",
};

/** Descriptions read nothing of it. */
const idleCli = new Proxy({} as Cli, {
  get: (_, name) => {
    throw new Error(`a command asks for ${String(name)} while it describes its words`);
  },
});

/** The examples stand in the help alone, at its end. */
function examplesOf(command: Command): string[] {
  let help = "";
  command.configureOutput({ writeOut: (text) => (help += text) }).outputHelp();
  const [, examples = ""] = help.split("\nExamples:\n");
  return examples
    .split("\n")
    .map((line) => line.trim())
    .filter(Boolean);
}

function describe(name: string, short: string, command: Command): CommandWords {
  return {
    name,
    short,
    about: command.description(),
    usage: command.usage(),
    operands: command.registeredArguments.map((argument) => ({
      name: argument.name(),
      about: argument.description,
    })),
    options: [
      ...command.options.map(({ short, long, flags, optional, description }) => ({
        short,
        long: long ?? "",
        value: /[<[]([^>\]]+)[>\]]/.exec(flags)?.[1],
        optional,
        about: description,
      })),
      HELP,
    ],
    examples: examplesOf(command),
  };
}

/** rootling's own commands, hidden ones left out. */
export async function rootlingWords(): Promise<ProgramWords> {
  const shown = Object.entries(ownCommands).filter(([, { hidden }]) => !hidden);
  return {
    name: "rootling",
    about: "any image becomes a root file system, any root file system boots",
    commands: await Promise.all(
      shown.map(async ([name, { about, load }]) => describe(name, about, (await load()).define(idleCli))),
    ),
  };
}

/** The commands of the name enroot. */
export function enrootWords(): ProgramWords {
  return {
    name: "enroot",
    about: "containers as enroot has them, by rootling",
    commands: Object.entries(enrootCommands).map(([name, { usage, about, options }]) => ({
      name,
      short: (about.split("\n")[0] ?? "").replace(/^./, (first) => first.toLowerCase()).replace(/\.$/, ""),
      about,
      usage: usage.slice(name.length + 1),
      operands: [],
      options: [
        ...options.map(({ long, short, value, about: does }) => ({
          short: short && `-${short}`,
          long: `--${long}`,
          value,
          optional: false,
          about: does,
        })),
        HELP,
      ],
      examples: [],
    })),
  };
}

/** The commands of overlay-boot. */
export const overlayWords = (): readonly CommandWords[] =>
  Object.entries(overlayCommands).map(([name, { usage, short, about }]) => ({
    ...{ name, short, about, usage, operands: [], options: [HELP], examples: [] },
  }));

/** The one command of the name virt-bootstrap. */
export const virtBootstrapWords = (): CommandWords => ({
  name: "virt-bootstrap",
  short: "make the root file system of an image or a tarball in a directory, as virt-bootstrap does",
  about:
    "Makes the root file system of URI in the directory DEST. URI is docker://[HOST[:PORT]/]NAME[:TAG][@DIGEST], the path of a tarball, file:///path/to/one, or any other SOURCE of `rootling import`.",
  usage: "[options] URI DEST",
  operands: [],
  options: virtBootstrapOptions.map(({ long, short, value, about }) => ({
    short: short && `-${short}`,
    long: `--${long}`,
    value,
    optional: false,
    about,
  })),
  examples: ["virt-bootstrap docker://fedora /srv/fedora", "virt-bootstrap --status-only ./rootfs.tar.xz /srv/root"],
});
