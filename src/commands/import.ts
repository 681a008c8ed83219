/** `rootling import`: an image into the store, or into a file or directory of one's own. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { Failure } from "../base/errors.ts";
import type { ProgressMode } from "../base/progress-render.ts";
import { formatBytes } from "../base/text.ts";
import { mapOf } from "../boot/boot.ts";
import { parseMap } from "../boot/id-map.ts";
import { from } from "../boot/intent.ts";
import { checkRef } from "../store/images.ts";
import { type AlterFlags, alterationsOf, alterSteps, withAlterFlags } from "./alter-words.ts";
import { type Cli, newCommand, showJson, withProgress } from "./cli.ts";
import { type DiskFlags, diskWishes, withDiskFlags } from "./disk-words.ts";
import { showSteps, step, withSteps } from "./dry-run.ts";
import { checkPlace, FORMATS, formatOf, importImage, importToFile, isOci, layersOf } from "./import-image.ts";
import { type PlatformFlags, platformOf, withSourceFlags } from "./platform-words.ts";
import { type RegistryFlags, registryOptions } from "./registry-words.ts";

interface Options extends RegistryFlags, PlatformFlags, AlterFlags, DiskFlags {
  output?: string;
  format?: string;
  comp?: string;
  layers?: string;
  name?: string;
  force?: boolean;
  enroot?: boolean;
  json?: boolean;
  dryRun?: boolean;
  map?: string;
  progress?: ProgressMode;
}

export const define = (cli: Cli) =>
  withProgress(
    withSteps(
      withDiskFlags(
        withAlterFlags(
          withSourceFlags(
            newCommand("import", "Bring an image into the store, or with --output into a file or directory.", [
              "rootling import docker://debian:12",
              "rootling import docker://127.0.0.1:5000/team/app@sha256:… --name app",
              "rootling import oci:./layout:latest -o app.sqsh",
              "rootling import docker://debian:12 -o debian.tar --format oci-archive --layers keep",
              "rootling import rootfs.tar.gz -o rootfs --format dir",
              "rootling import rootfs.tar.gz -o guest.tar --format tar --idmap 0:100000:65536",
              "rootling import docker://debian:12 -o guest --format dir --root-password file:password",
              "rootling import docker://debian:12 -o debian.qcow2 --format qcow2 --flatten --disk-size 20G",
              "rootling import podman://localhost/app:1 -o app.sqsh",
              "rootling import 'debootstrap:bookworm?variant=minbase&include=openssh-server,sudo' --name bookworm",
              "rootling import docker://debian:12 --arch aarch64 --name debian-arm:12",
              "rootling import docker-archive:saved.tar:team/app:1 -o app.tar.zst --format tar --comp zstd",
              "ssh build tar -C /srv/root -c . | rootling import - -o root.sqsh",
            ]),
          ),
        ),
        true,
      ),
    ),
  )
    .argument(
      "<source>",
      "docker://[REGISTRY/]NAME[:TAG][@DIGEST], dockerd://NAME, podman://NAME, oci:DIR[:REF], oci-archive:FILE[:REF], docker-archive:FILE[:REF], dir:DIR, host:, debootstrap:SUITE[?KEY=VALUE&…], virt-builder://TEMPLATE, a tar or squashfs file, or - for a tar from standard input",
    )
    .option("-o, --output <path>", "write a file or directory instead of storing the image")
    .option("--format <format>", `what to write: ${FORMATS.join(", ")}`)
    .option(
      "--comp <compression>",
      "squashfs: zstd[:LEVEL] (zstd:3), gzip, lzo, lz4, xz; tar and OCI: gzip, zstd, none",
    )
    .option(
      "--layers <how>",
      "of an OCI image: one with the merged tree (one), or those of the source (keep); one if not given",
    )
    .option(
      "--enroot",
      "make the output as enroot does: all files root's, no devices, /etc/rc, /etc/fstab and /etc/environment from the configuration",
    )
    .option("-n, --name <name>", "name of the stored image")
    .option(
      "--map <ids>",
      "also unpack it with the owners of this id map, as of `run`; with --output: a directory of them",
    )
    .option("-f, --force", "replace the output if it exists")
    .option("--json", "print what was made as JSON")
    .action(async (source: string, options: Options) => {
      if (options.output === undefined) await intoStore(cli, source, options);
      else await intoFile(cli, source, options.output, options);
    });

const usage = (what: string, where: string, mend: string): Failure => new Failure("E_USAGE", what, { where, mend });

/** The platform that was asked for, as a part of options. */
const chosen = (options: Options) => {
  const platform = platformOf(options);
  return platform === undefined ? {} : { platform };
};

async function intoStore(cli: Cli, source: string, options: Options): Promise<void> {
  for (const flag of [
    "format",
    "force",
    "comp",
    "layers",
    "enroot",
    "diskSize",
    "fs",
    "flatten",
    "idmap",
    "uidmap",
    "gidmap",
  ] as const) {
    const word = `--${flag === "diskSize" ? "disk-size" : flag}`;
    if (options[flag] !== undefined) throw usage(`${word} is for files`, word, "add --output, or leave it out");
  }
  if (options.rootPassword !== undefined) {
    throw usage("a stored image keeps its password", "--root-password", "add --output, or leave it out");
  }
  const context = cli.context(options.progress);
  const wish = options.map === undefined ? undefined : from(parseMap(options.map, "--map"), "--map");
  if (options.dryRun) {
    if (options.name !== undefined) checkRef(options.name, "--name");
    const named =
      options.name === undefined ? step("name", "it after its source") : step("name", `it ${options.name}`, "--name");
    const unpacked = wish === undefined ? [] : [step("unpack", `its tree for the map ${options.map}`, "--map")];
    return showSteps(cli, [step("import", `image ${source}`), ...unpacked, named], options.json);
  }
  const image = await importImage(context, cli.layout, source, {
    ...(wish === undefined ? {} : { map: { map: mapOf(wish), origin: "--map" } }),
    registry: registryOptions(options, context),
    ...(options.name === undefined ? {} : { name: options.name }),
    ...chosen(options),
  });
  const { name, digest, size } = image;
  const called = options.name ?? image.refs.at(-1) ?? name;
  cli.print(options.json ? showJson({ name: called, digest, size }) : `${called}  ${digest}  ${formatBytes(size)}`);
}

async function intoFile(cli: Cli, source: string, path: string, options: Options): Promise<void> {
  if (options.name !== undefined) throw usage("--name is for stored images", "--name", "leave out --name or --output");
  const output = resolve(path);
  const format = formatOf(options.format);
  const layers = layersOf(options.layers, format);
  if (options.enroot && isOci(format)) {
    throw usage("an OCI image has its configuration, not enroot's files", "--enroot", "leave it out");
  }
  if (layers === "keep" && (options.idmap ?? options.uidmap ?? options.gidmap ?? options.rootPassword) !== undefined) {
    throw usage("layers that are kept are not changed", "--layers", "use --layers one, or leave out the changes");
  }
  if (options.map !== undefined && format !== "dir") {
    throw usage("--map is for stored images and directories", "--map", "use --idmap, --uidmap and --gidmap");
  }
  if (options.enroot && (options.map ?? options.idmap ?? options.uidmap ?? options.gidmap) !== undefined) {
    throw usage("with --enroot all files are root's", "--enroot", "leave out --enroot or the id maps");
  }
  const stdin = options.passwordStdin ? "--password-stdin" : source === "-" ? "the image" : undefined;
  if (options.enroot && (format === "qcow2" || format === "raw")) {
    throw usage("enroot starts no disks", "--enroot", "leave it out");
  }
  const disk = diskWishes(options, format);
  const context = cli.context(options.progress);
  if (options.dryRun) {
    await checkPlace(output, format, options.force, options.flatten);
    const verb = options.force && existsSync(output) ? "replace" : "write";
    return showSteps(
      cli,
      [step("read", `image ${source}`), ...alterSteps(options, stdin), step(verb, `${format} ${output}`, "--output")],
      options.json,
    );
  }
  const { digest, size } = await importToFile(context, cli.layout, source, {
    output,
    registry: registryOptions(options, context),
    ...{ format, disk, layers },
    alterations: await alterationsOf(options, context, stdin),
    ...(options.comp === undefined ? {} : { comp: options.comp }),
    ...chosen(options),
    ...(options.force ? { force: true } : {}),
    ...(options.enroot ? { enroot: true } : {}),
  });
  cli.print(options.json ? showJson({ output, digest, size }) : `${output}  ${digest}  ${formatBytes(size)}`);
}
