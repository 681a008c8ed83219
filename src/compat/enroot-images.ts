/** `enroot import`, `load`, `digest`, `bundle` and `export`: what reads or writes images. */
import { lstat } from "node:fs/promises";
import { resolve } from "node:path";
import { Failure } from "../base/errors.ts";
import type { Cli } from "../commands/cli.ts";
import { exportContainer, exportDirectory } from "../commands/export-container.ts";
import { importImage, importToFile, sourceDigest } from "../commands/import-image.ts";
import { makeBundle } from "../commands/make-bundle.ts";
import { registryOptions } from "../commands/registry-words.ts";
import { platformOfArchitecture } from "../image/sources/reference.ts";
import { makeNamed, squashfsOf } from "./enroot-create.ts";
import { getNamed, nameOfFile, nameOfUri, realRoot } from "./enroot-names.ts";
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
