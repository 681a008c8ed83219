/** `rootling create`: a named container of an image. */
import { mapOf } from "../boot/boot.ts";
import { parseMap, recordOfMap } from "../boot/id-map.ts";
import { from, type Intent } from "../boot/intent.ts";
import { findExecutor } from "../plan/launch.ts";
import { type ContainerRecord, createContainer, refuseTakenName, removeContainer } from "../store/containers.ts";
import { findImage, type StoredImage } from "../store/images.ts";
import { type Cli, newCommand, showJson, withProgress } from "./cli.ts";
import { showSteps, step, withSteps } from "./dry-run.ts";
import { type ImportFlags, imageFor, storedImage, withImportFlags } from "./image-for.ts";
import { treeToStart } from "./mapped-tree.ts";
import { tryHere, worksHere } from "./trials.ts";

interface Options extends ImportFlags {
  name?: string;
  map?: string;
  json?: boolean;
  dryRun?: boolean;
}

export const define = (cli: Cli) =>
  withProgress(
    withSteps(
      withImportFlags(
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
    .option("--map <ids>", "the id map that it is for, as of `run`; by default one id (root may start it with any)")
    .option("--json", "print the record as JSON")
    .action(async (source: string, options: Options) => {
      const wish = options.map === undefined ? undefined : from(parseMap(options.map, "--map"), "--map");
      const record = wish && recordOfMap(wish.value, mapOf(wish), process.geteuid?.() ?? 0);
      if (options.dryRun) return planCreation(cli, source, options);
      const made = await createFrom(cli, source, options, wish && { wish, record });
      cli.print(options.json ? showJson(made) : made.name);
    });

/** The id map that a container is for. */
interface MapWish {
  readonly wish: Intent["idMap"];
  readonly record: ContainerRecord["map"];
}

/**
 * Makes a container of a REF or a SOURCE, which is imported if it is not stored yet: so from a registry straight to a
 * container, without a file in between. Throws E_EXISTS if the name is taken.
 */
export async function createFrom(
  cli: Cli,
  source: string,
  options: ImportFlags & { readonly name?: string },
  map?: MapWish,
): Promise<ContainerRecord> {
  // Before an image is fetched for nothing.
  if (options.name !== undefined) refuseTakenName(cli.layout, options.name);
  const image = await imageFor(cli, source, options);
  const name = options.name ?? nameFrom(image.name);
  const tree = map === undefined ? image.tree : await treeToStart(cli, image, map.wish, options);
  return makeContainer(cli, name, { image, tree, ...(map?.record && { map: map.record }) }, options.progress);
}

/** Makes a container of a stored image, whose `tree` fits the map. Throws E_EXISTS if the name is taken. */
export async function makeContainer(
  cli: Cli,
  name: string,
  { image, tree, map }: { image: StoredImage; tree: string; map?: NonNullable<ContainerRecord["map"]> },
  progress: Options["progress"],
): Promise<ContainerRecord> {
  const form = await formHere(cli, progress);
  const record = await createContainer(cli.layout, name, image, tree, form, map);
  // An image can be removed while its container is made: the remover saw no container yet.
  if (findImage(cli.layout, image.digest) === undefined) {
    await removeContainer(cli.layout, name);
    storedImage(cli, image.digest);
  }
  return record;
}

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
  if (await worksHere("overlay-removal", executor, cli.layout)) return "shared";
  // Where no overlay works at all, starting will say why: a copy would not help.
  if ((await tryHere("overlay", executor, cli.layout)) !== undefined) return "shared";
  context.warn("this file system cannot hold an overlay's upper directory: the container is a full copy of its image");
  return "copied";
}

/** `registry.example/team/debian:12` → `debian`. */
function nameFrom(image: string): string {
  const last = image.split("@")[0]?.split("/").at(-1)?.split(":")[0] ?? "";
  return last.replace(/[^A-Za-z0-9_.+-]/g, "-").replace(/^[.+-]+/, "") || "container";
}
