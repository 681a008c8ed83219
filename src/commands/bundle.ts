/** `rootling bundle`: an image as one file that runs itself. */
import { existsSync } from "node:fs";
import { basename, resolve } from "node:path";
import type { ProgressMode } from "../base/progress-render.ts";
import { formatBytes } from "../base/text.ts";
import { type Cli, newCommand, showJson, withProgress } from "./cli.ts";
import { showSteps, step, withSteps } from "./dry-run.ts";
import { makeBundle } from "./make-bundle.ts";
import { type PlatformFlags, platformOf, withSourceFlags } from "./platform-words.ts";
import { type RegistryFlags, registryOptions } from "./registry-words.ts";

interface Options extends RegistryFlags, PlatformFlags {
  readonly all?: boolean;
  readonly checksum?: boolean;
  readonly desc?: string;
  readonly output?: string;
  readonly target?: string;
  readonly force?: boolean;
  readonly json?: boolean;
  readonly dryRun?: boolean;
  readonly progress?: ProgressMode;
}

export const define = (cli: Cli) =>
  withProgress(
    withSteps(
      withSourceFlags(
        newCommand("bundle", "Write an image as one file that unpacks and runs itself, without rootling and Node.", [
          "rootling bundle docker://debian:12        # debian+12.run",
          "rootling bundle app.sqsh -o app --checksum --desc 'the application'",
          "./app --rw --mount /srv/data:/data        # on another machine; see ./app --help",
        ]),
      ),
    ),
  )
    .argument("<source>", "SOURCE, or the name of a stored image")
    .option("-a, --all", "take mounts.d, environ.d and hooks.d along, the system's and the user's")
    .option("-c, --checksum", "have it verify a SHA-256 checksum before it runs")
    .option("-d, --desc <text>", "what it says of itself; the image's name if not given")
    .option("-o, --output <file>", "the file; named after the image if not given")
    .option(
      "-t, --target <directory>",
      "where its --keep and --extract put the root; named after the image if not given",
    )
    .option("-f, --force", "replace the output if it exists")
    .option("--json", "print what was made as JSON")
    .action(async (source: string, options: Options) => {
      const name = bundleName(source);
      const output = resolve(options.output ?? `${name}.run`);
      const { force = false, checksum = false, all, desc, target, json, dryRun } = options;
      const platform = platformOf(options);
      if (dryRun) {
        const verb = force && existsSync(output) ? "replace" : "write";
        return showSteps(cli, [step("read", `image ${source}`), step(verb, `bundle ${output}`, "--output")], json);
      }
      const context = cli.context(options.progress);
      const size = await makeBundle(cli, context, {
        ...{ source, output, force, checksum },
        description: desc ?? name,
        target: target ?? name,
        configuration: all ? "all" : "none",
        registry: registryOptions(options, context),
        ...(platform === undefined ? {} : { platform }),
      });
      cli.print(json ? showJson({ output, size }) : `${output}  ${formatBytes(size)}`);
    });

const ENDING = /\.(sqsh|squashfs|tgz|tar|tar\.[a-z0-9]+)$/;

/** What a bundle is named after: the last part of a path without its ending, or all of another SOURCE. */
export function bundleName(source: string): string {
  const image = source.replace(/^[a-z-]+:(\/\/)?(?=[^0-9])/, "");
  const isPath = /^[./]/.test(image) || ENDING.test(image);
  const name = isPath ? basename(image).replace(ENDING, "") : image;
  return name.replace(/[^A-Za-z0-9._-]+/g, "+").replace(/^\.+/, "") || "bundle";
}
