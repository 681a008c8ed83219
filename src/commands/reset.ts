/** `rootling reset`: a container back to its image. */
import { getContainer } from "../store/containers.ts";
import { resetContainer } from "../store/reset.ts";
import { type Cli, newCommand } from "./cli.ts";
import { treeBelow } from "./container-files.ts";

export const define = (cli: Cli) =>
  newCommand("reset", "Take a container back to its image: all that it changed is lost.", ["rootling reset web"])
    .argument("<name...>", "containers")
    .action(async (names: string[]) => {
      for (const name of names) {
        const container = getContainer(cli.layout, name);
        await resetContainer(cli.layout, container, await treeBelow(cli, container));
        cli.print(name);
      }
    });
