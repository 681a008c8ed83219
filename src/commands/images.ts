/** `rootling images`: what is stored. */
import { formatBytes, formatTable } from "../base/text.ts";
import { listImages } from "../store/images.ts";
import { type Cli, newCommand, showJson } from "./cli.ts";

export const define = (cli: Cli) =>
  newCommand("images", "List stored images by name, with digest, size and time of import.", [
    "rootling images",
    "rootling images --json",
  ])
    .option("--json", "as JSON")
    .action(({ json }: { json?: boolean }) => {
      const images = listImages(cli.layout);
      if (json) {
        const rows = images.map(({ refs, digest, platform, size, created }) => ({
          names: refs,
          digest,
          platform,
          size,
          created,
        }));
        return cli.print(showJson(rows));
      }
      const rows = images.flatMap(({ refs, digest, platform, size, created }) =>
        (refs.length > 0 ? refs : ["-"]).map((name) => [
          name,
          digest.slice("sha256:".length, "sha256:".length + 12),
          [platform.os, platform.architecture, platform.variant].filter(Boolean).join("/"),
          formatBytes(size),
          created.slice(0, 19).replace("T", " "),
        ]),
      );
      cli.print(formatTable([["NAME", "DIGEST", "PLATFORM", "SIZE", "IMPORTED (UTC)"], ...rows]));
    });
