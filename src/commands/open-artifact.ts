/** From what a user names, a stored image or a SOURCE, to the blobs that a registry or a layout gets of it. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { Context } from "../base/context.ts";
import { Failure, fileFailure } from "../base/errors.ts";
import { removeTree } from "../base/files.ts";
import { type Artifact, artifactOf } from "../image/artifact.ts";
import { buildImage } from "../image/build.ts";
import { ociSink } from "../image/sinks/oci.ts";
import type { RegistryOptions } from "../image/sources/environment.ts";
import { temporaryPath } from "../image/sources/files.ts";
import { openLayout } from "../image/sources/layout.ts";
import { parseSource } from "../image/sources/reference.ts";
import type { Platform, SourceImage } from "../image/types.ts";
import { Blobs } from "../store/blobs.ts";
import { findImage, type StoredImage } from "../store/images.ts";
import type { AtStore } from "./cli.ts";
import { openStored } from "./export-container.ts";
import { type LayerChoice, openImage, readEpoch } from "./import-image.ts";

export interface ArtifactWish {
  layers: LayerChoice;
  /** Compresses the layers anew. */
  comp?: string | undefined;
  platform?: Platform | undefined;
  /** With OCI's media types, whatever the source has. */
  oci?: boolean;
  /** How the registry of a source is spoken to. */
  registry: RegistryOptions;
}

export interface OpenArtifact {
  readonly artifact: Artifact;
  /** The image that its layers are read from. */
  readonly image: SourceImage;
  /** A directory for more files of the artifact, which goes when it is closed. */
  scratch(): Promise<string>;
  close(): Promise<void>;
}

/** Opens it; the caller closes it. Throws E_NOT_FOUND, and what opening a source throws. */
export async function openArtifact(
  cli: AtStore,
  context: Context,
  name: string,
  wish: ArtifactWish,
): Promise<OpenArtifact> {
  const scratch = await temporaryPath(context);
  let made: Promise<string> | undefined;
  const directory = () => (made ??= makeDirectory(scratch));
  let image: SourceImage | undefined;
  const close = async () => {
    await image?.close();
    if (made !== undefined) await removeTree(scratch);
  };
  try {
    const stored = findImage(cli.layout, name);
    const opened = stored === undefined ? undefined : await openWithLayers(cli, context, stored, wish, scratch);
    if (stored === undefined) image = await openAt(cli, context, name, wish, scratch);
    else image = opened ?? (await openStored(cli, context, stored, scratch));
    if (wish.layers === "one" || (stored !== undefined && opened === undefined)) {
      image = await flattened(cli, context, image, wish, join(await directory(), "layout"));
    }
    const comp = wish.layers === "one" ? undefined : wish.comp;
    const how = { comp, oci: wish.oci ?? false, scratch: directory, sourceDateEpoch: readEpoch() };
    return { artifact: await artifactOf(image, how, context), image, scratch: directory, close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function makeDirectory(path: string): Promise<string> {
  try {
    await mkdir(path, { mode: 0o700 });
    return path;
  } catch (error) {
    throw fileFailure(error, "making a temporary directory", path);
  }
}

const openAt = (
  cli: AtStore,
  context: Context,
  source: string,
  { platform, registry }: Pick<ArtifactWish, "platform" | "registry">,
  output: string,
): Promise<SourceImage> => openImage(context, cli.layout, source, { registry, output, ...(platform && { platform }) });

/** Sources whose images have layers of their own, which can be looked at again. */
const LAYERED = ["docker", "dockerd", "podman", "oci", "oci-archive", "docker-archive", "cached"];

/** Failures after which a stored image's layers are looked for no further. */
const GONE: readonly string[] = ["E_NOT_FOUND", "E_NETWORK", "E_DENIED", "E_REGISTRY", "E_SOURCE", "E_MANIFEST"];

/**
 * The image with the layers that it was imported from, which the blob cache or its source has; undefined, and a
 * warning, where neither has.
 */
async function openWithLayers(
  cli: AtStore,
  context: Context,
  stored: StoredImage,
  wish: ArtifactWish,
  output: string,
): Promise<SourceImage | undefined> {
  const { source, platform } = stored;
  if (wish.layers === "one" || !LAYERED.includes(parseSource(source).kind)) return undefined;
  let why = "it is another image now";
  try {
    const image = await openAt(cli, context, source, { platform, registry: wish.registry }, output);
    if (image.digest === stored.digest) return image;
    await image.close();
  } catch (error) {
    if (!(error instanceof Failure && GONE.includes(error.code))) throw error;
    why = error.what;
  }
  context.warn(`it gets one layer, since its own cannot be had from ${source}: ${why}`);
  return undefined;
}

/** The merged tree as an image of one layer, in a layout of its own. */
async function flattened(
  cli: AtStore,
  context: Context,
  image: SourceImage,
  { comp = "gzip" }: ArtifactWish,
  output: string,
): Promise<SourceImage> {
  const sink = ociSink({ output, form: "directory", force: false, comp, sourceDateEpoch: readEpoch() });
  try {
    await buildImage(image, sink, context);
  } finally {
    await image.close();
  }
  // Our own layout: no policy of images has a say in it.
  const opening = { ...context, platform: image.platform, cache: new Blobs(cli.layout), once: true, output };
  return openLayout(output, undefined, { ...opening, registry: { env: {}, uid: 0 } });
}
