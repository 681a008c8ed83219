/** `rootling create`: a named container of an image. */
import { mapOf } from "../boot/boot.ts";
import { formatMap, ownersOnDisk, parseMap } from "../boot/id-map.ts";
import { from } from "../boot/intent.ts";
import { findExecutor } from "../plan/launch.ts";
import { createContainer, refuseTakenName, removeContainer } from "../store/containers.ts";
import { findImage } from "../store/images.ts";
import { type Cli, newCommand, showJson, withProgress } from "./cli.ts";
import { showSteps, step, withSteps } from "./dry-run.ts";
import { type ImportFlags, imageFor, storedImage } from "./image-for.ts";
import { treeToStart } from "./mapped-tree.ts";
import { withRegistryFlags } from "./registry-words.ts";
import { tryHere } from "./trials.ts";

interface Options extends ImportFlags {
  name?: string;
  map?: string;
  json?: boolean;
  dryRun?: boolean;
}

export const define = (cli: Cli) =>
  withProgress(
    withSteps(
      withRegistryFlags(
        newCommand("create", "Make a container of an image. It shares the image's files and keeps its own changes.", [
          "rootling create debian:12 --name web",
          "rootling create docker://busybox:1.36",
          "rootling create oci:./layout:latest --name test",
          "rootling create --map subids debian:12      # all users of the image, as subordinate ids",
        ]),
      ),
    ),
  )
    .argument("<source>", "SOURCE, or the name of a stored image")
    .option("-n, --name <name>", "the container's name; made from the image's if not given")
    .option("--platform <platform>", "OS/ARCHITECTURE[/VARIANT] of an image that is imported")
    .option("--map <ids>", "the id map that it is for, as of `run`; by default one id (root may start it with any)")
    .option("--json", "print the record as JSON")
    .action(async (source: string, options: Options) => {
      const wish = options.map === undefined ? undefined : from(parseMap(options.map, "--map"), "--map");
      const idMap = wish && mapOf(wish);
      if (options.dryRun) return planCreation(cli, source, options);
      const image = await imageFor(cli, source, options);
      const name = options.name ?? nameFrom(image.name);
      const form = await formHere(cli, options.progress);
      const tree = wish === undefined ? image.tree : await treeToStart(cli, image, wish, options);
      const map =
        wish === undefined || idMap?.kind !== "many"
          ? undefined
          : { words: formatMap(wish.value), owners: ownersOnDisk(idMap, process.geteuid?.() ?? 0) };
      const record = await createContainer(cli.layout, name, image, tree, form, map);
      // An image can be removed while its container is made: the remover saw no container yet.
      if (findImage(cli.layout, image.digest) === undefined) {
        await removeContainer(cli.layout, name);
        storedImage(cli, image.digest);
      }
      cli.print(options.json ? showJson(record) : record.name);
    });

/** What would be made. Throws what the creation would throw, as far as that is known before an image is fetched. */
async function planCreation(cli: Cli, source: string, options: Options): Promise<void> {
  const { layout } = cli;
  const stored = findImage(layout, source) && (await imageFor(cli, source, options));
  const name = options.name ?? nameFrom(stored?.name ?? source);
  refuseTakenName(layout, name);
  const origin = options.name === undefined ? "named after the image" : "--name";
  const imports = stored === undefined ? [step("import", `image ${source}`)] : [];
  const unpacks =
    options.map === undefined ? [] : [step("unpack", `the image's tree for the map ${options.map}`, "--map")];
  showSteps(cli, [...imports, ...unpacks, step("create", `container ${name}`, origin)], options.json);
}

/** Whether what a container changes can lie above the shared image here. A full copy is said aloud. */
async function formHere(cli: Cli, progress: Options["progress"]): Promise<"shared" | "copied"> {
  const context = cli.context(progress);
  const executor = await findExecutor(context.settings.CACHE_PATH);
  // Where no overlay works at all, starting will say why: a copy would not help.
  const unfit = (await tryHere("overlay-removal", executor, cli.layout)) !== undefined;
  if (!unfit || (await tryHere("overlay", executor, cli.layout)) !== undefined) return "shared";
  context.warn("this file system cannot hold an overlay's upper directory: the container is a full copy of its image");
  return "copied";
}

/** `registry.example/team/debian:12` → `debian`. */
function nameFrom(image: string): string {
  const last = image.split("@")[0]?.split("/").at(-1)?.split(":")[0] ?? "";
  return last.replace(/[^A-Za-z0-9_.+-]/g, "-").replace(/^[.+-]+/, "") || "container";
}
