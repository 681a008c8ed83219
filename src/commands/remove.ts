/** `rootling remove`: containers, and names of images. */
import { Failure } from "../base/errors.ts";
import { getContainer, refuseRunning, removeContainer } from "../store/containers.ts";
import { refuseIdleFlags } from "./boot-words.ts";
import { type Cli, newCommand } from "./cli.ts";
import { type Step, showSteps, step, withSteps } from "./dry-run.ts";
import { forgetImage, imageToForget } from "./image-for.ts";

const IMAGE = /^image:(.+)$/;

export const define = (cli: Cli) =>
  withSteps(
    newCommand("remove", "Remove containers with all that they kept, or stored images.", [
      "rootling remove web",
      "rootling remove web test",
      "rootling remove image:debian:12     # the image itself goes with its last name",
    ]),
  )
    .option("--json", "with --dry-run: print the steps as JSON")
    .argument("<name...>", "containers, or image:NAME for images")
    .action(async (names: string[], options: { dryRun?: boolean; json?: boolean }) => {
      refuseIdleFlags(options);
      if (names.includes("")) throw new Failure("E_USAGE", "an empty name", { mend: "see `rootling list`" });
      if (options.dryRun)
        return showSteps(
          cli,
          names.flatMap((name) => planRemoval(cli, name)),
          options.json,
        );
      for (const name of names) {
        const image = IMAGE.exec(name)?.[1];
        if (image === undefined) await removeContainer(cli.layout, name);
        else await forgetImage(cli, image);
        cli.print(name);
      }
    });

/** Throws what the removal would throw. */
function planRemoval(cli: Cli, name: string): Step[] {
  const image = IMAGE.exec(name)?.[1];
  if (image === undefined) {
    refuseRunning(getContainer(cli.layout, name));
    return [step("remove", `container ${name}`)];
  }
  const goes = imageToForget(cli, image);
  return [
    step("forget", `image name ${image}`),
    ...(goes ? [step("remove", `image ${goes.digest}`, "its last name")] : []),
  ];
}
