/** `rootling remove`: containers, and names of images. */
import { constants } from "node:os";
import { Failure } from "../base/errors.ts";
import { getContainer, removeContainer } from "../store/containers.ts";
import { type Cli, newCommand } from "./cli.ts";
import { forgetImage } from "./image-for.ts";
import { endRun } from "./stopping.ts";

const IMAGE = /^image:(.+)$/;

export const define = (cli: Cli) =>
  newCommand("remove", "Remove containers with all that they kept, or stored images.", [
    "rootling remove web",
    "rootling remove web test",
    "rootling remove --force web         # though it runs",
    "rootling remove image:debian:12     # the image itself goes with its last name",
  ])
    .argument("<name...>", "containers, or image:NAME for images")
    .option("-f, --force", "end containers that run, by SIGKILL")
    .action(async (names: string[], { force }: { force?: boolean }) => {
      if (names.includes("")) throw new Failure("E_USAGE", "an empty name", { mend: "see `rootling list`" });
      for (const name of names) {
        const image = IMAGE.exec(name)?.[1];
        if (force && image === undefined) await endRuns(cli, name);
        if (image === undefined) await removeContainer(cli.layout, name);
        else await forgetImage(cli, image);
        cli.print(name);
      }
    });

async function endRuns(cli: Cli, name: string): Promise<void> {
  const { signal } = cli.context("none");
  await Promise.all(
    getContainer(cli.layout, name).runs.map((run) => endRun(run, constants.signals.SIGKILL, 0, signal)),
  );
}
