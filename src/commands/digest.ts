/** `rootling digest`: which image a SOURCE means now. */
import type { ProgressMode } from "../base/progress-render.ts";
import { type Cli, newCommand, showJson, withProgress } from "./cli.ts";
import { sourceDigest } from "./import-image.ts";
import { type PlatformFlags, platformOf, withSourceFlags } from "./platform-words.ts";
import { type RegistryFlags, registryOptions } from "./registry-words.ts";

interface Options extends RegistryFlags, PlatformFlags {
  json?: boolean;
  progress?: ProgressMode;
}

export const define = (cli: Cli) =>
  withProgress(
    withSourceFlags(
      newCommand("digest", "Show the digest of the manifest that a SOURCE has for this platform, or another one.", [
        "rootling digest docker://debian:12",
        "rootling digest docker://debian:12 --arch aarch64",
      ]),
    ),
  )
    .argument("<source>", "SOURCE")
    .option("--json", "as JSON")
    .action(async (source: string, options: Options) => {
      const platform = platformOf(options);
      const context = cli.context(options.progress);
      const registry = registryOptions(options, context);
      const digest = await sourceDigest(context, cli.layout, source, { registry, ...(platform && { platform }) });
      cli.print(options.json ? showJson({ source, digest }) : digest);
    });
