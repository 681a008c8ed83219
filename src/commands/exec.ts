/** `rootling exec`: another process in a container that runs. */

import { join } from "node:path";
import { makePrivateDirectory } from "../base/files.ts";
import { ourselves, ownerName, ownerOf, startTime } from "../base/owner.ts";
import { carryOut, carryOutBeside, planExec, showTerminal, startMonitor } from "../boot/boot.ts";
import { type ExecIntent, from } from "../boot/intent.ts";
import { readVariable } from "../boot/read-flags.ts";
import { runtimePaths } from "../store/layout.ts";
import type { Run } from "../store/runs.ts";
import { refuseIdleFlags, showPlan, withDryRun } from "./boot-words.ts";
import { type Cli, collect, newCommand } from "./cli.ts";
import { findRuns, nothingRuns, onlyRun } from "./find-run.ts";
import { DETACH_KEYS, ownTerminal, readDetachKeys, refuseWithoutTerminal } from "./terminal-words.ts";

export interface ExecOptions {
  env?: string[];
  workdir?: string;
  user?: string;
  tty?: boolean;
  detachKeys?: string;
  dryRun?: boolean;
  json?: boolean;
}

export const define = (cli: Cli) =>
  withDryRun(
    newCommand("exec", "Run another command in a running container.", [
      "rootling exec web ps",
      "rootling exec 4711 sh          # by the pid that `rootling list` shows",
      "rootling exec --env DEBUG=1 web env",
      "rootling exec --tty web sh",
    ]),
  )
    .argument("<name>", "a container, or the pid of a started process")
    .argument("<command...>", "command and arguments")
    .option("-e, --env <variable>", "set NAME=VALUE, or NAME to the caller's value (may repeat)", collect)
    .option("-w, --workdir <path>", "directory in which the command runs")
    .option("-u, --user <who>", "USER[:GROUP] of the container (as root only)")
    .option("-t, --tty", "a terminal of the container, shown on ours")
    .option("--detach-keys <keys>", `what to type to leave the command running (${DETACH_KEYS})`)
    .passThroughOptions()
    .action(async (name: string, command: string[], options: ExecOptions) => {
      refuseIdleFlags(options);
      await execIn(cli, findRun(cli, name), command, options);
    });

/** Plans the command in what runs, prints the plan or becomes it. */
export async function execIn(cli: Cli, run: Run, command: string[], options: ExecOptions): Promise<void> {
  const keys = readDetachKeys(options.detachKeys ?? DETACH_KEYS);
  const asked = execIntent(run, command, options);
  const intent = { ...asked, ...ownTerminal(asked) };
  if (intent.terminal && !options.dryRun) refuseWithoutTerminal();
  const context = cli.context("none");
  const monitor = intent.terminal && !options.dryRun ? await startMonitor(context) : undefined;
  const owner = ownerName(monitor === undefined ? ourselves() : ownerOf(monitor.pid));
  const { wires, terminals } = runtimePaths(cli.layout);
  const socket = join(terminals, owner);
  const plan = planExec(intent, socket);
  if (options.dryRun) return showPlan(cli, plan, options.json);
  for (const directory of [wires, ...(intent.terminal ? [terminals] : [])]) makePrivateDirectory(directory);
  if (monitor === undefined) return carryOut(context, plan, join(wires, owner));
  const failed = await carryOutBeside(context, plan, join(wires, owner), monitor);
  if (failed !== undefined) return cli.setStatus(failed);
  await showTerminal(context, socket, keys, "starter");
}

/** The run of a container's name or of a pid. Throws E_NOT_FOUND; E_USAGE where a name means several. */
export function findRun(cli: Cli, name: string): Run {
  const found = findRuns(cli.layout, name);
  const run = onlyRun(name, found);
  if (run !== undefined) return run;
  if (!found.container && /^[0-9]+$/.test(name) && startTime(Number(name)) !== undefined)
    return foreignRun(Number(name));
  throw nothingRuns(name, found);
}

/** A descendant of a container's first process: its namespaces are as good. */
const foreignRun = (pid: number): Run => ({
  format: 1,
  image: "",
  started: "",
  writable: false,
  command: [],
  environment: [],
  workdir: "/",
  user: "",
  owner: "",
  mark: "",
  pid,
  inside: { pid, start: startTime(pid) ?? "" },
});

function execIntent(run: Run, command: readonly string[], options: ExecOptions): ExecIntent {
  const recorded = run.environment.map((line) => {
    const at = line.indexOf("=");
    return { name: line.slice(0, at), value: line.slice(at + 1), origin: "container" };
  });
  const user = options.user ? from(options.user, "--user") : run.user ? from(run.user, "container") : undefined;
  return {
    target: { pid: run.inside.pid, start: run.inside.start, origin: run.container ?? String(run.pid) },
    environment: [...recorded, ...(options.env ?? []).flatMap((text) => readVariable(text, process.env))],
    command: from(command, "command line"),
    workdir: options.workdir ? from(options.workdir, "--workdir") : from(run.workdir, "container"),
    ...(user === undefined ? {} : { user }),
    ...(run.isolate ? { isolate: from(run.isolate, "container") } : {}),
    ...(run.seccomp ? { seccomp: from(run.seccomp, "container") } : {}),
    ...(run.subhost ? { subhost: from(run.subhost, "container") } : {}),
    ...(options.tty ? { terminal: from(true, "--tty") } : {}),
  };
}
