/** `rootling stop`: ends what runs. */
import { InvalidArgumentError } from "commander";
import { signalName, signalNumber } from "../base/signals.ts";
import type { Run } from "../store/runs.ts";
import { refuseIdleFlags } from "./boot-words.ts";
import { type AtStore, type Cli, newCommand } from "./cli.ts";
import { type Step, showSteps, step, withSteps } from "./dry-run.ts";
import { findRuns, nothingRuns } from "./find-run.ts";
import { endRun, stopSignalOf } from "./stopping.ts";

interface Options {
  signal?: number;
  timeout?: number;
  dryRun?: boolean;
  json?: boolean;
}

/** Docker's and podman's, which images are made for. */
const PATIENCE = 10;
/** A subhost stops its services first, one after the other. */
const SUBHOST_PATIENCE = 90;

const patienceOf = (run: Run, timeout: number | undefined): number =>
  timeout ?? (run.subhost ? SUBHOST_PATIENCE : PATIENCE);

const readSignal = (text: string): number => {
  const number = signalNumber(text);
  if (number !== undefined) return number;
  throw new InvalidArgumentError("It is a name such as SIGTERM or HUP, or a number from 1 to 64.");
};

const readSeconds = (text: string): number => {
  if (/^[0-9]{1,6}(\.[0-9]+)?$/.test(text)) return Number(text);
  throw new InvalidArgumentError("It is a number of seconds.");
};

export const define = (cli: Cli) =>
  withSteps(
    newCommand("stop", "End containers: ask them, wait, and kill what has not ended by then.", [
      "rootling stop web",
      "rootling stop --signal INT --timeout 60 web",
      "rootling stop 4711                  # by the pid that `rootling list` shows",
    ]),
  )
    .option("--json", "with --dry-run: print the steps as JSON")
    .argument("<name...>", "containers, or pids of started processes")
    .option("-s, --signal <signal>", "what asks them to end; the image's own signal, else SIGTERM", readSignal)
    .option(
      "-t, --timeout <seconds>",
      `how long they have (${PATIENCE}; a subhost, whose services are stopped first: ${SUBHOST_PATIENCE})`,
      readSeconds,
    )
    .action(async (names: string[], options: Options) => {
      refuseIdleFlags(options);
      await stopContainers(cli, names, options);
    });

/** Ends what runs under these names, or shows the steps. Throws E_NOT_FOUND before anything is ended. */
export async function stopContainers(
  cli: AtStore & Pick<Cli, "print">,
  names: readonly string[],
  options: Options,
): Promise<void> {
  const { signal, timeout, dryRun, json } = options;
  const context = cli.context("none");
  const found = names.map((name) => ({ name, found: findRuns(cli.layout, name) }));
  for (const { name, found: one } of found) if (one.runs.length === 0) throw nothingRuns(name, one);
  if (dryRun) {
    const runs = found.flatMap(({ found: one }) => one.runs);
    const steps = runs.map((run) => planEnd(run, signal, patienceOf(run, timeout)));
    return showSteps(cli, steps, json);
  }
  for (const { name, found: one } of found) {
    await Promise.all(
      one.runs.map((run) => endRun(run, signal ?? stopSignalOf(run), patienceOf(run, timeout) * 1000, context.signal)),
    );
    cli.print(name);
  }
}

const planEnd = (run: Run, signal: number | undefined, timeout: number): Step =>
  step(
    "end",
    `process ${run.pid} by ${signalName(signal ?? stopSignalOf(run))}, after ${timeout} s by SIGKILL`,
    signal === undefined ? "the image's signal, or SIGTERM" : "--signal",
  );
