/** `rootling attach`: the terminal of a container that runs. */
import { join } from "node:path";
import { Failure } from "../base/errors.ts";
import { showTerminal } from "../boot/boot.ts";
import { runtimePaths } from "../store/layout.ts";
import { type Cli, newCommand } from "./cli.ts";
import { findRuns, nothingRuns, onlyRun } from "./find-run.ts";
import { DETACH_KEYS, readDetachKeys } from "./terminal-words.ts";

export const define = (cli: Cli) =>
  newCommand("attach", "Show the terminal of a container that was started with --tty.", [
    "rootling attach web                 # ctrl-p ctrl-q leaves it running",
    "rootling attach --detach-keys ctrl-a,d web",
  ])
    .argument("<name>", "a container, or the pid of a started process")
    .option("--detach-keys <keys>", "what to type to leave it running", DETACH_KEYS)
    .action(async (name: string, { detachKeys }: { detachKeys: string }) => {
      const keys = readDetachKeys(detachKeys);
      const found = findRuns(cli.layout, name);
      const withTerminal = { ...found, runs: found.runs.filter(({ terminal }) => terminal) };
      const run = onlyRun(name, withTerminal);
      if (run !== undefined) {
        await showTerminal(cli.context("none"), join(runtimePaths(cli.layout).terminals, run.owner), keys, "guest");
      }
      if (found.runs.length === 0) throw nothingRuns(name, found);
      throw new Failure("E_CONFLICT", `${name} has no terminal of its own`, {
        mend: `see what it writes with \`rootling logs -f ${name}\`, or enter it with \`rootling exec --tty ${name} sh\``,
      });
    });
