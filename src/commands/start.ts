/** `rootling start`: a container, or an image without one, read-only unless --rw. */
import { Failure } from "../base/errors.ts";
import { mapOf } from "../boot/boot.ts";
import { formatMap, ownersOnDisk, parseMap } from "../boot/id-map.ts";
import { from, type Intent, type Root } from "../boot/intent.ts";
import { readFlags } from "../boot/read-flags.ts";
import type { RunConfig } from "../image/types.ts";
import { type Container, findContainer, lockDetached, lockDirectory, lockWriter } from "../store/containers.ts";
import { containerPaths, runtimePaths } from "../store/layout.ts";
import { isWhole, resetContainer } from "../store/reset.ts";
import { type BootOptions, refuseIdleFlags, withBootFlags, withDryRun, withSettings } from "./boot-words.ts";
import { type Cli, newCommand, withProgress } from "./cli.ts";
import { type DirectRoot, directRoot } from "./direct-root.ts";
import { imageFor, storedImage } from "./image-for.ts";
import { type Launch, launch, refuseDevices } from "./launching.ts";
import { treeToStart } from "./mapped-tree.ts";
import { currentDirectory, imageParts } from "./run.ts";

export const define = (cli: Cli) =>
  withProgress(
    withDryRun(
      withBootFlags(
        newCommand("start", "Start a container. Its root is read-only unless --rw is given; then changes are kept.", [
          "rootling start web",
          "rootling start --rw --root web apt-get update",
          "rootling start --rw dir:./rootfs sh                        # a directory itself is changed",
          "rootling start --pid --mount /srv/data:/data web sh -c 'ls /data'",
          "rootling start --detach --rw web    # see rootling logs, wait and stop",
          "rootling start --detach --cable br0= web                   # as root: see rootling network",
          "rootling start --tty web sh         # ctrl-p ctrl-q leaves it running: rootling attach",
          "rootling start --conf job.conf web  # environ(), mounts(), hooks() and rc() of a bash script",
        ]),
      ),
    ),
  )
    .argument("<name>", "a container, the name of a stored image, dir:DIR or a squashfs file")
    .argument("[command...]", "command and arguments; the image's own if there is none")
    .option("--rw", "keep changes in the container")
    .option("-c, --conf <script>", "a bash script with environ(), mounts(), hooks() and rc()")
    .option("--rc <script>", "a script for the image's shell, in the place of /etc/rc; may be a pipe")
    .option("--enroot-files", "keep to /etc/environment, fstab and rc of the root, and environ.d, mounts.d, hooks.d")
    .option("-d, --detach", "go on without the caller, in a pid namespace of its own; output goes to a log")
    .passThroughOptions()
    .action(async (name: string, command: string[], flags: BootOptions) => {
      // Before an image is fetched for words that are wrong.
      refuseIdleFlags(flags);
      const options = withSettings(flags, cli.context("none").settings);
      readFlags(options, currentDirectory(), process.env);
      await refuseDevices(cli, options);
      const container = findContainer(cli.layout, name);
      if (container === undefined) await startImage(cli, name, command, options);
      else await startContainer(cli, container, command, options);
    });

/** What configures a start by files is loaded where it is asked for. */
export async function startupOf(
  cli: Cli,
  intent: Intent,
  run: RunConfig | undefined,
  words: string[],
  options: BootOptions,
): Promise<Intent> {
  if (options.conf === undefined && options.rc === undefined && !options.enrootFiles) return intent;
  return (await import("./startup.ts")).withStartup(cli, intent, run, words, options);
}

/** Starts a container of the store. */
export async function startContainer(
  cli: Cli,
  container: Container,
  command: string[],
  options: BootOptions,
): Promise<void> {
  const { name } = container;
  if (container.subhost !== undefined) throw bootsItself(name, container.subhost.conf);
  const image = storedImage(cli, container.image.digest);
  const { upper, work, root, runs, log, olderLog, exit } = containerPaths(cli.layout, name);
  const parts = imageParts(image.run, command, options);
  const idMap = mapOfContainer(container, parts.idMap);
  const lowered = async (): Promise<Root> =>
    container.form === "copied"
      ? { kind: "directory", path: root, stored: true }
      : { kind: "layers", lowers: [await treeToStart(cli, image, idMap, options)], kept: { upper, work } };
  if (!isWhole(cli.layout, container) && !options.dryRun) {
    await resetContainer(cli.layout, container, await treeToStart(cli, image, idMap, options));
  }
  const intent: Intent = {
    ...parts,
    idMap,
    root: from(await lowered(), `container ${name}`),
    writes: options.rw ? from("kept", "--rw") : from("refused", "start"),
  };
  await launch(cli, await startupOf(cli, intent, image.run, command, options), options, {
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

const bootsItself = (name: string, conf: string): Failure =>
  new Failure("E_CONFLICT", `${name} is a subhost: its configuration says how it is started`, {
    where: conf,
    mend: `use \`rootling boot ${conf}\``,
  });

/** A directory itself, or a squashfs file. One start at a time may change a directory. */
export async function startDirect(
  cli: Cli,
  name: string,
  { root, run }: DirectRoot,
  command: string[],
  options: BootOptions,
): Promise<void> {
  const intent: Intent = {
    ...imageParts(run, command, options),
    root: from(root, name),
    writes: options.rw ? from("kept", "--rw") : from("refused", "start"),
  };
  const how: Launch = { runs: runtimePaths(cli.layout).runs, image: name };
  const before = () => {
    if (root.kind === "directory") lockDirectory(cli.layout, root.path);
  };
  await launch(
    cli,
    await startupOf(cli, intent, undefined, command, options),
    options,
    options.rw ? { ...how, before } : how,
  );
}

/** The container's own map, unless another one that gives its files the same owners is asked for. */
function mapOfContainer({ name, map }: Container, asked: Intent["idMap"]): Intent["idMap"] {
  const idMap = asked.origin === "rootling" && map ? from(parseMap(map.words, name), `container ${name}`) : asked;
  if (ownersOnDisk(mapOf(idMap), process.geteuid?.() ?? 0) === (map?.owners ?? "")) return idMap;
  const words = map?.words ?? "self";
  throw new Failure("E_CONFLICT", `the files of the container ${name} have the owners of --map ${words}`, {
    where: idMap.origin,
    mend:
      idMap === asked
        ? `leave out ${idMap.origin}, or make another container with \`rootling create --map ${formatMap(idMap.value)}\``
        : "the subordinate ids of /etc/subuid or /etc/subgid are no longer those that it was made with: restore them",
  });
}

async function startImage(cli: Cli, name: string, command: string[], options: BootOptions): Promise<void> {
  const direct = await directRoot(cli, name, options);
  if (direct !== undefined) return startDirect(cli, name, direct, command, options);
  const image = await imageFor(cli, name, options);
  const parts = imageParts(image.run, command, options);
  const intent: Intent = {
    ...parts,
    root: from({ kind: "layers", lowers: [await treeToStart(cli, image, parts.idMap, options)] }, name),
    writes: options.rw ? from("kept", "--rw") : from("refused", "start"),
  };
  await launch(cli, await startupOf(cli, intent, image.run, command, options), options, {
    runs: runtimePaths(cli.layout).runs,
    image: name,
    digest: image.digest,
  });
}
