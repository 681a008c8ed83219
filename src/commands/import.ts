/** `rootling import`: an image into the store, or into a file or directory of one's own. */
import { resolve } from "node:path";
import { Failure } from "../base/errors.ts";
import type { ProgressMode } from "../base/progress-render.ts";
import { formatBytes } from "../base/text.ts";
import { parsePlatform } from "../image/sources/reference.ts";
import { type Cli, newCommand, showJson, withProgress } from "./cli.ts";
import { importImage, importToFile } from "./import-image.ts";
import { type RegistryFlags, registryOptions, withRegistryFlags } from "./registry-words.ts";

interface Options extends RegistryFlags {
  output?: string;
  format?: string;
  comp?: string;
  name?: string;
  platform?: string;
  force?: boolean;
  json?: boolean;
  progress?: ProgressMode;
}

const FORMATS = ["squashfs", "dir"] as const;

export const define = (cli: Cli) =>
  withProgress(
    withRegistryFlags(
      newCommand("import", "Bring an image into the store, or with --output into a file or directory.", [
        "rootling import docker://debian:12",
        "rootling import docker://127.0.0.1:5000/team/app@sha256:… --name app",
        "rootling import oci:./layout:latest -o app.sqsh",
        "rootling import rootfs.tar.gz -o rootfs --format dir",
      ]),
    ),
  )
    .argument("<source>", "docker://[REGISTRY/]NAME[:TAG][@DIGEST], oci:DIR[:REF], or a tarball")
    .option("-o, --output <path>", "write a file or directory instead of storing the image")
    .option("--format <format>", `what to write: ${FORMATS.join(" or ")}`)
    .option("--comp <compression>", "compression of a squashfs: zstd[:LEVEL], gzip, lzo, lz4, xz", "zstd:3")
    .option("-n, --name <name>", "name of the stored image")
    .option("--platform <platform>", "OS/ARCHITECTURE[/VARIANT], such as linux/arm64")
    .option("-f, --force", "replace the output if it exists")
    .option("--json", "print what was made as JSON")
    .action(async (source: string, options: Options) => {
      if (options.output === undefined) await intoStore(cli, source, options);
      else await intoFile(cli, source, options.output, options);
    });

const usage = (what: string, where: string, mend: string): Failure => new Failure("E_USAGE", what, { where, mend });

const platformOf = ({ platform }: Options) =>
  platform === undefined ? {} : { platform: parsePlatform(platform, "--platform") };

async function intoStore(cli: Cli, source: string, options: Options): Promise<void> {
  for (const flag of ["format", "force"] as const) {
    if (options[flag] !== undefined)
      throw usage(`--${flag} is for files`, `--${flag}`, "add --output, or leave it out");
  }
  const context = cli.context(options.progress);
  const image = await importImage(context, cli.layout, source, {
    registry: registryOptions(options, context.signal),
    ...(options.name === undefined ? {} : { name: options.name }),
    ...platformOf(options),
  });
  const { name, digest, size } = image;
  const called = options.name ?? image.refs.at(-1) ?? name;
  cli.print(options.json ? showJson({ name: called, digest, size }) : `${called}  ${digest}  ${formatBytes(size)}`);
}

async function intoFile(cli: Cli, source: string, path: string, options: Options): Promise<void> {
  if (options.name !== undefined) throw usage("--name is for stored images", "--name", "leave out --name or --output");
  const output = resolve(path);
  const format = options.format ?? "squashfs";
  if (format !== "squashfs" && format !== "dir") {
    throw usage(`there is no format ${JSON.stringify(format)}`, "--format", `use ${FORMATS.join(" or ")}`);
  }
  const context = cli.context(options.progress);
  const { digest, size } = await importToFile(context, cli.layout, source, {
    output,
    registry: registryOptions(options, context.signal),
    format,
    ...(format === "squashfs" && options.comp !== undefined ? { comp: options.comp } : {}),
    ...platformOf(options),
    ...(options.force ? { force: true } : {}),
  });
  cli.print(options.json ? showJson({ output, digest, size }) : `${output}  ${digest}  ${formatBytes(size)}`);
}
