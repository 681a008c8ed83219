/**
 * A bundle: one file that unpacks and runs itself. A script for sh, the executor, and the root as a compressed tar; the
 * script is share/bundle/bundle.sh below what is this bundle's own.
 */
import { createHash } from "node:crypto";
import { createReadStream, createWriteStream, readFileSync, statSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import type { Context } from "../base/context.ts";
import { nameBeside } from "../base/destination.ts";
import { Failure, fileFailure } from "../base/errors.ts";
import { moveIntoPlace, temporaryName } from "../base/files.ts";
import { packageRoot, packageVersion } from "../base/package.ts";
import { type BundleParts, planFunctions, shellText } from "../boot/bundle-plan.ts";
import { from } from "../boot/intent.ts";
import { readStartupTexts } from "../boot/read-enroot.ts";
import { readStartupFiles } from "../boot/startup-files.ts";
import { buildImage } from "../image/build.ts";
import { bundleSink, type SeenRoot } from "../image/sinks/bundle.ts";
import { tarSink } from "../image/sinks/tar.ts";
import type { RegistryOptions } from "../image/sources/environment.ts";
import type { Platform, SourceImage } from "../image/types.ts";
import { executorFor } from "../plan/launch.ts";
import { findImage } from "../store/images.ts";
import type { Cli } from "./cli.ts";
import { openStored } from "./export-container.ts";
import { openImage, readEpoch } from "./import-image.ts";
import { directoriesOf, ENROOT_VERSION } from "./startup.ts";

export interface BundleWish {
  /** The name of a stored image, or a SOURCE. */
  readonly source: string;
  readonly output: string;
  readonly force: boolean;
  readonly checksum: boolean;
  readonly description: string;
  /** Where --keep and --extract put the root: a path, relative to where the bundle is started. */
  readonly target: string;
  /** Whose mounts.d, environ.d and hooks.d it holds: nobody's, the system's, or the user's as well. */
  readonly configuration: "none" | "system" | "all";
  readonly platform?: Platform;
  readonly registry: RegistryOptions;
}

/** How each processor is called by Go, by Node and by uname(1). */
const PROCESSORS: Readonly<Record<string, { readonly node: string; readonly machine: string }>> = {
  amd64: { node: "x64", machine: "x86_64" },
  arm64: { node: "arm64", machine: "aarch64" },
};

function processorOf({ architecture }: Platform) {
  const processor = PROCESSORS[architecture];
  if (processor !== undefined) return processor;
  throw new Failure("E_PLATFORM", `there are no bundles for ${architecture}`, {
    mend: `choose an image for one of ${Object.keys(PROCESSORS).join(", ")}`,
  });
}

/** Writes a bundle. Returns its bytes. Throws E_EXISTS, E_PLATFORM, and what the source throws. */
export async function makeBundle(cli: Cli, context: Context, wish: BundleWish): Promise<number> {
  const { output, force } = wish;
  const payload = await nameBeside(output, "file", force);
  const configuration = readConfiguration(cli, wish);
  const image = await openSourceOf(cli, context, wish);
  try {
    const { node, machine } = processorOf(image.platform);
    const executor = readFileSync(await executorFor(node, context.settings.CACHE_PATH));
    const seen: SeenRoot = { bytes: 0, hasScript: false };
    const tar = tarSink({ output: payload, comp: "gzip", force: false });
    await buildImage(image, bundleSink(tar, seen, Number(readEpoch() ?? Number.POSITIVE_INFINITY)), context);
    const { settings } = context;
    const enroot = settings.program === "enroot";
    const functions = planFunctions({
      ...configuration,
      architecture: node,
      run: image.run,
      rootFiles: seen.hasScript,
      login: enroot && settings.LOGIN_SHELL,
      devices: from(enroot ? "host" : "fresh", settings.program),
    });
    return await assemble({ wish, machine, executor, payload, seen, functions, failure: enroot ? 1 : 125 });
  } finally {
    await rm(payload, { force: true });
    await image.close();
    context.progress.close();
  }
}

function openSourceOf(cli: Cli, context: Context, wish: BundleWish): Promise<SourceImage> {
  const { source, output, platform, registry } = wish;
  const stored = findImage(cli.layout, source);
  if (stored !== undefined) return openStored(cli, context, stored, output);
  return openImage(context, cli.layout, source, { output, registry, ...(platform && { platform }) });
}

/** The machine that runs the bundle has the values: each ${NAME} stays what it is. */
const unknown: Readonly<Record<string, string>> = new Proxy({}, { get: (_, name) => `\${${String(name)}}` });

function readConfiguration(
  cli: Cli,
  { configuration }: BundleWish,
): Pick<BundleParts, "environment" | "lines" | "hooks"> {
  const { settings } = cli.context("none");
  const directories = configuration === "none" ? [] : directoriesOf(settings, configuration === "all");
  const { environment, lines, hooks } = readStartupTexts(readStartupFiles(directories), unknown);
  return { environment, lines, hooks: hooks.map(({ value, origin }) => from(readHook(value, origin), origin)) };
}

function readHook(path: string, origin: string): string {
  const bytes = readFileSync(path);
  const text = bytes.toString("utf8");
  if (text.startsWith("#!") && !text.includes("\0") && Buffer.from(text).equals(bytes)) return text;
  throw new Failure("E_USAGE", "a bundle holds hooks that are scripts, and this is none", {
    where: origin,
    mend: "make it a script that begins with #!, or take it away for the time of the bundle's making",
  });
}

interface Parts {
  readonly wish: BundleWish;
  readonly machine: string;
  readonly executor: Buffer;
  /** File of the root. */
  readonly payload: string;
  readonly seen: SeenRoot;
  readonly functions: string;
  /** Exit status of what fails before the payload runs. */
  readonly failure: number;
}

/** Puts the parts together, under the final name once all of it is on the disk. */
async function assemble(parts: Parts): Promise<number> {
  const { output, force } = parts.wish;
  const temporary = temporaryName(output);
  const checksum = parts.wish.checksum ? await checksumOf(parts) : "";
  const size = statSync(parts.payload).size;
  const head = headOf(parts, checksum, size);
  try {
    const target = createWriteStream(temporary, { flags: "wx", mode: 0o755, flush: true, highWaterMark: 1 << 20 });
    await pipeline(contentOf(head, parts), target);
    await moveIntoPlace(temporary, output, force);
    return head.length + parts.executor.length + size;
  } catch (error) {
    await rm(temporary, { force: true });
    throw fileFailure(error, "writing the bundle", output);
  }
}

async function* contentOf(head: Buffer, { executor, payload }: Parts): AsyncGenerator<Buffer> {
  yield head;
  yield executor;
  yield* createReadStream(payload, { highWaterMark: 1 << 20 });
}

/** Of all that follows the script. */
async function checksumOf({ executor, payload }: Parts): Promise<string> {
  const hash = createHash("sha256").update(executor);
  await pipeline(createReadStream(payload, { highWaterMark: 1 << 20 }), hash);
  return hash.digest("hex");
}

/** The script. It says where it ends itself, so it is made until its length is the one that it says. */
function headOf(parts: Parts, checksum: string, size: number): Buffer {
  const shared = readFileSync(join(packageRoot(), "share/bundle/bundle.sh"), "utf8");
  for (let length = 0; ; ) {
    const own = ownPart(parts, checksum, size, length);
    const head = Buffer.from(`${own}\n${parts.functions}\n${shared}`);
    if (head.length === length) return head;
    length = head.length;
  }
}

function ownPart(
  { wish, machine, executor, seen, failure }: Parts,
  checksum: string,
  size: number,
  head: number,
): string {
  const values: Readonly<Record<string, string | number>> = {
    description: wish.description,
    target: wish.target,
    version: packageVersion(),
    enroot: ENROOT_VERSION,
    machine,
    kilobytes: Math.ceil(seen.bytes / 1024),
    checksum,
    files: seen.hasScript ? 1 : "",
    failure,
    header: head,
    offset: head + executor.length,
    total: head + executor.length + size,
  };
  const lines = Object.entries(values).map(([name, value]) => `${name}=${shellText(String(value))}`);
  return [
    "#!/bin/sh",
    "# A bundle: an image that unpacks and runs itself. It needs sh, gzip, tar and the usual small programs; see --help.",
    ...lines,
  ].join("\n");
}
