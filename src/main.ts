/** What users start, by way of entry.ts: from words to a command, and the only place where the process ends. */
import { constants } from "node:os";
import type { Context } from "./base/context.ts";
import { EXIT_USAGE, errnoOf, Failure, fileFailure, systemFailure } from "./base/errors.ts";
import { mark } from "./base/marks.ts";
import { lazyProgress } from "./base/progress.ts";
import { createProgress } from "./base/progress-render.ts";
import type { Settings } from "./base/settings.ts";
import { loadSettings } from "./base/settings-load.ts";
import {
  failureStatus,
  isOverlayName,
  type Name,
  nameOf,
  type OverlayName,
  type Program,
  programOf,
  wordsOf,
} from "./base/settings-places.ts";
import { escapeText } from "./base/text.ts";
import type { Cli } from "./commands/cli.ts";
import { commands } from "./commands/table.ts";
import { type Layout, layoutOf } from "./store/layout.ts";

function overview(): string {
  const shown = Object.entries(commands).filter(([, { hidden }]) => !hidden);
  const width = Math.max(...shown.map(([name]) => name.length));
  return [
    "rootling: any image becomes a root file system, any root file system boots.",
    "",
    "Usage: rootling COMMAND [WORDS...]",
    "",
    ...shown.map(([name, { about }]) => `  ${name.padEnd(width)}  ${about}`),
    "",
    "Examples:",
    "  rootling run                                   # a shell over the host's own root",
    "  rootling run docker://busybox:1.36 echo hello",
    "  rootling COMMAND --help                        # words and examples of a command",
  ].join("\n");
}

/** What could not be written to standard output. */
let lost: unknown;

/** Writes a result. What goes wrong with it is known once finishOutput has waited. */
function print(text: string): void {
  if (process.stdout.listenerCount("error") === 0) process.stdout.on("error", (error) => (lost ??= error));
  process.stdout.write(`${text}\n`);
}

/** The same for bytes; waits where the reader is slow. */
const write = (bytes: Uint8Array): Promise<void> =>
  new Promise((resolve) => {
    if (process.stdout.listenerCount("error") === 0) process.stdout.on("error", (error) => (lost ??= error));
    process.stdout.write(bytes, () => resolve());
  });

/** Throws if a result was lost, but not where its reader wanted no more of it, such as head(1). */
async function finishOutput(): Promise<void> {
  await new Promise<void>((resolve) => process.stdout.write("", () => resolve()));
  if (lost !== undefined && errnoOf(lost) !== "EPIPE") throw fileFailure(lost, "writing the result", "standard output");
}

/** Standard error. Its loss stops nothing: an import goes on where nobody reads of it any more. */
function complaints(): NodeJS.WriteStream {
  if (process.stderr.listenerCount("error") === 0) process.stderr.on("error", () => {});
  return process.stderr;
}

/** The name that we go by, and the one whose settings count. */
const ourName: Name = nameOf(process.argv);
const program: Program = programOf(process.argv);

/** How each name begins what it says, and puts what others have worded for rootling. */
const manners: Readonly<
  Record<Exclude<Name, OverlayName>, { error: string; warning: string; words(text: string): string }>
> = {
  rootling: { error: "rootling: ", warning: "rootling: ", words: (text) => text },
  enroot: {
    error: "[ERROR] ",
    warning: "[WARN] ",
    words: (text) =>
      text
        .replace(/\bROOTLING_(?=[A-Z]+_)/g, "ENROOT_")
        .replace(/\brootling (?=(list|remove|create|start|exec|import|export|bundle|info)\b)/g, "enroot "),
  },
  // As its logger writes them.
  "virt-bootstrap": { error: "ERROR   : ", warning: "WARNING : ", words: (text) => text },
};

const ourManners = manners[isOverlayName(ourName) ? "rootling" : ourName];

/** Prints a failure, once, escaped for terminals. */
function report(thrown: unknown): void {
  const error = systemFailure(thrown);
  const failure = error instanceof Failure ? error : undefined;
  const { error: begin, words } = ourManners;
  const lines = [
    `${begin}${escapeText(failure?.what ?? (error as Error)?.message ?? String(error))}${failure ? ` [${failure.code}]` : ""}`,
  ];
  if (failure?.where) lines.push(`  from: ${escapeText(failure.where)}`);
  const cause = failure?.cause instanceof Failure ? failure.cause.what : undefined;
  if (cause) lines.push(`  because: ${escapeText(cause)}`);
  if (failure?.mend) lines.push(`  mend: ${escapeText(words(failure.mend))}`);
  if (failure === undefined) {
    lines.push("  this is a defect in rootling: please report it");
    if (process.env.ROOTLING_DEBUG) lines.push((error as Error)?.stack ?? "");
  }
  complaints().write(`${lines.join("\n")}\n`);
}

function makeCli(): Cli & { status(): number } {
  let status = 0;
  let signal: AbortSignal | undefined;
  let known: Settings | undefined;
  let places: Layout | undefined;
  // Read where they are needed: help and version show without them.
  const settings = () => (known ??= loadSettings(program));
  return {
    get layout() {
      return (places ??= layoutOf(settings()));
    },
    context: (mode = "auto"): Context => {
      const progress = lazyProgress(() => createProgress(mode, complaints()));
      return {
        settings: settings(),
        get signal() {
          return (signal ??= stopOnSignals());
        },
        progress,
        warn: (message) => progress.say(`${ourManners.warning}${escapeText(ourManners.words(message))}`),
      };
    },
    direct: (directives) => {
      known = loadSettings(program, directives);
    },
    print,
    write,
    report,
    setStatus: (value) => {
      status = value;
    },
    status: () => status,
  };
}

function statusOf(error: unknown): number {
  const failure = failureStatus(ourName);
  if (!(error instanceof Failure)) return failure;
  if (ourName === "rootling" || error.code === "E_INTERRUPTED") return error.exitStatus;
  // Words that argparse refuses.
  return ourName === "virt-bootstrap" && error.exitStatus === EXIT_USAGE ? EXIT_USAGE : failure;
}

/** The nearest name by edit distance, if near enough to be meant. */
async function nearest(word: string): Promise<string | undefined> {
  const { Command } = await import("commander");
  const program = new Command("rootling").exitOverride().configureOutput({ writeErr: () => {} });
  for (const name of Object.keys(commands)) program.command(name);
  try {
    program.parse([word], { from: "user" });
  } catch (error) {
    return /Did you mean ([^?]+)\?/.exec((error as Error).message)?.[1];
  }
  return undefined;
}

/** For a Node that bin/rootling did not choose: one that ROOTLING_NODE names. */
function checkNode(): void {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  if (major > 24 || (major === 24 && minor >= 15)) return;
  throw new Failure("E_PROGRAM", `Node ${process.version} is too old`, {
    where: process.execPath,
    mend: "use Node 24.15 or newer: unset ROOTLING_NODE, or set it to the path of one",
  });
}

/** A second signal within this many milliseconds is the first one again: timeout(1) sends it twice. */
const SAME_SIGNAL = 1000;

/** The first signal asks the work to stop and to clear up after itself; whoever insists need not wait for that. */
function stopOnSignals(): AbortSignal {
  const interrupted = new AbortController();
  let first: number | undefined;
  const ignored = Number(process.env.ROOTLING_IGNORED ?? 0);
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    // Ignored by the caller, as by nohup: see bin/rootling.
    if ((ignored >> (constants.signals[name] - 1)) & 1) {
      process.on(name, () => {});
      continue;
    }
    process.on(name, () => {
      const status = 128 + constants.signals[name];
      if (first !== undefined && performance.now() - first > SAME_SIGNAL) process.exit(status);
      first ??= performance.now();
      interrupted.abort(status);
    });
  }
  return interrupted.signal;
}

const isHelp = (word: string | undefined): boolean => word === "help" || word === "--help" || word === "-h";

/** Does what the words say, under the name that we go by; resolves to the exit status. */
async function main(words: readonly string[]): Promise<number> {
  mark("words");
  checkNode();
  // Words for the executor, which starts it under our name.
  const ours = commands[words[0] ?? ""]?.hidden === true;
  if (ourName === "rootling" || ours) return rootling(words);
  const cli = makeCli();
  if (ourName === "enroot") await (await import("./compat/enroot.ts")).enroot(cli, words);
  else if (isOverlayName(ourName)) await (await import("./compat/overlay.ts")).overlay(cli, ourName, words);
  else await (await import("./compat/virt-bootstrap.ts")).virtBootstrap(cli, words);
  await finishOutput();
  return cli.status();
}

async function rootling(words: readonly string[]): Promise<number> {
  if (isHelp(words[0]) && words[1] !== undefined && !isHelp(words[1])) return rootling([words[1], "--help"]);
  const [name, ...rest] = words;
  if (name === undefined || isHelp(name)) {
    print(overview());
    await finishOutput();
    return name === undefined ? EXIT_USAGE : 0;
  }
  const entry = Object.hasOwn(commands, name) ? commands[name] : name === "--version" ? commands.version : undefined;
  if (entry === undefined) {
    const near = await nearest(name);
    throw new Failure("E_USAGE", `there is no command ${JSON.stringify(name)}`, {
      mend: near ? `did you mean ${near}?` : "see `rootling help`",
    });
  }
  const { bindOptionalValues, asFailure } = await import("./commands/cli.ts");
  const cli = makeCli();
  try {
    const command = (await entry.load()).define(cli);
    command.configureOutput({ writeOut: (text) => print(text.trimEnd()) });
    await command.parseAsync(bindOptionalValues(command, rest), { from: "user" });
  } catch (error) {
    const failure = asFailure(error);
    if (failure !== null) throw failure;
  }
  await finishOutput();
  return cli.status();
}

main(wordsOf(process.argv)).then(
  (status) => process.exit(status),
  (error: unknown) => {
    report(error);
    process.exit(statusOf(error));
  },
);
