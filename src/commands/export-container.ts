/** From a container, or a directory that is a root file system, back to an image: what `export` and its like share. */
import { lstatSync, readFileSync, statSync } from "node:fs";
import type { ByteString } from "../base/bytes.ts";
import type { Context } from "../base/context.ts";
import { Failure, fileFailure } from "../base/errors.ts";
import { packing } from "../boot/files.ts";
import { buildImage } from "../image/build.ts";
import { readScript } from "../image/enroot-files.ts";
import { enrootSink, withEnrootFiles } from "../image/sinks/enroot.ts";
import { hostPlatform } from "../image/sources/reference.ts";
import { openStream, type Stream } from "../image/sources/stream.ts";
import type { Entry, SourceImage } from "../image/types.ts";
import type { Plan } from "../plan/plan.ts";
import { Blobs } from "../store/blobs.ts";
import { type Container, lockWriter } from "../store/containers.ts";
import type { StoredImage } from "../store/images.ts";
import { containerPaths } from "../store/layout.ts";
import type { AtStore } from "./cli.ts";
import { planOnDirectory, planOnDisk } from "./container-files.ts";
import { storedImage } from "./image-for.ts";
import { type FileImportOptions, outputSink } from "./import-image.ts";
import { enrootFilter, packedTar, withTimeOf } from "./pack-tar.ts";

export type ExportOptions = Omit<FileImportOptions, "platform" | "registry">;

/** A tree to export. */
interface Tree {
  readonly name: string;
  /** The directory whose mode its root has. */
  readonly root: string;
  plan(): Promise<Plan>;
  readonly about: NonNullable<Stream["about"]>;
  /** Under enroot's rules: whether the files in which enroot keeps the configuration are the tree's own. */
  readonly configured: boolean;
}

/**
 * Writes a container as an image: its own changes merged with the image below, as they are stored, so without what is
 * mounted in it while it runs. Throws E_BUSY while it is being changed by another command.
 */
export async function exportContainer(
  cli: AtStore,
  context: Context,
  container: Container,
  options: ExportOptions,
): Promise<{ digest: string; size: number }> {
  const { name, form, subhost } = container;
  if (subhost !== undefined)
    throw new Failure("E_CONFLICT", `${name} is a subhost, whose root is no image's`, {
      where: subhost.conf,
      mend: `use \`rootling export dir:${subhost.upper}\` for what it has of its own`,
    });
  const paths = containerPaths(cli.layout, name);
  const image = storedImage(cli, container.image.digest);
  const config = image.config === undefined ? undefined : readFileSync(image.config);
  const lock = lockForReading(cli, context, container);
  try {
    return await exportTree(cli, context, options, {
      name,
      root: form === "copied" ? paths.root : paths.upper,
      plan: () => planOnDisk(cli, container, packing(`container ${name}`, "/", false)),
      about: { ...(config && { config }), run: image.run, platform: image.platform },
      configured: isEnrootTree(image.tree),
    });
  } finally {
    lock.release();
  }
}

/** While it is read nobody begins to change a container; whoever does so already is told of. */
export function lockForReading(cli: AtStore, context: Context, { name, runs }: Container): { release(): void } {
  const writer = runs.find(({ writable }) => writable);
  if (writer === undefined) return lockWriter(cli.layout, name);
  context.warn(`${name} runs writable (pid ${writer.pid}): it may change while it is read`);
  return { release: () => {} };
}

/** Writes a directory as an image. It has no configuration but that of its own files. */
export const exportDirectory = (
  cli: AtStore,
  context: Context,
  name: string,
  path: string,
  options: ExportOptions,
): Promise<{ digest: string; size: number }> =>
  exportTree(cli, context, options, {
    name,
    root: path,
    plan: async () => planOnDirectory(cli, path, packing(path, "/", false)),
    about: { run: {}, platform: hostPlatform() },
    configured: true,
  });

async function exportTree(
  cli: AtStore,
  context: Context,
  options: ExportOptions,
  tree: Tree,
): Promise<{ digest: string; size: number }> {
  const { enroot = false, output } = options;
  const sink = outputSink(options, context);
  const image = await openTree(cli, context, tree, output, enroot);
  try {
    if (!enroot) return await buildImage(image, sink, context);
    return await buildImage(withFiles(image, tree, context), enrootSink(sink), context);
  } finally {
    await image.close();
    context.progress.close();
  }
}

/** A stored image as a source, to be read once for `output`. The caller closes it. */
export const openStored = (
  cli: AtStore,
  context: Context,
  { tree, name, run, platform, config }: StoredImage,
  output: string,
): Promise<SourceImage> => {
  const plan = async () => planOnDirectory(cli, tree, packing(name, "/", false), true);
  const about = { ...(config === undefined ? {} : { config: readFileSync(config) }), run, platform };
  return openTree(cli, context, { name, root: tree, plan, about, configured: true }, output, false);
};

async function openTree(
  cli: AtStore,
  context: Context,
  tree: Tree,
  output: string,
  enroot: boolean,
): Promise<SourceImage> {
  const stream: Stream = {
    name: tree.name,
    label: `container ${tree.name}`,
    root: rootEntry(tree.root),
    about: tree.about,
    open: () => tarOf(cli, context, tree, enroot),
    again: "anew",
  };
  const opening = { ...context, platform: tree.about.platform, cache: new Blobs(cli.layout), once: true, output };
  return openStream(stream, { ...opening, registry: { env: {}, uid: 0 } });
}

const withFiles = (image: SourceImage, { configured }: Tree, context: Context): SourceImage =>
  configured ? image : withEnrootFiles(image, "above", context);

async function* tarOf(cli: AtStore, context: Context, tree: Tree, enroot: boolean): AsyncGenerator<Buffer> {
  const filter = withTimeOf(tree.root, enroot ? enrootFilter() : undefined);
  yield* packedTar(cli, context, await tree.plan(), filter);
}

/** The root's mode, for sinks that have to know it first. */
function rootEntry(path: string): Entry {
  try {
    const { mode } = statSync(path);
    return { path: "" as ByteString, kind: "directory", mode: mode & 0o7777, uid: 0, gid: 0, size: 0, mtime: 0 };
  } catch (error) {
    throw fileFailure(error, "reading the container", path);
  }
}

/** Bytes of a script that enroot makes, at most. */
const SCRIPT_BYTES = 1 << 20;

/**
 * Whether an image's tree has the script that enroot made of its configuration. Nobody changes a tree of the store, so
 * what is no symlink now is none when it is read.
 */
function isEnrootTree(tree: string): boolean {
  try {
    const script = lstatSync(`${tree}/etc/rc`);
    if (!lstatSync(`${tree}/etc`).isDirectory() || !script.isFile() || script.size > SCRIPT_BYTES) return false;
    return readScript(readFileSync(`${tree}/etc/rc`, "utf8")) !== undefined;
  } catch {
    return false;
  }
}
