/** `enroot import`, `load`, `digest`, `create`, `bundle` and `export`. */
import { realpathSync, statSync } from "node:fs";
import { lstat } from "node:fs/promises";
import { resolve } from "node:path";
import { Failure } from "../base/errors.ts";
import { mapOf } from "../boot/boot.ts";
import { parseMap, recordOfMap } from "../boot/id-map.ts";
import { from } from "../boot/intent.ts";
import type { Cli } from "../commands/cli.ts";
import { makeContainer } from "../commands/create.ts";
import { exportContainer, exportDirectory } from "../commands/export-container.ts";
import { imageFor } from "../commands/image-for.ts";
import { importImage, importToFile, sourceDigest } from "../commands/import-image.ts";
import { makeBundle } from "../commands/make-bundle.ts";
import { registryOptions } from "../commands/registry-words.ts";
import { platformOfArchitecture } from "../image/sources/reference.ts";
import { isSquashfs } from "../image/sources/squashfs.ts";
import type { ContainerRecord } from "../store/containers.ts";
import type { StoredImage } from "../store/images.ts";
import { removeNamed } from "./enroot-list.ts";
import { findNamed, getNamed, invalid, nameOfFile, nameOfUri, realRoot, refuseName } from "./enroot-names.ts";
import { mapOfRoot } from "./enroot-start.ts";
import type { Words } from "./enroot-words.ts";

/** What is chosen of the image that a URI names. */
function chosen(cli: Cli, words: Words) {
  const context = cli.context();
  const arch = words.value("arch");
  return {
    context,
    registry: registryOptions({}, context),
    ...(arch === undefined ? {} : { platform: platformOfArchitecture(arch, "--arch") }),
  };
}

/** The URI. Throws E_SOURCE for what enroot imports nothing from. */
function uriOf(words: Words): string {
  const [uri = ""] = words.operands;
  if (/^(docker|dockerd|podman):\/\/./s.test(uri)) return uri;
  throw new Failure("E_SOURCE", `Invalid argument: ${uri}`, {
    mend: "write docker://[USER@][REGISTRY#]IMAGE[:TAG], dockerd://IMAGE[:TAG] or podman://IMAGE[:TAG]",
  });
}

/** An output that nothing has the name of yet. */
async function newFile(path: string): Promise<string> {
  const output = resolve(path);
  if ((await lstat(output).catch(() => undefined)) === undefined) return output;
  throw new Failure("E_EXISTS", `File already exists: ${output}`, {
    mend: "choose another name with --output, or remove it",
  });
}

/** An image of a registry or of a daemon as a squashfs file. */
export async function importImageFile(cli: Cli, words: Words): Promise<void> {
  const uri = uriOf(words);
  const output = await newFile(words.value("output") ?? `${nameOfUri(uri)}.sqsh`);
  const { context, ...options } = chosen(cli, words);
  await importToFile(context, cli.layout, uri, { output, format: "squashfs", enroot: true, ...options });
}

/** Prints the digest of the manifest that is meant for the architecture. */
export async function digest(cli: Cli, words: Words): Promise<void> {
  const uri = uriOf(words);
  const { context, ...options } = chosen(cli, words);
  cli.print(await sourceDigest(context, cli.layout, uri, options));
}

/** A container of an image of a registry or of a daemon; no file is written between. */
export async function load(cli: Cli, words: Words): Promise<void> {
  const uri = uriOf(words);
  await makeNamed(cli, words, nameOfUri(uri), () => {
    const { context, ...options } = chosen(cli, words);
    return importImage(context, cli.layout, uri, options);
  });
}

/** A container, or a foreign root, as a squashfs file. */
export async function exportImage(cli: Cli, words: Words): Promise<void> {
  const [name = ""] = words.operands;
  const named = getNamed(cli, name);
  const context = cli.context();
  const force = words.has("force") || context.settings.FORCE_OVERRIDE;
  const wanted = words.value("output") ?? `${name}.sqsh`;
  const output = force ? resolve(wanted) : await newFile(wanted);
  const how = { output, format: "squashfs", enroot: true, force } as const;
  if (named.kind === "stored") await exportContainer(cli, context, named.container, how);
  else await exportDirectory(cli, context, name, realRoot(named), how);
}

/** The squashfs file that is named. Throws E_NOT_FOUND, E_SOURCE. */
async function squashfsOf(words: Words): Promise<string> {
  const [image = ""] = words.operands;
  const file = image === "" ? undefined : statSync(image, { throwIfNoEntry: false });
  if (!file?.isFile()) {
    throw new Failure("E_NOT_FOUND", `No such file or directory: ${resolve(image)}`, { mend: "give a squashfs file" });
  }
  const path = realpathSync(image);
  if (!(await isSquashfs(path))) {
    throw new Failure("E_SOURCE", `Invalid image format: ${path}`, {
      mend: "give a squashfs file, such as `enroot import` makes",
    });
  }
  return path;
}

/** A container of a squashfs file. */
export async function create(cli: Cli, words: Words): Promise<void> {
  const path = await squashfsOf(words);
  const [image = ""] = words.operands;
  await makeNamed(cli, words, nameOfFile(image), () => imageFor(cli, `file://${path}`, { ref: refOf(path) }));
}

/** A file that unpacks and runs itself, with the system's configuration and, if asked for, the user's. */
export async function bundle(cli: Cli, words: Words): Promise<void> {
  const path = await squashfsOf(words);
  const name = nameOfFile(path);
  const context = cli.context();
  const { settings } = context;
  const force = words.has("force") || settings.FORCE_OVERRIDE;
  const wanted = words.value("output") ?? `${name}.run`;
  await makeBundle(cli, context, {
    source: `file://${path}`,
    output: force ? resolve(wanted) : await newFile(wanted),
    force,
    checksum: words.has("checksum") || settings.BUNDLE_CHECKSUM,
    description: words.value("desc") ?? name,
    target: words.value("target") ?? name,
    configuration: words.has("all") || settings.BUNDLE_ALL ? "all" : "system",
    registry: registryOptions({}, context),
  });
}

/** Makes a container under the name that was given, or under that of the image; with --force in place of what has it. */
async function makeNamed(cli: Cli, words: Words, own: string, find: () => Promise<StoredImage>): Promise<void> {
  const name = words.value("name") ?? own;
  if (name.includes("/")) throw invalid(name);
  const force = words.has("force") || cli.context("none").settings.FORCE_OVERRIDE;
  const taken = findNamed(cli, name);
  if (taken === undefined || !force) refuseName(cli, name);
  const image = await find();
  if (taken !== undefined) await removeNamed(cli, taken, false);
  const map = mapHere(cli);
  await makeContainer(cli, name, { image, tree: image.tree, ...(map && { map }) }, undefined);
}

/** The map that a container is for: see mapOfRoot. */
function mapHere(cli: Cli): ContainerRecord["map"] {
  const words = mapOfRoot(cli.context("none").settings);
  if (words === undefined) return undefined;
  const wish = from(parseMap(words, "enroot"), "enroot");
  return recordOfMap(wish.value, mapOf(wish), 0);
}

/** A file's name as that of an image, which has fewer characters. */
const refOf = (path: string): string =>
  nameOfFile(path)
    .replace(/[^A-Za-z0-9_.:/@#+[\]-]/g, "-")
    .replace(/^[^A-Za-z0-9_[]+/, "")
    .slice(0, 60) || "image";
