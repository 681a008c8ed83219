/** What users start: the table of commands, and the only place where the process ends. */
import { enableCompileCache } from "node:module";
import type { Context } from "./base/context.ts";
import { EXIT_FAILURE, EXIT_USAGE, Failure } from "./base/errors.ts";
import type { Progress } from "./base/progress.ts";
import type { ProgressMode } from "./base/progress-render.ts";
import { readSettings } from "./base/settings.ts";
import { escapeText } from "./base/text.ts";
import type { Cli, CommandFile } from "./commands/cli.ts";
import { layoutOf } from "./store/layout.ts";

interface CommandEntry {
  about: string;
  load(): Promise<CommandFile>;
  /** Left out of the overview: programs start it, not people. */
  hidden?: boolean;
}

const commands: Readonly<Record<string, CommandEntry>> = {
  run: { about: "run a command in an ephemeral container", load: () => import("./commands/run.ts") },
  import: { about: "bring an image into the store, or into a file", load: () => import("./commands/import.ts") },
  create: { about: "make a container of an image", load: () => import("./commands/create.ts") },
  start: { about: "start a container", load: () => import("./commands/start.ts") },
  exec: { about: "run another command in a running container", load: () => import("./commands/exec.ts") },
  list: { about: "list containers and what runs", load: () => import("./commands/list.ts") },
  images: { about: "list stored images", load: () => import("./commands/images.ts") },
  inspect: { about: "show an image's configuration, layers and waste", load: () => import("./commands/inspect.ts") },
  remove: { about: "remove containers or images", load: () => import("./commands/remove.ts") },
  prune: { about: "free what nobody needs", load: () => import("./commands/prune.ts") },
  info: { about: "show settings and disk usage", load: () => import("./commands/info.ts") },
  plan: { about: "print the steps of a run, start or exec", load: () => import("./commands/plan.ts") },
  doctor: { about: "try what this host offers", load: () => import("./commands/doctor.ts") },
  version: { about: "show versions", load: () => import("./commands/version.ts") },
  explain: { about: "put a failed step into words", load: () => import("./commands/explain.ts"), hidden: true },
};

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

/** Prints a failure, once, escaped for terminals. */
function report(error: unknown): void {
  const failure = error instanceof Failure ? error : undefined;
  const lines = [
    `rootling: ${escapeText(failure?.what ?? (error as Error)?.message ?? String(error))}${failure ? ` [${failure.code}]` : ""}`,
  ];
  if (failure?.where) lines.push(`  from: ${escapeText(failure.where)}`);
  const cause = failure?.cause instanceof Failure ? failure.cause.what : undefined;
  if (cause) lines.push(`  because: ${escapeText(cause)}`);
  if (failure?.mend) lines.push(`  mend: ${escapeText(failure.mend)}`);
  if (failure === undefined) {
    lines.push("  this is a defect in rootling: please report it");
    if (process.env.ROOTLING_DEBUG) lines.push((error as Error)?.stack ?? "");
  }
  process.stderr.write(`${lines.join("\n")}\n`);
}

function makeCli(signal: AbortSignal, createProgress: (mode: ProgressMode) => Progress): Cli & { status(): number } {
  let status = 0;
  const settings = readSettings(process.env, process.geteuid?.() ?? 0);
  return {
    layout: layoutOf(settings),
    context: (progress = "auto"): Context => ({
      settings,
      signal,
      progress: createProgress(progress),
      warn: (message) => void process.stderr.write(`rootling: ${escapeText(message)}\n`),
    }),
    print: (text) => void process.stdout.write(`${text}\n`),
    report,
    setStatus: (value) => {
      status = value;
    },
    status: () => status,
  };
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

/** Does what the words say; resolves to the exit status. */
async function main(words: readonly string[]): Promise<number> {
  const [name, ...rest] = words;
  if (name === undefined || name === "help" || name === "--help" || name === "-h") {
    process.stdout.write(`${overview()}\n`);
    return name === undefined ? EXIT_USAGE : 0;
  }
  const entry = Object.hasOwn(commands, name) ? commands[name] : name === "--version" ? commands.version : undefined;
  if (entry === undefined) {
    const near = await nearest(name);
    throw new Failure("E_USAGE", `there is no command ${JSON.stringify(name)}`, {
      mend: near ? `did you mean ${near}?` : "see `rootling help`",
    });
  }
  const interrupted = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => interrupted.abort());
  const { createProgress } = await import("./base/progress-render.ts");
  const { bindOptionalValues, asFailure } = await import("./commands/cli.ts");
  const cli = makeCli(interrupted.signal, (mode) => createProgress(mode, process.stderr));
  try {
    const command = (await entry.load()).define(cli);
    await command.parseAsync(bindOptionalValues(command, rest), { from: "user" });
    return cli.status();
  } catch (error) {
    const failure = asFailure(error);
    if (failure === null) return 0;
    throw failure;
  }
}

// Compiled code is kept between runs: most of a start is the loading of modules.
enableCompileCache();
main(process.argv.slice(2)).then(
  (status) => process.exit(status),
  (error: unknown) => {
    report(error);
    process.exit(error instanceof Failure ? error.exitStatus : EXIT_FAILURE);
  },
);
