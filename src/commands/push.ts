/** `rootling push`: a stored image, or any SOURCE, into a registry. */
import { Failure } from "../base/errors.ts";
import type { ProgressMode } from "../base/progress-render.ts";
import { formatBytes } from "../base/text.ts";
import { type Push, planPush } from "../image/push.ts";
import { publicHost } from "../image/sources/endpoints.ts";
import { parseSource } from "../image/sources/reference.ts";
import type { Digest, SourceImage } from "../image/types.ts";
import { listImages } from "../store/images.ts";
import type { Layout } from "../store/layout.ts";
import { type Cli, newCommand, showJson, withProgress } from "./cli.ts";
import { type Step, showSteps, step, withSteps } from "./dry-run.ts";
import { layersOf } from "./import-image.ts";
import { openArtifact } from "./open-artifact.ts";
import { type PlatformFlags, platformOf, withPlatformFlags } from "./platform-words.ts";
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
            "rootling push docker://debian:12 docker://127.0.0.1:5000/debian:12 --dry-run",
          ]),
        ),
        " of a SOURCE",
      ),
    ),
  )
    .argument("<image>", "the name of a stored image, or a SOURCE")
    .argument("[destination]", "docker://[USER@][REGISTRY/]NAME[:TAG]; the name of the stored image if not given")
    .option("--layers <how>", "the layers of the source (keep), or one with the merged tree (one); keep if not given")
    .option("--comp <compression>", "compress the layers anew: gzip, zstd, none")
    .option("--json", "print what was pushed as JSON")
    .action(async (image: string, destination: string | undefined, options: Options) => {
      const context = cli.context(options.progress);
      const target = destination ?? destinationOf(image);
      const layers = layersOf(options.layers ?? "keep", "oci");
      const registry = registryOptions(options, context);
      const { username: _, plainHttp: __, insecure: ___, ...source } = registry;
      try {
        const wish = { layers, comp: options.comp, platform: platformOf(options), registry: source };
        const opened = await openArtifact(cli, context, image, wish);
        try {
          const { artifact } = opened;
          const mountFrom = mounts(cli.layout, opened.image);
          const expect = opened.image.expect?.bind(opened.image);
          const push = await planPush(
            artifact,
            { destination: target, registry, mountFrom, ...(expect && { expect }) },
            context,
          );
          try {
            if (options.dryRun) return showSteps(cli, stepsOf(image, push), options.json);
            await push.run();
          } finally {
            push.close();
          }
          cli.print(
            options.json ? showJson(resultOf(push, artifact.manifest.digest)) : lineOf(push, artifact.manifest.digest),
          );
        } finally {
          await opened.close();
        }
      } finally {
        context.progress.close();
      }
    });

/** A REF that names a registry says where it belongs. */
function destinationOf(name: string): string {
  if (/^[^/]*[.:][^/]*\/[^@]+$/.test(name)) return `docker://${name}`;
  throw new Failure("E_USAGE", "no destination is given", {
    where: name,
    mend: "name one, such as docker://registry.example:5000/team/app:1",
  });
}

/** Which repository of a registry has a layer, as far as stored images and the source say so. */
function mounts(layout: Layout, image: SourceImage): (registry: string, digest: Digest) => string | undefined {
  const found = new Map<string, string>();
  for (const { source, layers } of [image, ...listImages(layout)]) {
    const reference = source === undefined ? undefined : parseSource(source);
    if (reference?.kind !== "docker") continue;
    const host = publicHost(reference.registry);
    for (const { digest } of layers) if (digest !== undefined) found.set(`${host} ${digest}`, reference.name);
  }
  return (registry, digest) => found.get(`${registry} ${digest}`);
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

const sentBytes = ({ blobs }: Push): number =>
  blobs.reduce((sum, { blob, way }) => sum + (way.how === "send" ? blob.size : 0), 0);

const resultOf = (push: Push, digest: Digest) => ({
  destination: `docker://${push.name}`,
  digest,
  sent: sentBytes(push),
  blobs: push.blobs.map(({ blob, way }) => ({ digest: blob.digest, size: blob.size, ...way })),
});

const lineOf = (push: Push, digest: Digest): string =>
  `docker://${push.name}  ${digest}  ${formatBytes(sentBytes(push))} sent`;
