/** `rootling snapshot`: keeps what a container has of its own as it is now. */
import { Failure } from "../base/errors.ts";
import { formatTable } from "../base/text.ts";
import { getContainer, refuseRunning } from "../store/containers.ts";
import { checkSnapshotName, listSnapshots, makeSnapshot, removeSnapshot } from "../store/snapshots.ts";
import { refuseIdleFlags } from "./boot-words.ts";
import { type Cli, newCommand, showJson } from "./cli.ts";
import { showSteps, step, withSteps } from "./dry-run.ts";

interface Options {
  list?: boolean;
  remove?: boolean;
  dryRun?: boolean;
  json?: boolean;
}

export const define = (cli: Cli) =>
  withSteps(
    newCommand("snapshot", "Keep what a container or a subhost has of its own as it is now, to come back to it.", [
      "rootling snapshot web                  # named after the time",
      "rootling snapshot web before-upgrade",
      "rootling snapshot --list web",
      "rootling snapshot --remove web before-upgrade",
    ]),
  )
    .argument("<name>", "a container that does not run")
    .argument("[snapshot]", "the name of the snapshot")
    .option("--list", "list its snapshots")
    .option("--remove", "remove the snapshot")
    .option("--json", "with --list or --dry-run: as JSON")
    .action(async (name: string, snapshot: string | undefined, options: Options) => {
      const { list, remove, dryRun, json } = options;
      const container = getContainer(cli.layout, name);
      if (list) {
        const found = listSnapshots(cli.layout, container);
        const rows = found.map((one) => [one.name, one.made.slice(0, 19).replace("T", " ")]);
        return cli.print(json ? showJson(found) : formatTable([["SNAPSHOT", "MADE (UTC)"], ...rows]));
      }
      refuseIdleFlags(options);
      if (remove && snapshot === undefined)
        throw new Failure("E_USAGE", "no snapshot is named", { where: "--remove", mend: "see --list" });
      const chosen = checkSnapshotName(snapshot ?? nameOfNow());
      refuseRunning(container);
      if (dryRun) return showSteps(cli, [step(remove ? "remove" : "copy", `snapshot ${chosen} of ${name}`)], json);
      await (remove ? removeSnapshot : makeSnapshot)(cli.layout, name, chosen);
      cli.print(chosen);
    });

const nameOfNow = (): string => new Date().toISOString().slice(0, 19).replaceAll(/[-:]/g, "").replace("T", "-");
