/** `rootling push`: a stored image, or any SOURCE, into a registry. */
import { resolve } from "node:path";
import type { Context } from "../base/context.ts";
import { checkOutput } from "../base/destination.ts";
import { Failure } from "../base/errors.ts";
import type { ProgressMode } from "../base/progress-render.ts";
import { formatBytes } from "../base/text.ts";
import { writeArtifact } from "../image/copy.ts";
import { tagOf } from "../image/oci-documents.ts";
import type { Push } from "../image/push.ts";
import { parseSource, type SourceReference } from "../image/sources/reference.ts";
import { type Cli, newCommand, showJson, withProgress } from "./cli.ts";
import { type Step, showSteps, step, withSteps } from "./dry-run.ts";
import { layersOf } from "./import-image.ts";
import { type ArtifactWish, openArtifact } from "./open-artifact.ts";
import { type PlatformFlags, platformOf, withPlatformFlags } from "./platform-words.ts";
import { pushedOf, withPush } from "./push-image.ts";
import { type RegistryFlags, registryOptions, withRegistryFlags } from "./registry-words.ts";

interface Options extends RegistryFlags, PlatformFlags {
  layers?: string;
  comp?: string;
  json?: boolean;
  dryRun?: boolean;
  progress?: ProgressMode;
}

export const define = (cli: Cli) =>
  withProgress(
    withSteps(
      withPlatformFlags(
        withRegistryFlags(
          newCommand("push", "Put an image into a registry. What the registry has of it is not sent.", [
            "rootling push app docker://127.0.0.1:5000/team/app:1",
            "rootling push registry.example/team/app:1      # a stored image of that name",
            "rootling push oci:./layout:latest docker://registry.example/team/app --username alice",
            "rootling push app oci-archive:app.tar:1",
            "rootling push docker://debian:12 docker://127.0.0.1:5000/debian:12 --dry-run",
          ]),
        ),
        " of a SOURCE",
      ),
    ),
  )
    .argument("<image>", "the name of a stored image, or a SOURCE")
    .argument(
      "[destination]",
      "docker://[USER@][REGISTRY/]NAME[:TAG], oci:DIR[:TAG] or oci-archive:FILE[:TAG]; what the stored image is called if not given",
    )
    .option("--layers <how>", "the layers of the source (keep), or one with the merged tree (one); keep if not given")
    .option("--comp <compression>", "compress the layers anew: gzip, zstd, none")
    .option("--json", "print what was pushed as JSON")
    .action(async (image: string, destination: string | undefined, options: Options) => {
      const context = cli.context(options.progress);
      const target = destination ?? destinationOf(image);
      const place = parseSource(target);
      try {
        if (place.kind === "docker") await toRegistry(cli, context, image, target, options);
        else await toLayout(cli, context, image, place, options);
      } finally {
        context.progress.close();
      }
    });

/** What is pushed: layers of a registry are fetched without what the flags say of the destination. */
function wishOf({ comp, ...options }: Options, oci: boolean): ArtifactWish {
  const registry = { env: process.env, uid: process.geteuid?.() ?? 0 };
  return { layers: layersOf(options.layers ?? "keep", "oci"), comp, platform: platformOf(options), registry, oci };
}

async function toRegistry(cli: Cli, context: Context, image: string, target: string, options: Options): Promise<void> {
  const wish = { ...wishOf(options, false), destination: target, to: registryOptions(options, context) };
  await withPush(cli, context, image, wish, async (push, digest) => {
    if (options.dryRun) return showSteps(cli, stepsOf(image, push), options.json);
    await push.run();
    const pushed = pushedOf(push, digest);
    const { destination, sent } = pushed;
    cli.print(options.json ? showJson(pushed) : `${destination}  ${digest}  ${formatBytes(sent)} sent`);
  });
}

/** Into a layout of its own, with the same words. */
async function toLayout(
  cli: Cli,
  context: Context,
  image: string,
  place: SourceReference,
  options: Options,
): Promise<void> {
  if (place.kind !== "oci" && place.kind !== "oci-archive") {
    throw new Failure("E_USAGE", "not a destination for images", {
      where: "command line",
      mend: "use docker://[REGISTRY/]NAME[:TAG], oci:DIR[:TAG] or oci-archive:FILE[:TAG]",
    });
  }
  const output = resolve(place.kind === "oci" ? place.directory : place.file);
  const form = place.kind === "oci" ? ("directory" as const) : ("archive" as const);
  if (options.dryRun) {
    await checkOutput(output, form === "archive" ? "file" : "directory", false);
    return showSteps(cli, [step("read", `image ${image}`), step("write", `${place.kind} ${output}`)], options.json);
  }
  const { artifact, close } = await openArtifact(cli, context, image, wishOf(options, true));
  try {
    await writeArtifact(artifact, place.reference ?? tagOf(image), { output, form, force: false }, context);
  } finally {
    await close();
  }
  const { digest } = artifact.manifest;
  cli.print(options.json ? showJson({ destination: `${place.kind}:${output}`, digest }) : `${output}  ${digest}`);
}

/** A REF that names a registry says where it belongs. */
function destinationOf(name: string): string {
  if (/^[^/]*[.:][^/]*\/[^@]+$/.test(name)) return `docker://${name}`;
  throw new Failure("E_USAGE", "no destination is given", {
    where: name,
    mend: "name one, such as docker://registry.example:5000/team/app:1",
  });
}

const stepsOf = (image: string, { name, blobs }: Push): Step[] => [
  step("read", `image ${image}`),
  ...blobs.map(({ blob, way }) => {
    const about = `${blob.label}, ${formatBytes(blob.size)}`;
    if (way.how === "there") return step("keep", `${about}: there already`, "registry");
    return way.how === "mount" ? step("mount", `${about}, from ${way.from}`) : step("send", about);
  }),
  step("write", `manifest docker://${name}`),
];
