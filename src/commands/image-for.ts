/** From what a user names to a stored image: by its name, by a container's reference, or imported first. */
import type { Command } from "commander";
import { Failure } from "../base/errors.ts";
import type { ProgressMode } from "../base/progress-render.ts";
import { formatPlatform } from "../image/sources/reference.ts";
import { findImage, type StoredImage } from "../store/images.ts";
import { findImageOfFile, markOfFile, noteFile } from "../store/known-files.ts";
import { findShared } from "../store/shared.ts";
import type { AtStore, Cli } from "./cli.ts";
import { type PlatformFlags, platformOf, withPlatformFlags } from "./platform-words.ts";
import { type RegistryFlags, registryOptions, withRegistryFlags } from "./registry-words.ts";

/** The flags of an import that `run` and `create` take as well. */
export interface ImportFlags extends RegistryFlags, PlatformFlags {
  readonly progress?: ProgressMode;
}

/** How an image that is not stored yet is imported. */
export const withImportFlags = (command: Command): Command =>
  withPlatformFlags(withRegistryFlags(command), " of an image that is imported");

/**
 * The stored image of a REF, or of a SOURCE, which is imported if it is not stored yet. With `dryRun` nothing is
 * imported: E_NOT_FOUND says so. `ref`: the name of an image that is imported.
 */
export async function imageFor(
  cli: Cli,
  source: string,
  options: ImportFlags & { dryRun?: boolean; readonly ref?: string },
): Promise<StoredImage> {
  const platform = platformOf(options);
  const stored = findImage(cli.layout, source);
  if (stored !== undefined) {
    if (platform === undefined || formatPlatform(stored.platform).startsWith(formatPlatform(platform))) return stored;
    throw new Failure("E_PLATFORM", `the stored image is for ${formatPlatform(stored.platform)}`, {
      where: source,
      mend: `import the other one with a name of its own: rootling import --platform ${formatPlatform(platform)} --name …`,
    });
  }
  const context = cli.context(options.progress);
  const shared = findShared(context.settings.IMAGE_PATHS, source);
  if (options.dryRun) {
    throw new Failure("E_NOT_FOUND", `no image named ${source} is stored, and a dry run imports none`, {
      mend: `import it first: rootling import ${looksLikeName(source) ? `docker://${source}` : source}`,
    });
  }
  if (shared === undefined && looksLikeName(source)) {
    throw unknownName(source);
  }
  const file = shared ?? source.replace(/^file:\/\//, "");
  const mark = platform === undefined ? markOfFile(file) : undefined;
  const known = mark === undefined ? undefined : findImageOfFile(cli.layout, mark);
  if (known !== undefined) return known;
  const { importImage } = await import("./import-image.ts");
  if (shared !== undefined) context.warn(`unpacking the shared image ${shared}`);
  const image = await importImage(context, cli.layout, shared ?? source, {
    ...(options.ref === undefined ? {} : { name: options.ref }),
    ...(shared === undefined ? {} : { name: source }),
    registry: registryOptions(options, context),
    ...(platform === undefined ? {} : { platform }),
  });
  // Not of a file that was changed while it was read.
  if (mark !== undefined && markOfFile(file) === mark) noteFile(cli.layout, image, mark);
  return image;
}

/** No scheme, no path: a name that the store should know. */
export const looksLikeName = (source: string): boolean =>
  !/^(dir|oci-archive|docker-archive|debootstrap):/.test(source) &&
  /^[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_.-]+)?$/.test(source) &&
  !/^[a-z-]+:/.test(source.replace(/:[A-Za-z0-9_.-]*[0-9.][A-Za-z0-9_.-]*$/, ""));

export const unknownName = (name: string): Failure =>
  new Failure("E_NOT_FOUND", `no image and no container is named ${name}`, {
    mend: `import it, such as \`rootling import docker://${name}\`; see \`rootling images\` and \`rootling import --help\``,
  });

/** The stored image of a container. Throws E_NOT_FOUND if it was removed from under it. */
export function storedImage(cli: AtStore, digest: string): StoredImage {
  const image = findImage(cli.layout, digest);
  if (image !== undefined) return image;
  throw new Failure("E_NOT_FOUND", `the image ${digest} of this container is no longer stored`, {
    mend: "import it again from where it came",
  });
}
