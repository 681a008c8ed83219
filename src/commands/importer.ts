/**
 * `rootling importer`: the contract of importers of Slurm's plugin pyxis (pyxis, importers/README.md). `get URI` prints
 * the absolute path of a squashfs file, `release` ends what the job step has borrowed, as often as it is asked to.
 */
import { existsSync } from "node:fs";
import type { Context } from "../base/context.ts";
import { Failure } from "../base/errors.ts";
import { type Owner, ownerOf, processAbove } from "../base/owner.ts";
import type { ProgressMode } from "../base/progress-render.ts";
import { buildImage } from "../image/build.ts";
import { enrootSink, withEnrootFiles } from "../image/sinks/enroot.ts";
import { squashfsSink } from "../image/sinks/squashfs.ts";
import type { Layout } from "../store/layout.ts";
import { clearLeavings } from "../store/leavings.ts";
import { type Borrower, lendSquashfs, lockSquashfs, returnSquashfs, squashfsPath } from "../store/squashfs.ts";
import { type Cli, newCommand, withProgress } from "./cli.ts";
import { showSteps, step, withSteps } from "./dry-run.ts";
import { type ImportOptions, openImage } from "./import-image.ts";
import { type PlatformFlags, platformOf, withSourceFlags } from "./platform-words.ts";
import { type RegistryFlags, registryOptions } from "./registry-words.ts";

interface Options extends RegistryFlags, PlatformFlags {
  dryRun?: boolean;
  json?: boolean;
  progress?: ProgressMode;
}

export const define = (cli: Cli) =>
  withProgress(
    withSteps(
      withSourceFlags(
        newCommand("importer", "Give Slurm's plugin pyxis the squashfs file of an image, made once for all its jobs.", [
          "rootling importer get docker://debian:12",
          "rootling importer release",
          `printf '#!/bin/sh\\nexec rootling importer "$@"\\n' >/etc/slurm/importer    # importer= in plugstack.conf`,
        ]),
      ),
    ),
  )
    .argument("<operation>", "get, or release")
    .argument("[source]", "of get: the image, as of `import`")
    .option("--json", "with --dry-run: as JSON")
    .action(async (operation: string, source: string | undefined, options: Options) => {
      const usage = (what: string) =>
        new Failure("E_USAGE", what, {
          where: "importer",
          mend: "write `rootling importer get SOURCE`, or `rootling importer release`",
        });
      if (operation === "get" && source !== undefined) await get(cli, source, options);
      else if (operation === "release" && source === undefined) release(cli, options);
      else throw usage(operation === "get" ? "no image is named" : "not an operation of importers");
    });

async function get(cli: Cli, source: string, options: Options): Promise<void> {
  const platform = platformOf(options);
  if (options.dryRun) return showSteps(cli, [step("lend", `the squashfs file of image ${source}`)], options.json);
  const context = cli.context(options.progress);
  const registry = registryOptions(options, context);
  cli.print(await borrow(context, cli.layout, source, borrower(), { registry, ...(platform && { platform }) }));
}

function release(cli: Cli, options: Options): void {
  const { key } = borrower();
  if (options.dryRun) showSteps(cli, [step("end", `the loans of ${key}`)], options.json);
  else returnSquashfs(cli.layout, key);
}

/**
 * A step of a Slurm job is known by its ids, and lives as long as its slurmstepd, whatever script stands in between.
 * Elsewhere it is whoever started us.
 */
function borrower(): Borrower {
  const { SLURM_JOB_ID: job = "", SLURM_STEP_ID: step = "" } = process.env;
  const isStep = [job, step].every((id) => /^[0-9]{1,20}$/.test(id));
  const owner: Owner = processAbove("slurmstepd") ?? ownerOf(process.ppid);
  return { owner, key: isStep ? `job-${job}-${step}` : `pid-${process.ppid}` };
}

/** The path of an image's squashfs file, lent. Of many processes that want the same one, one makes it. */
async function borrow(
  context: Context,
  layout: Layout,
  source: string,
  who: Borrower,
  options: Pick<ImportOptions, "platform" | "registry">,
): Promise<string> {
  await clearLeavings(layout);
  const image = await openImage(context, layout, source, options);
  try {
    const output = squashfsPath(layout, image.digest);
    const lock = await lockSquashfs(layout, image.digest, context.signal, ({ pid }) =>
      context.warn(`waiting for process ${pid}, which makes the same file`),
    );
    try {
      if (!existsSync(output)) {
        const sink = squashfsSink({ output, comp: "zstd:3", force: false, rootOwned: true }, context);
        await buildImage(withEnrootFiles(image, "above", context), enrootSink(sink), context);
      }
      lendSquashfs(layout, image.digest, who);
      return output;
    } finally {
      lock.release();
    }
  } finally {
    await image.close();
    context.progress.close();
  }
}
