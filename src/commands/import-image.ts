/** Wires image side and store: from a SOURCE text to a stored image, or to a file. */
import type { Context } from "../base/context.ts";
import { checkOutput, type OutputKind } from "../base/destination.ts";
import { Failure } from "../base/errors.ts";
import type { Task } from "../base/progress.ts";
import { variableOf } from "../base/settings.ts";
import { type Alterations, alteredSink } from "../image/alter.ts";
import { buildImage } from "../image/build.ts";
import { copyImage } from "../image/copy.ts";
import { buildLayered } from "../image/layered.ts";
import { directorySink, fillDirectorySink, type Owners } from "../image/sinks/directory.ts";
import { type DiskOptions, diskChainSink, diskSink } from "../image/sinks/disk.ts";
import { enrootSink, withEnrootFiles } from "../image/sinks/enroot.ts";
import { ociSink } from "../image/sinks/oci.ts";
import type { OpenSink } from "../image/sinks/sink.ts";
import { type SquashfsOptions, squashfsSink } from "../image/sinks/squashfs.ts";
import { initramfsSink, tarSink } from "../image/sinks/tar.ts";
import type { RegistryOptions } from "../image/sources/environment.ts";
import { pinnedSource } from "../image/sources/reference.ts";
import { openSource } from "../image/sources/source.ts";
import type { Digest, Platform, SourceImage } from "../image/types.ts";
import { Blobs } from "../store/blobs.ts";
import {
  addRef,
  checkRef,
  findImage,
  type LayerRecord,
  lockImage,
  recoverImage,
  type StoredImage,
  stageImage,
} from "../store/images.ts";
import type { Layout } from "../store/layout.ts";
import { clearLeavings } from "../store/leavings.ts";
import { donorFor } from "./donor-for.ts";
import { addTree, type MapFor } from "./mapped-tree.ts";
import { ownersFor } from "./own-owners.ts";
import { squashWords } from "./squash-options.ts";

export interface ImportOptions {
  platform?: Platform;
  /** The REF that the image gets; by default after its source. */
  name?: string;
  /** How registries are spoken to; by default as this process's environment says. */
  registry?: RegistryOptions;
  /** The image is unpacked for this id map as well. */
  map?: MapFor;
  /** Called once the source is open, before a layer is read. */
  opened?: (image: SourceImage) => void;
}

/** Imports an image into the store, or finds it there, and gives it its name. */
export async function importImage(
  context: Context,
  layout: Layout,
  sourceText: string,
  options: ImportOptions = {},
): Promise<StoredImage> {
  if (options.name !== undefined) checkRef(options.name, "--name");
  await clearLeavings(layout);
  const image = await openImage(context, layout, sourceText, options);
  try {
    const name = options.name ?? image.name;
    checkRef(name, sourceText);
    const wanted = { context, layout, image, name, source: sourceText };
    for (;;) {
      const { digest } = findImage(layout, image.digest) ?? (await store(wanted));
      if (options.map !== undefined) await addTree(context, layout, image, options.map);
      await addRef(layout, name, digest);
      // Whoever removed it before it had this name takes away names that came later too.
      const named = findImage(layout, digest);
      if (named !== undefined) return named;
    }
  } finally {
    await image.close();
    context.progress.close();
  }
}

/**
 * The digest of the manifest that a SOURCE has for a platform; for sources without manifest, of what identifies their
 * bytes. No layer of a registry's image is fetched.
 */
export async function sourceDigest(
  context: Context,
  layout: Layout,
  sourceText: string,
  options: Pick<ImportOptions, "platform" | "registry"> = {},
): Promise<Digest> {
  const image = await openImage(context, layout, sourceText, options);
  try {
    return image.digest;
  } finally {
    await image.close();
    context.progress.close();
  }
}

/** What can be written: each with what it is called in help texts. */
export const outputFormats = {
  squashfs: "a squashfs file",
  dir: "a directory",
  tar: "a tar file",
  oci: "an OCI image layout",
  "oci-archive": "a tar of an OCI image layout",
  qcow2: "a disk, one file a layer",
  raw: "a disk in one file",
  initramfs: "an initial RAM file system",
} as const;

export type OutputFormat = keyof typeof outputFormats;

/** The same for help texts: `squashfs (a squashfs file)`. */
export const FORMATS = Object.entries(outputFormats).map(([name, about]) => `${name} (${about})`);

export const isOci = (format: OutputFormat): boolean => format === "oci" || format === "oci-archive";

const isFormat = (text: string): text is OutputFormat => Object.hasOwn(outputFormats, text);

/** The format of `--format`. Throws E_USAGE. */
export function formatOf(text = "squashfs"): OutputFormat {
  if (isFormat(text)) return text;
  throw new Failure("E_USAGE", `there is no format ${JSON.stringify(text)}`, {
    where: "--format",
    mend: `use one of ${FORMATS.join(", ")}`,
  });
}

/** How many layers an OCI image gets: those that its source has, or one with the merged tree. */
export type LayerChoice = "keep" | "one";

/** The choice of `--layers`. Throws E_USAGE, also where the format has none. */
export function layersOf(text: string | undefined, format: OutputFormat): LayerChoice {
  if (text === undefined) return "one";
  const usage = (what: string, mend: string) => new Failure("E_USAGE", what, { where: "--layers", mend });
  if (text !== "keep" && text !== "one") throw usage("not a choice of layers", "use keep or one");
  if (isOci(format)) return text;
  throw usage(`${format} has no layers`, "use --format oci or oci-archive, or leave it out");
}

const kinds: Readonly<Record<OutputFormat, OutputKind>> = {
  squashfs: "file",
  dir: "tree",
  tar: "file",
  oci: "directory",
  initramfs: "file",
  qcow2: "directory",
  raw: "file",
  "oci-archive": "file",
};

/** Throws E_EXISTS or E_NAME for a place that an output of the format must not take. `flatten`: a disk in one file. */
export const checkPlace = async (
  output: string,
  format: OutputFormat,
  force = false,
  flatten = false,
): Promise<void> => {
  await checkOutput(output, flatten ? "file" : kinds[format], force);
};

/** What a disk is to be like. */
export interface DiskWishes extends Pick<DiskOptions, "size" | "fileSystem"> {
  /** One qcow2 file in place of one for each layer. */
  flatten?: boolean;
}

export interface FileImportOptions {
  output: string;
  format: OutputFormat;
  /** Of OCI images; one if not given. */
  layers?: LayerChoice;
  /** Compression, such as `zstd:3`; each format has a default, that of squashfs is the setting SQUASH_OPTIONS. */
  comp?: string;
  /** As enroot makes it: everything root's, no devices, and /etc/rc and its like, which are how enroot runs an image. */
  enroot?: boolean;
  disk?: DiskWishes;
  /** Owners and a password other than the image's. */
  alterations?: Alterations;
  platform?: Platform;
  force?: boolean;
  registry?: RegistryOptions;
  /** Called once the source is open, before a layer is read. */
  opened?: (image: SourceImage) => void;
}

/** Imports an image into a file or directory of its own. Returns the digest and the bytes of content. */
export async function importToFile(
  context: Context,
  layout: Layout,
  sourceText: string,
  options: FileImportOptions,
): Promise<{ digest: string; size: number }> {
  const { alterations = {} } = options;
  const owners = options.format === "dir" ? await ownersFor(layout, alterations.ids) : undefined;
  const sink = alteredSink(outputSink(options, context, owners), alterations);
  const image = await openImage(context, layout, sourceText, options);
  try {
    if (options.format === "qcow2" && !options.disk?.flatten) {
      return await buildLayered(image, diskChainSink(diskOptions(options, "qcow2"), context), context, alterations);
    }
    if (options.layers === "keep") return await copyImage(image, copyOptions(options), context);
    if (!options.enroot) return await buildImage(image, sink, context);
    return await buildImage(withEnrootFiles(image, "above", context), enrootSink(sink), context);
  } finally {
    await image.close();
    context.progress.close();
  }
}

/** SOURCE_DATE_EPOCH of reproducible builds, in seconds. Throws E_SETTING. */
export function readEpoch(): string | undefined {
  const epoch = process.env.SOURCE_DATE_EPOCH;
  if (epoch === undefined || /^[0-9]{1,11}$/.test(epoch)) return epoch;
  throw new Failure("E_SETTING", "SOURCE_DATE_EPOCH is not a number of seconds", { where: "SOURCE_DATE_EPOCH" });
}

const copyOptions = ({ output, force = false, format, comp }: FileImportOptions) => ({
  ...{ output, force, comp, form: ociForm(format), sourceDateEpoch: readEpoch() },
});

const ociForm = (format: OutputFormat): "archive" | "directory" => (format === "oci-archive" ? "archive" : "directory");

/** The sink that the options name. Throws E_USAGE for a compression that it does not have. */
export function outputSink(options: FileImportOptions, context: Context, owners?: Owners): OpenSink {
  const { output, force = false, comp } = options;
  const sourceDateEpoch = readEpoch();
  switch (options.format) {
    case "squashfs":
      return squashfsSink(
        { output, ...compressionOf(comp, context), force, rootOwned: options.enroot, sourceDateEpoch },
        context,
      );
    case "tar":
      return tarSink({ output, comp: comp ?? "none", force });
    case "initramfs":
      return initramfsSink({ output, comp: comp ?? "gzip", force });
    case "oci":
    case "oci-archive":
      return ociSink({ output, form: ociForm(options.format), comp: comp ?? "gzip", force, sourceDateEpoch });
    case "dir":
      checkNoCompression(comp, "a directory");
      return directorySink(output, force, context, owners);
    case "qcow2":
    case "raw":
      return diskSink(diskOptions(options, options.format), context);
  }
}

function diskOptions(options: FileImportOptions, format: DiskOptions["format"]): DiskOptions {
  checkNoCompression(options.comp, "a disk");
  const { output, force = false, disk: { size, fileSystem } = {} } = options;
  return { output, format, force, size, fileSystem };
}

function checkNoCompression(comp: string | undefined, what: string): void {
  if (comp === undefined) return;
  throw new Failure("E_USAGE", `${what} is not compressed`, { where: "--comp", mend: "leave it out" });
}

function compressionOf(comp: string | undefined, { settings }: Context): Pick<SquashfsOptions, "comp" | "words"> {
  if (comp !== undefined) return { comp };
  return { comp: "", words: squashWords(settings.SQUASH_OPTIONS, variableOf(settings.program, "SQUASH_OPTIONS")) };
}

type OpenOptions = Pick<ImportOptions, "platform" | "registry" | "opened"> & {
  /** What is written: the source is read only once, if that can be, and what is written is no part of it. */
  output?: string;
};

/** Opens the source of an image: manifest and configuration, no layer yet. The caller closes it. */
export async function openImage(
  context: Context,
  layout: Layout,
  text: string,
  options: OpenOptions,
): Promise<SourceImage> {
  const { platform, output, registry = { env: process.env, uid: process.geteuid?.() ?? 0 } } = options;
  const cache = new Blobs(layout);
  const once = output === undefined ? {} : { once: true, output };
  const task = context.progress.task("open", `open ${text}`);
  const opening = { cache, registry, ...once, ...(platform === undefined ? {} : { platform }) };
  let image: SourceImage | undefined;
  try {
    image = await openSource(text, opening, context);
    task.done();
    options.opened?.(image);
    return image;
  } catch (error) {
    // Nobody has an image whose end would do this.
    await image?.close();
    context.progress.close();
    throw error;
  }
}

/** An import into the store that is under way. */
interface Import {
  readonly context: Context;
  readonly layout: Layout;
  readonly image: SourceImage;
  readonly name: string;
  /** The SOURCE as the user named it. */
  readonly source: string;
}

/** Merges the image into the store. Of many processes that want the same one, one does it and the others wait. */
async function store(wanted: Import): Promise<StoredImage> {
  const { context, layout, image } = wanted;
  let waiting: Task | undefined;
  const lock = await lockImage(layout, image.digest, context.signal, ({ pid }) => {
    context.warn(`waiting for process ${pid}, which imports the same image`);
    waiting = context.progress.task("wait", `wait for process ${pid}`);
  });
  waiting?.done();
  try {
    await recoverImage(layout, image.digest);
    return findImage(layout, image.digest) ?? (await merge(wanted));
  } finally {
    lock.release();
  }
}

async function merge({ context, layout, image, name, source }: Import): Promise<StoredImage> {
  let staged = await stageImage(layout);
  const listings = new Map<string, string>();
  const donor = donorFor(layout, image, ({ tree }) => tree);
  try {
    // Each attempt gets a directory of its own.
    let fresh = true;
    const sink: OpenSink = async (opened, root) => {
      if (!fresh) {
        await staged.discard();
        staged = await stageImage(layout);
        listings.clear();
      }
      fresh = false;
      return fillDirectorySink({ directory: staged.tree }, context)(opened, root);
    };
    const { size } = await buildImage(image, sink, context, {
      donor,
      keep: async (diffId, listing) => {
        if (listings.has(diffId)) return;
        await staged.keepListing(diffId, listing.bytes);
        listings.set(diffId, listing.digest);
      },
    });
    const { digest, platform, run } = image;
    const layers = image.layers.map(({ digest, size, diffId }): LayerRecord => {
      const listing = listings.get(diffId ?? "");
      return {
        ...(digest && { digest }),
        ...(size && { size }),
        ...(diffId && { diffId }),
        ...(listing && { listing }),
      };
    });
    const origin = image.source ?? pinnedSource(source, digest, process.cwd());
    return await staged.commit({ digest, name, platform, size, source: origin, layers, run: { ...run } }, image.config);
  } catch (error) {
    await staged.discard();
    throw error;
  } finally {
    donor?.release();
  }
}
