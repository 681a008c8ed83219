/** `rootling wait`: waits for the end of a container. */
import { throwIfAborted } from "../base/context.ts";
import { Failure } from "../base/errors.ts";
import { stateOfName } from "../base/owner.ts";
import { waitUntil } from "../base/signals.ts";
import { lastEnd } from "../store/containers.ts";
import { type Cli, newCommand } from "./cli.ts";
import { findRuns, nothingRuns } from "./find-run.ts";

export const define = (cli: Cli) =>
  newCommand("wait", "Wait until a detached container ends; print its exit status, and end with it.", [
    "rootling wait web",
  ])
    .argument("<name>", "a container")
    .action(async (name: string) => {
      const { signal } = cli.context("none");
      const found = findRuns(cli.layout, name);
      const run = found.runs.find(({ detached }) => detached);
      if (run === undefined && found.runs.length > 0) {
        throw new Failure("E_CONFLICT", `${name} was not started with --detach`, {
          mend: "its status is that of the command that started it",
        });
      }
      if (run !== undefined)
        await waitUntil(() => stateOfName(run.owner) !== "alive", Number.POSITIVE_INFINITY, signal);
      throwIfAborted(signal);
      const end = found.container || run?.container ? lastEnd(cli.layout, run?.container ?? name) : undefined;
      if (end === undefined && run === undefined) throw nothingRuns(name, found);
      if (end === undefined || (run !== undefined && end.pid !== run.pid)) {
        throw new Failure("E_NOT_FOUND", `how ${name} ended is not known: its monitor was killed`, {
          mend: "see `rootling logs`",
        });
      }
      cli.print(String(end.status));
      cli.setStatus(end.status);
    });
