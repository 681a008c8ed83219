/** `rootling restore`: a container back to a snapshot. */
import { getContainer, refuseRunning } from "../store/containers.ts";
import { checkSnapshotName, restoreSnapshot } from "../store/snapshots.ts";
import { refuseIdleFlags } from "./boot-words.ts";
import { type Cli, newCommand } from "./cli.ts";
import { showSteps, step, withSteps } from "./dry-run.ts";

interface Options {
  dryRun?: boolean;
  json?: boolean;
}

export const define = (cli: Cli) =>
  withSteps(
    newCommand("restore", "Take a container or a subhost back to a snapshot: what changed since then is lost.", [
      "rootling restore web before-upgrade",
      "rootling snapshot --list web",
    ]),
  )
    .argument("<name>", "a container that does not run")
    .argument("<snapshot>", "one of its snapshots")
    .option("--json", "with --dry-run: print the steps as JSON")
    .action(async (name: string, snapshot: string, options: Options) => {
      refuseIdleFlags(options);
      checkSnapshotName(snapshot);
      refuseRunning(getContainer(cli.layout, name));
      if (options.dryRun)
        return showSteps(
          cli,
          [step("replace", `what ${name} has of its own by the snapshot ${snapshot}`)],
          options.json,
        );
      await restoreSnapshot(cli.layout, name, snapshot);
      cli.print(name);
    });
