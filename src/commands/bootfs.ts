/** `rootling bootfs build`: the small root file system that a guest begins with. */
import { release } from "node:os";
import { basename, resolve } from "node:path";
import { Failure } from "../base/errors.ts";
import { capture, requireProgram } from "../base/process.ts";
import type { ProgressMode } from "../base/progress-render.ts";
import { formatBytes } from "../base/text.ts";
import { readInit } from "../boot/read-init.ts";
import { buildImage } from "../image/build.ts";
import { bootfsImage } from "../image/sources/bootfs.ts";
import { modulesOf } from "../image/sources/kernel-modules.ts";
import { hostPlatform } from "../image/sources/reference.ts";
import { guestProgramFor } from "../plan/launch.ts";
import { type Cli, newCommand, showJson, withProgress } from "./cli.ts";
import { showSteps, step, withSteps } from "./dry-run.ts";
import { checkPlace, FORMATS, formatOf, outputSink, readEpoch } from "./import-image.ts";
import { textOf } from "./init.ts";

interface Options {
  output: string;
  format?: string;
  comp?: string;
  busybox?: string;
  config?: string;
  kernel?: string;
  module: string[];
  force?: boolean;
  json?: boolean;
  dryRun?: boolean;
  progress?: ProgressMode;
}

export const define = (cli: Cli) =>
  withProgress(
    withSteps(
      newCommand(
        "bootfs",
        "Make the small file system that a guest starts from: its /sbin/init prepares the guest's own root, as /mnt/init.yml says, and enters it.",
        [
          "rootling bootfs build -o boot.sqsh",
          "rootling bootfs build -o boot --format dir              # the root of a libvirt-LXC domain",
          "rootling bootfs build -o boot.img --format initramfs    # qemu -initrd boot.img",
          "rootling bootfs build -o boot.img --format initramfs --module virtio_blk --module ext4 --config init.yml",
        ],
      ),
    ),
  )
    .argument("<operation>", "build")
    .requiredOption("-o, --output <path>", "the file or directory to make")
    .option("--format <format>", `what to make: ${FORMATS.join(", ")}`)
    .option("--comp <compression>", "as of `import`")
    .option("--busybox <file>", "a static busybox; the machine's own if not given")
    .option("--config <file>", "an init.yml that it holds, as /mnt/init.yml")
    .option("--kernel <version>", "the kernel whose modules --module names; this machine's if not given")
    .option(
      "--module <name>",
      "a module of the kernel, with those that it needs; loaded at boot (may repeat)",
      (name: string, before: string[]) => [...before, name],
      [],
    )
    .option("-f, --force", "replace the output if it exists")
    .option("--json", "print what was made as JSON")
    .action(async (operation: string, options: Options) => {
      if (operation !== "build") {
        throw new Failure("E_USAGE", `${JSON.stringify(operation)} is no operation of bootfs`, {
          where: "bootfs",
          mend: "write `rootling bootfs build -o OUT`",
        });
      }
      await build(cli, options);
    });

async function build(cli: Cli, options: Options): Promise<void> {
  const output = resolve(options.output);
  const format = formatOf(options.format);
  if (options.dryRun) {
    await checkPlace(output, format, options.force, true);
    return showSteps(cli, [step("write", `${format} ${output}`, "--output")], options.json);
  }
  const context = cli.context(options.progress);
  const busybox = options.busybox ?? requireProgram("busybox", "busybox-static");
  const kernel = options.kernel ?? release();
  const image = bootfsImage({
    guest: guestProgramFor(process.arch),
    busybox,
    applets: await appletsOf(busybox),
    platform: hostPlatform(),
    time: Number(readEpoch() ?? 0),
    modules: modulesOf(kernel, options.module),
    ...(options.config === undefined ? {} : { config: checkedConfig(options.config) }),
  });
  const { comp, force } = options;
  const wanted = { output, format, ...(comp === undefined ? {} : { comp }), ...(force ? { force } : {}) };
  try {
    const { digest, size } = await buildImage(image, outputSink(wanted, context), context);
    cli.print(options.json ? showJson({ output, digest, size }) : `${output}  ${digest}  ${formatBytes(size)}`);
  } finally {
    context.progress.close();
  }
}

async function appletsOf(busybox: string): Promise<string[]> {
  return (await capture(busybox, ["--list"])).split("\n").filter((name) => /^[A-Za-z0-9_.[+-]+$/.test(name));
}

/** The text of an init.yml that a guest would take. */
function checkedConfig(file: string): string {
  const text = textOf(file);
  readInit(text, basename(file));
  return text;
}
