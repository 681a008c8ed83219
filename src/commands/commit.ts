/** `rootling commit`: what a container changed, or a directory, becomes a layer above an image. */
import { resolve } from "node:path";
import { Failure } from "../base/errors.ts";
import type { ProgressMode } from "../base/progress-render.ts";
import { formatBytes } from "../base/text.ts";
import { changed } from "../image/config-change.ts";
import { tagOf } from "../image/oci-documents.ts";
import { checkRef } from "../store/images.ts";
import { type Cli, collect, newCommand, showJson, withProgress } from "./cli.ts";
import { belowOf, type CommitSource, type CommitWish, commitToFile, commitToStore } from "./commit-image.ts";
import { showSteps, step, withSteps } from "./dry-run.ts";
import { formatOf, isOci } from "./import-image.ts";

interface Options {
  onto?: string;
  output?: string;
  format?: string;
  comp?: string;
  message?: string;
  author?: string;
  change?: string[];
  force?: boolean;
  json?: boolean;
  dryRun?: boolean;
  progress?: ProgressMode;
}

export const define = (cli: Cli) =>
  withProgress(
    withSteps(
      newCommand("commit", "Make an image of a container: its image, and a layer with what it changed.", [
        "rootling commit web                          # the image web:latest",
        "rootling commit web team/web:2 --message 'with certificates' --change 'CMD [\"serve\"]'",
        "rootling commit dir:./files app:2 --onto app:1",
        "rootling commit web -o web.tar --format oci-archive",
      ]),
    ),
  )
    .argument("<what>", "a container, or dir:DIR for files that come above the image of --onto")
    .argument("[ref]", "the name of the new image; CONTAINER:latest if not given")
    .option("--onto <image>", "the stored image that dir:DIR becomes a layer of")
    .option("-m, --message <text>", "a comment for the image's history")
    .option("--author <name>", "who made it")
    .option(
      "-c, --change <instruction>",
      "change the configuration: CMD, ENTRYPOINT, ENV, LABEL, USER, WORKDIR, VOLUME, EXPOSE, STOPSIGNAL; repeatable",
      collect,
    )
    .option("--comp <compression>", "of the new layer: gzip, zstd, none")
    .option("-o, --output <path>", "write a file or directory instead of storing the image")
    .option("--format <format>", "what to write: oci (an OCI image layout), oci-archive (a tar of one)")
    .option("-f, --force", "replace the output if it exists")
    .option("--json", "print what was made as JSON")
    .action((what: string, ref: string | undefined, options: Options) => commit(cli, what, ref, options));

const usage = (what: string, where: string, mend: string): Failure => new Failure("E_USAGE", what, { where, mend });

async function commit(cli: Cli, what: string, given: string | undefined, options: Options): Promise<void> {
  const { output, force = false, json } = options;
  for (const instruction of options.change ?? []) changed({}, instruction);
  const source = sourceOf(what, options.onto);
  const below = belowOf(cli, source);
  const ref = given ?? ("container" in source ? `${what}:latest` : undefined);
  const target = output === undefined ? { name: nameOf(ref) } : { layout: layoutOf(output, options.format, force) };
  if (options.dryRun) {
    const last = "name" in target ? step("name", `it ${target.name}`) : step("write", target.layout.output, "--output");
    const read = "container" in source ? `container ${what}` : what;
    return showSteps(cli, [step("read", read), step("create", `an image above ${below.shown}`), last], json);
  }
  const context = cli.context(options.progress);
  const wish: CommitWish = {
    ...{ source, comp: options.comp ?? "gzip" },
    ...{ author: options.author, message: options.message, changes: options.change ?? [] },
    registry: { env: process.env, uid: process.geteuid?.() ?? 0 },
  };
  try {
    if ("layout" in target) {
      const { digest, layer } = await commitToFile(cli, context, tagOf(ref ?? ""), target.layout, wish);
      const written = target.layout.output;
      cli.print(json ? showJson({ output: written, digest, ...about(layer) }) : `${written}  ${digest}`);
    } else {
      const { image, layer } = await commitToStore(cli, context, target.name, wish);
      const { digest } = image;
      cli.print(
        json ? showJson({ name: target.name, digest, ...about(layer) }) : lineOf(target.name, digest, layer.size),
      );
    }
  } finally {
    context.progress.close();
  }
}

const about = ({ digest, size }: { digest: string; size: number }) => ({ layer: { digest, size } });

const lineOf = (name: string, digest: string, bytes: number): string =>
  `${name}  ${digest}  a layer of ${formatBytes(bytes)}`;

/** Throws E_USAGE. */
function sourceOf(what: string, onto: string | undefined): CommitSource {
  if (!what.startsWith("dir:")) {
    if (onto !== undefined) throw usage("a container has its image", "--onto", "leave it out");
    return { container: what };
  }
  if (onto !== undefined) return { directory: resolve(what.slice("dir:".length)), onto };
  throw usage("no image to put the files onto", what, "name one with --onto; without one: rootling import dir:DIR");
}

function nameOf(ref: string | undefined): string {
  if (ref === undefined) throw usage("no name for the image", "dir:", "add one, or --output");
  checkRef(ref, "command line");
  return ref;
}

function layoutOf(output: string, text: string | undefined, force: boolean) {
  const format = formatOf(text ?? "oci");
  if (!isOci(format))
    throw usage(`${format} keeps no layers`, "--format", "use oci or oci-archive; see `rootling export`");
  const form = format === "oci" ? ("directory" as const) : ("archive" as const);
  return { output: resolve(output), form, force };
}
