/** Containers of images: `enroot create`, and what `load` ends with. Apart, since a container of a stored image reads none. */
import { realpathSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { Failure } from "../base/errors.ts";
import { mapOf } from "../boot/boot.ts";
import { parseMap, recordOfMap } from "../boot/id-map.ts";
import { from } from "../boot/intent.ts";
import type { Cli } from "../commands/cli.ts";
import { makeContainer } from "../commands/create.ts";
import { imageFor } from "../commands/image-for.ts";
import { isSquashfs } from "../image/sources/files.ts";
import type { ContainerRecord } from "../store/containers.ts";
import type { StoredImage } from "../store/images.ts";
import { findNamed, invalid, nameOfFile, refuseName } from "./enroot-names.ts";
import { mapOfRoot } from "./enroot-start.ts";
import type { Words } from "./enroot-words.ts";

/** The squashfs file that is named. Throws E_NOT_FOUND, E_SOURCE. */
export async function squashfsOf(words: Words): Promise<string> {
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

/** Makes a container under the name that was given, or under that of the image; with --force in place of what has it. */
export async function makeNamed(cli: Cli, words: Words, own: string, find: () => Promise<StoredImage>): Promise<void> {
  const name = words.value("name") ?? own;
  if (name.includes("/")) throw invalid(name);
  const force = words.has("force") || cli.context("none").settings.FORCE_OVERRIDE;
  const taken = findNamed(cli, name);
  if (taken === undefined || !force) refuseName(cli, name);
  const image = await find();
  if (taken !== undefined) await (await import("./enroot-list.ts")).removeNamed(cli, taken, false);
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
