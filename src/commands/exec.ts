/** `rootling exec`: another process in a container that runs. */

import { join } from "node:path";
import { Failure } from "../base/errors.ts";
import { makePrivateDirectory } from "../base/files.ts";
import { ourselves, ownerName, startTime } from "../base/owner.ts";
import { carryOut, planExec } from "../boot/boot.ts";
import { type ExecIntent, from } from "../boot/intent.ts";
import { readVariable } from "../boot/read-flags.ts";
import { listContainers } from "../store/containers.ts";
import { runtimePaths } from "../store/layout.ts";
import { listRuns, type Run } from "../store/runs.ts";
import { refuseIdleFlags, showPlan, withDryRun } from "./boot-words.ts";
import { type Cli, collect, newCommand } from "./cli.ts";

interface Options {
  env?: string[];
  workdir?: string;
  user?: string;
  dryRun?: boolean;
  json?: boolean;
}

export const define = (cli: Cli) =>
  withDryRun(
    newCommand("exec", "Run another command in a running container.", [
      "rootling exec web ps",
      "rootling exec 4711 sh          # by the pid that `rootling list` shows",
      "rootling exec --env DEBUG=1 web env",
    ]),
  )
    .argument("<name>", "a container, or the pid of a started process")
    .argument("<command...>", "command and arguments")
    .option("-e, --env <variable>", "set NAME=VALUE, or NAME to the caller's value (may repeat)", collect)
    .option("-w, --workdir <path>", "directory in which the command runs")
    .option("-u, --user <who>", "USER[:GROUP] of the container (as root only)")
    .passThroughOptions()
    .action(async (name: string, command: string[], options: Options) => {
      refuseIdleFlags(options);
      const plan = planExec(execIntent(findRun(cli, name), command, options));
      if (options.dryRun) return showPlan(cli, plan, options.json);
      const { wires } = runtimePaths(cli.layout);
      makePrivateDirectory(wires);
      await carryOut(cli.context("none"), plan, join(wires, ownerName(ourselves())));
    });

/** The run of a container's name or of a pid. Throws E_NOT_FOUND; E_USAGE where a name means several. */
function findRun(cli: Cli, name: string): Run {
  const containers = listContainers(cli.layout);
  const anonymous = listRuns(runtimePaths(cli.layout).runs);
  const named = containers.find((container) => container.name === name);
  const runs =
    named?.runs ??
    [...containers.flatMap(({ runs }) => runs), ...anonymous].filter(
      ({ pid, inside }) => name === String(pid) || name === String(inside.pid),
    );
  const [run, another] = runs;
  if (another !== undefined) {
    throw new Failure("E_USAGE", `${name} was started more than once`, {
      mend: `give a pid: ${runs.map(({ pid }) => pid).join(", ")}`,
    });
  }
  if (run !== undefined) return run;
  if (named === undefined && /^[0-9]+$/.test(name) && startTime(Number(name)) !== undefined)
    return foreignRun(Number(name));
  throw new Failure("E_NOT_FOUND", named ? `the container ${name} does not run` : `nothing named ${name} runs`, {
    mend: named ? `start it with \`rootling start ${name}\`` : "see `rootling list` for what runs",
  });
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
  pid,
  inside: { pid, start: startTime(pid) ?? "" },
});

function execIntent(run: Run, command: readonly string[], options: Options): ExecIntent {
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
  };
}
