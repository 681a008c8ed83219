/** `rootling create`: a named container of an image. */
import { statSync } from "node:fs";
import { createContainer } from "../store/containers.ts";
import { type Cli, newCommand, showJson, withProgress } from "./cli.ts";
import { type ImportFlags, imageFor } from "./image-for.ts";
import { withRegistryFlags } from "./registry-words.ts";

interface Options extends ImportFlags {
  name?: string;
  json?: boolean;
}

export const define = (cli: Cli) =>
  withProgress(
    withRegistryFlags(
      newCommand("create", "Make a container of an image. It shares the image's files and keeps its own changes.", [
        "rootling create debian:12 --name web",
        "rootling create docker://busybox:1.36",
        "rootling create oci:./layout:latest --name test",
      ]),
    ),
  )
    .argument("<source>", "SOURCE, or the name of a stored image")
    .option("-n, --name <name>", "the container's name; made from the image's if not given")
    .option("--platform <platform>", "OS/ARCHITECTURE[/VARIANT] of an image that is imported")
    .option("--json", "print the record as JSON")
    .action(async (source: string, options: Options) => {
      const image = await imageFor(cli, source, options);
      const name = options.name ?? nameFrom(image.name);
      const rootMode = statSync(image.tree).mode & 0o7777;
      const record = await createContainer(cli.layout, name, { digest: image.digest, name: image.name }, rootMode);
      cli.print(options.json ? showJson(record) : record.name);
    });

/** `registry.example/team/debian:12` → `debian`. */
function nameFrom(image: string): string {
  const last = image.split("@")[0]?.split("/").at(-1)?.split(":")[0] ?? "";
  return last.replace(/[^A-Za-z0-9_.+-]/g, "-").replace(/^[.+-]+/, "") || "container";
}
