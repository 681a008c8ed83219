/** `rootling start`: a container, or an image without one, read-only unless --rw. */
import { from, type Intent } from "../boot/intent.ts";
import { readFlags } from "../boot/read-flags.ts";
import { type Container, findContainer, lockDetached, lockWriter } from "../store/containers.ts";
import { containerPaths, runtimePaths } from "../store/layout.ts";
import { type BootOptions, launch, refuseIdleFlags, withBootFlags, withDryRun } from "./boot-words.ts";
import { type Cli, newCommand, withProgress } from "./cli.ts";
import { imageFor, storedImage } from "./image-for.ts";
import { currentDirectory, imageParts } from "./run.ts";

export const define = (cli: Cli) =>
  withProgress(
    withDryRun(
      withBootFlags(
        newCommand("start", "Start a container. Its root is read-only unless --rw is given; then changes are kept.", [
          "rootling start web",
          "rootling start --rw --root web apt-get update",
          "rootling start --pid --mount /srv/data:/data web sh -c 'ls /data'",
          "rootling start --detach --rw web    # see rootling logs, wait and stop",
          "rootling start --tty web sh         # ctrl-p ctrl-q leaves it running: rootling attach",
        ]),
      ),
    ),
  )
    .argument("<name>", "a container, or the name of a stored image")
    .argument("[command...]", "command and arguments; the image's own if there is none")
    .option("--rw", "keep changes in the container")
    .option("-d, --detach", "go on without the caller, in a pid namespace of its own; output goes to a log")
    .passThroughOptions()
    .action(async (name: string, command: string[], options: BootOptions) => {
      // Before an image is fetched for words that are wrong.
      refuseIdleFlags(options);
      readFlags(options, currentDirectory(), process.env);
      const container = findContainer(cli.layout, name);
      if (container === undefined) await startImage(cli, name, command, options);
      else await startContainer(cli, container, command, options);
    });

async function startContainer(cli: Cli, container: Container, command: string[], options: BootOptions): Promise<void> {
  const { name } = container;
  const image = storedImage(cli, container.image.digest);
  const { upper, work, root, runs, log, olderLog, exit } = containerPaths(cli.layout, name);
  const copied = container.form === "copied";
  const intent: Intent = {
    ...imageParts(image.run, command, options),
    root: from(
      copied ? { kind: "directory", path: root } : { kind: "layers", lowers: [image.tree], kept: { upper, work } },
      `container ${name}`,
    ),
    writes: options.rw ? from("kept", "--rw") : from("refused", "start"),
  };
  await launch(cli, intent, options, {
    runs,
    container: name,
    image: container.image.name,
    digest: image.digest,
    life: { log, olderLog, exit },
    // The locks live as long as the process that they name: this one, which becomes the payload or its monitor, or the
    // detached monitor.
    before: (owner) => {
      if (options.rw) lockWriter(cli.layout, name, owner);
      if (options.detach) lockDetached(cli.layout, name, owner);
    },
  });
}

async function startImage(cli: Cli, name: string, command: string[], options: BootOptions): Promise<void> {
  const image = await imageFor(cli, name, options);
  const intent: Intent = {
    ...imageParts(image.run, command, options),
    root: from({ kind: "layers", lowers: [image.tree] }, name),
    writes: options.rw ? from("kept", "--rw") : from("refused", "start"),
  };
  await launch(cli, intent, options, { runs: runtimePaths(cli.layout).runs, image: name, digest: image.digest });
}
