/** `rootling reset`: a container back to its image. */
import { getContainer, refuseRunning } from "../store/containers.ts";
import { resetContainer } from "../store/reset.ts";
import { resetSubhost } from "../store/subhosts.ts";
import { refuseIdleFlags } from "./boot-words.ts";
import { type Cli, newCommand } from "./cli.ts";
import { treeBelow } from "./container-files.ts";
import { showSteps, step, withSteps } from "./dry-run.ts";

export const define = (cli: Cli) =>
  withSteps(
    newCommand("reset", "Take containers back to their images: all that they changed is lost.", [
      "rootling reset web",
      "rootling diff web; rootling reset --dry-run web",
    ]),
  )
    .option("--json", "with --dry-run: print the steps as JSON")
    .argument("<name...>", "containers")
    .action(async (names: string[], options: { dryRun?: boolean; json?: boolean }) => {
      refuseIdleFlags(options);
      for (const name of names) refuseRunning(getContainer(cli.layout, name));
      if (options.dryRun) {
        const steps = names.map((name) => step("remove", `what the container ${name} changed`));
        return showSteps(cli, steps, options.json);
      }
      for (const name of names) {
        const container = getContainer(cli.layout, name);
        if (container.subhost === undefined)
          await resetContainer(cli.layout, container, await treeBelow(cli, container));
        else await resetSubhost(cli.layout, container);
        cli.print(name);
      }
    });
