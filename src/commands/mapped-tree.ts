/** From an id map to the tree whose owners on disk fit it; made when it is first needed. */
import type { Context } from "../base/context.ts";
import { Failure } from "../base/errors.ts";
import type { ProgressMode } from "../base/progress-render.ts";
import { escapeText } from "../base/text.ts";
import { mapOf } from "../boot/boot.ts";
import { type IdMap, mapHolds, mapOp, ownersOnDisk } from "../boot/id-map.ts";
import type { Intent } from "../boot/intent.ts";
import type { RegistryOptions } from "../image/sources/environment.ts";
import type { Entry, SourceImage } from "../image/types.ts";
import { enterBy } from "../plan/enter.ts";
import { findImage, lockImage, type StoredImage } from "../store/images.ts";
import type { Layout } from "../store/layout.ts";
import { hasMappedTree, mappedTree, stageMappedTree } from "../store/mapped.ts";
import { enterPlaces } from "../store/trees.ts";
import type { AtStore } from "./cli.ts";
import { type RegistryFlags, registryOptions } from "./registry-words.ts";

/** How the map of a container is had: resolved, and who asked for it. */
export interface MapFor {
  readonly map: IdMap;
  readonly origin: string;
}

const uid = (): number => process.geteuid?.() ?? 0;

/** The tree for the map as far as it is stored; where it will be otherwise. */
function treeOf(layout: Layout, image: StoredImage, map: IdMap): string {
  const owners = ownersOnDisk(map, uid());
  return owners === "" ? image.tree : mappedTree(layout, image.digest, owners);
}

/** The tree for a start, which may be a dry run. */
export async function treeToStart(
  cli: AtStore,
  image: StoredImage,
  idMap: Intent["idMap"],
  options: RegistryFlags & { readonly dryRun?: boolean; readonly progress?: ProgressMode },
): Promise<string> {
  const map = mapOf(idMap);
  if (options.dryRun || ownersOnDisk(map, uid()) === "") return treeOf(cli.layout, image, map);
  const context = cli.context(options.progress);
  const how = { map, origin: idMap.origin };
  return treeFor(context, cli.layout, image, how, registryOptions(options, context));
}

/** The tree for the map; read again from the image's source, or from the blob cache, where it is not there yet. */
async function treeFor(
  context: Context,
  layout: Layout,
  image: StoredImage,
  how: MapFor,
  registry: RegistryOptions,
): Promise<string> {
  const owners = ownersOnDisk(how.map, uid());
  if (owners === "" || hasMappedTree(layout, image.digest, owners)) return treeOf(layout, image, how.map);
  context.warn(`unpacking ${image.name} once more: its files get the owners of ${how.origin}`);
  const { openImage } = await import("./import-image.ts");
  const platform = image.platform;
  const source = await openImage(context, layout, image.source, { platform, registry }).catch((cause: unknown) => {
    throw new Failure("E_NOT_FOUND", `the source of ${image.name} cannot be read again for another id map`, {
      where: image.source,
      mend: "import it again with --map, while its source is there",
      cause,
    });
  });
  try {
    if (source.digest !== image.digest) {
      throw new Failure("E_NOT_FOUND", `the source of ${image.name} has changed since it was imported`, {
        where: image.source,
        mend: "import it again with --map, under another name",
      });
    }
    await addTree(context, layout, source, how);
  } finally {
    await source.close();
    context.progress.close();
  }
  return treeOf(layout, image, how.map);
}

/** The entry as it is: its owner is among the ids inside. */
function heldBy(map: IdMap, entry: Entry): Entry {
  if (mapHolds(map, entry.uid, entry.gid)) return entry;
  throw new Failure("E_SUBUID", `the image has files of ${entry.uid}:${entry.gid}, which the map does not hold`, {
    where: escapeText(entry.path),
    mend: "use a map of more ids: see /etc/subuid and /etc/subgid",
  });
}

/** Unpacks an open image for the map. Of many processes that want the same tree, one does it and the others wait. */
export async function addTree(context: Context, layout: Layout, source: SourceImage, how: MapFor): Promise<void> {
  const owners = ownersOnDisk(how.map, uid());
  if (owners === "") return;
  const { buildImage } = await import("../image/build.ts");
  const { fillDirectorySink } = await import("../image/sinks/directory.ts");
  const { donorFor } = await import("./donor-for.ts");
  const lock = await lockImage(layout, source.digest, context.signal, (owner) =>
    context.warn(`waiting for process ${owner.pid}, which imports the same image`),
  );
  try {
    if (hasMappedTree(layout, source.digest, owners)) return;
    if (findImage(layout, source.digest) === undefined) {
      throw new Failure("E_NOT_FOUND", "the image was removed just now", { mend: "import it again" });
    }
    const enter = await enterBy(mapOp(how.map, uid(), how.origin), enterPlaces(layout));
    const mapped = { enter, inside: (entry: Entry) => heldBy(how.map, entry) };
    let staged = await stageMappedTree(layout, source.digest, owners);
    let fresh = true;
    const donor = donorFor(layout, source, ({ digest }) =>
      hasMappedTree(layout, digest, owners) ? mappedTree(layout, digest, owners) : undefined,
    );
    try {
      await buildImage(
        source,
        async (image, root) => {
          // Each attempt gets a directory of its own.
          if (!fresh) {
            await staged.discard();
            staged = await stageMappedTree(layout, source.digest, owners);
          }
          fresh = false;
          return fillDirectorySink({ directory: staged.tree, mapped }, context)(image, root);
        },
        context,
        { donor },
      );
      await staged.commit();
    } catch (error) {
      await staged.discard();
      throw error;
    } finally {
      donor?.release();
    }
  } finally {
    lock.release();
  }
}
