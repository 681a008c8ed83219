/** `rootling export`: a container as an image file. */
import { existsSync } from "node:fs";
import { basename, resolve } from "node:path";
import { Failure } from "../base/errors.ts";
import type { ProgressMode } from "../base/progress-render.ts";
import { formatBytes } from "../base/text.ts";
import { getContainer } from "../store/containers.ts";
import { type Cli, newCommand, showJson, withProgress } from "./cli.ts";
import { type DiskFlags, diskWishes, withDiskFlags } from "./disk-words.ts";
import { showSteps, step, withSteps } from "./dry-run.ts";
import { type ExportOptions, exportContainer, exportDirectory } from "./export-container.ts";
import { checkPlace, FORMATS, formatOf, isOci } from "./import-image.ts";

interface Options extends DiskFlags {
  output?: string;
  format?: string;
  comp?: string;
  enroot?: boolean;
  force?: boolean;
  json?: boolean;
  dryRun?: boolean;
  progress?: ProgressMode;
}

/** What the output is called if nobody says. */
const ENDINGS = {
  squashfs: ".sqsh",
  tar: ".tar",
  oci: ".oci",
  "oci-archive": ".oci.tar",
  dir: "",
  qcow2: ".qcow2",
  raw: ".raw",
  initramfs: ".img",
} as const;

export const define = (cli: Cli) =>
  withProgress(
    withSteps(
      withDiskFlags(
        newCommand("export", "Write a container, its changes and the image below, as an image. It may run read-only.", [
          "rootling export web",
          "rootling export web -o web.tar.zst --format tar --comp zstd",
          "rootling export web -o web.sqsh --enroot         # for enroot",
        ]),
        false,
      ),
    ),
  )
    .argument("<name>", "a container, or dir:DIR for a root file system that is none of rootling's")
    .option("-o, --output <path>", "the file or directory to write; NAME.sqsh and the like if not given")
    .option("--format <format>", `what to write: ${FORMATS.join(", ")}`)
    .option(
      "--comp <compression>",
      "squashfs: zstd[:LEVEL] (zstd:3), gzip, lzo, lz4, xz; tar and OCI: gzip, zstd, none",
    )
    .option("--enroot", "as enroot does: all files root's, without /dev's content and what was made to mount on")
    .option("-f, --force", "replace the output if it exists")
    .option("--json", "print what was made as JSON")
    .action(async (name: string, options: Options) => {
      const directory = name.startsWith("dir:") ? resolve(name.slice("dir:".length)) : undefined;
      const container = directory === undefined ? getContainer(cli.layout, name) : undefined;
      const shown = directory === undefined ? name : basename(directory);
      const format = formatOf(options.format);
      const disk = diskWishes(options, format);
      if (options.enroot && (isOci(format) || format === "qcow2" || format === "raw")) {
        throw new Failure("E_USAGE", `with the format ${format} there are no files of enroot's`, {
          where: "--enroot",
          mend: "leave it out",
        });
      }
      const output = resolve(options.output ?? `${shown}${ENDINGS[format]}`);
      await checkPlace(output, format, options.force, format === "qcow2");
      if (options.dryRun) {
        const verb = options.force && existsSync(output) ? "replace" : "write";
        const steps = [
          step("read", container === undefined ? name : `container ${name}`),
          step(verb, `${format} ${output}`, "--output"),
        ];
        return showSteps(cli, steps, options.json);
      }
      const { comp, enroot, force } = options;
      const how: ExportOptions = {
        ...{ output, format, disk },
        ...(comp === undefined ? {} : { comp }),
        ...(enroot ? { enroot } : {}),
        ...(force ? { force } : {}),
      };
      const context = cli.context(options.progress);
      const { digest, size } =
        container === undefined
          ? await exportDirectory(cli, context, shown, directory ?? "", how)
          : await exportContainer(cli, context, container, how);
      cli.print(options.json ? showJson({ output, digest, size }) : `${output}  ${formatBytes(size)}`);
    });
