/** `rootling remove`: containers, and names of images. */
import { constants } from "node:os";
import { getContainer, refuseRunning, removeContainer } from "../store/containers.ts";
import { refuseIdleFlags } from "./boot-words.ts";
import { type Cli, newCommand } from "./cli.ts";
import { type Step, showSteps, step, withSteps } from "./dry-run.ts";
import { forgetImage, imageToForget } from "./forget-image.ts";
import { endRun } from "./stopping.ts";

interface Options {
  force?: boolean;
  dryRun?: boolean;
  json?: boolean;
}

const IMAGE = /^image:(.+)$/;

export const define = (cli: Cli) =>
  withSteps(
    newCommand("remove", "Remove containers with all that they kept, or stored images.", [
      "rootling remove web",
      "rootling remove web test",
      "rootling remove --force web         # though it runs",
      "rootling remove image:debian:12     # the image itself goes with its last name",
    ]),
  )
    .option("--json", "with --dry-run: print the steps as JSON")
    .argument("<name...>", "containers, or image:NAME for images")
    .option("-f, --force", "end containers that run, by SIGKILL")
    .action(async (names: string[], options: Options) => {
      refuseIdleFlags(options);
      if (options.dryRun)
        return showSteps(
          cli,
          names.flatMap((name) => planRemoval(cli, name, options.force === true)),
          options.json,
        );
      for (const name of names) {
        const image = IMAGE.exec(name)?.[1];
        if (options.force && image === undefined) await endRuns(cli, name);
        if (image === undefined) await removeContainer(cli.layout, name);
        else await forgetImage(cli.layout, image, cli.context("none").signal);
        cli.print(name);
      }
    });

/** Throws what the removal would throw. */
function planRemoval(cli: Cli, name: string, force: boolean): Step[] {
  const image = IMAGE.exec(name)?.[1];
  if (image === undefined) {
    const container = getContainer(cli.layout, name);
    if (!force) refuseRunning(container);
    return [
      ...container.runs.map(({ pid }) => step("kill", `process ${pid}`, "--force")),
      step("remove", `container ${name}`),
    ];
  }
  const goes = imageToForget(cli.layout, image);
  return [
    step("forget", `image name ${image}`),
    ...(goes ? [step("remove", `image ${goes.digest}`, "its last name")] : []),
  ];
}

/** Kills what runs in a container. */
export async function endRuns(cli: Cli, name: string): Promise<void> {
  const { signal } = cli.context("none");
  await Promise.all(
    getContainer(cli.layout, name).runs.map((run) => endRun(run, constants.signals.SIGKILL, 0, signal)),
  );
}
