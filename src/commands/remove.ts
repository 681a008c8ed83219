/** `rootling remove`: containers, and names of images. */
import { Failure } from "../base/errors.ts";
import { removeContainer } from "../store/containers.ts";
import { type Cli, newCommand } from "./cli.ts";
import { forgetImage } from "./image-for.ts";

const IMAGE = /^image:(.+)$/;

export const define = (cli: Cli) =>
  newCommand("remove", "Remove containers with all that they kept, or stored images.", [
    "rootling remove web",
    "rootling remove web test",
    "rootling remove image:debian:12     # the image itself goes with its last name",
  ])
    .argument("<name...>", "containers, or image:NAME for images")
    .action(async (names: string[]) => {
      if (names.includes("")) throw new Failure("E_USAGE", "an empty name", { mend: "see `rootling list`" });
      for (const name of names) {
        const image = IMAGE.exec(name)?.[1];
        if (image === undefined) await removeContainer(cli.layout, name);
        else await forgetImage(cli, image);
        cli.print(name);
      }
    });
