/** `rootling run`: an ephemeral container of an image, or of the host's own root. */
import { userInfo } from "node:os";
import { from, type Intent } from "../boot/intent.ts";
import { isolateIds } from "../boot/read-confinement.ts";
import { type FlagIntent, readFlags } from "../boot/read-flags.ts";
import { readImageConfig } from "../boot/read-image.ts";
import type { StoredImage } from "../store/images.ts";
import { runtimePaths } from "../store/layout.ts";
import { type BootOptions, refuseIdleFlags, withBootFlags, withDryRun } from "./boot-words.ts";
import { type Cli, newCommand, withProgress } from "./cli.ts";
import { directRoot } from "./direct-root.ts";
import { type ImportFlags, imageFor, withImportFlags } from "./image-for.ts";
import { launch, refuseDevices } from "./launching.ts";
import { treeToStart } from "./mapped-tree.ts";

type RunOptions = BootOptions & ImportFlags;

export const define = (cli: Cli) =>
  withProgress(
    withDryRun(
      withImportFlags(
        withBootFlags(
          newCommand("run", "Run a command in an ephemeral container: nothing is left behind.", [
            "rootling run                                  # a shell over the host's own root",
            "rootling run docker://busybox:1.36 echo hello",
            "rootling run --pid --root debian:12 apt-get --version",
            "rootling run ./app.sqsh                       # a squashfs file, without unpacking it",
            "rootling run dir:./rootfs ls                  # a directory; what changes is not kept",
            "rootling run --mount /data:/data:ro debian:12 ls /data",
          ]),
        ),
      ),
    ),
  )
    .argument("[source]", "SOURCE, the name of a stored image, or host: (the default)")
    .argument("[command...]", "command and arguments; the image's own if there is none")
    .passThroughOptions()
    .action(async (source: string | undefined, command: string[], options: RunOptions) => {
      // Before an image is fetched for words that are wrong.
      refuseIdleFlags(options);
      readFlags(options, currentDirectory(), process.env);
      await refuseDevices(cli, options);
      const name = source ?? "host:";
      const how = { runs: runtimePaths(cli.layout).runs, image: name };
      if (name === "host:") return launch(cli, hostIntent(command, options), options, how);
      const direct = await directRoot(cli, name, options);
      if (direct !== undefined) {
        const parts = imageParts(direct.run, command, options);
        const intent = { ...parts, root: from(direct.root, name), writes: from("ephemeral" as const, "run") };
        return launch(cli, intent, options, how);
      }
      const image = await imageFor(cli, name, options);
      const intent = await imageIntent(cli, image, name, command, options);
      await launch(cli, intent, options, { ...how, digest: image.digest });
    });

const terminalType = () => (process.env.TERM ? [{ name: "TERM", value: process.env.TERM, origin: "terminal" }] : []);

/** The root of the host, overlaid, with the caller's own shell and directory. */
function hostIntent(command: readonly string[], options: BootOptions): Intent {
  const flags = readFlags(options, currentDirectory(), process.env);
  const asked = readImageConfig({}, command, options.entrypoint).command;
  return {
    root: from({ kind: "host" }, "host:"),
    writes: from("ephemeral", "run"),
    devices: from("fresh", "rootling"),
    command: asked.origin === "rootling" ? from([userInfo().shell || "/bin/sh"], "passwd") : asked,
    ...flags,
    workdir: flags.workdir ?? from(startDirectory(), "working directory"),
    environment: [...terminalType(), ...flags.environment],
  };
}

/** The caller's directory; / where that was removed. */
export function currentDirectory(): string {
  try {
    return process.cwd();
  } catch {
    return "/";
  }
}

/** Where a shell over the host's root begins: the caller's directory, unless it lies in what a container has of its own. */
function startDirectory(): string {
  const directory = currentDirectory();
  return /^\/(dev|proc|sys)(\/|$)/.test(directory) ? "/" : directory;
}

async function imageIntent(
  cli: Cli,
  image: StoredImage,
  source: string,
  command: readonly string[],
  options: RunOptions,
): Promise<Intent> {
  const parts = imageParts(image.run, command, options);
  return {
    ...parts,
    root: from({ kind: "layers", lowers: [await treeToStart(cli, image, parts.idMap, options)] }, source),
    writes: from("ephemeral", "run"),
  };
}

/** On a terminal an isolated sandbox gets one of its own, shown on ours. */
function isolatedTerminal({ isolate, detached, terminal }: FlagIntent): Pick<Intent, "terminal"> {
  if (terminal !== undefined || isolate === undefined || detached !== undefined) return {};
  const { isatty } = process.getBuiltinModule("node:tty");
  return isatty(0) && isatty(1) ? { terminal: from(true, isolate.origin) } : {};
}

/** What run and start of an image have in common: its configuration, then the flags. */
export function imageParts(
  config: Parameters<typeof readImageConfig>[0],
  command: readonly string[],
  options: BootOptions,
): Omit<Intent, "root" | "writes"> {
  const image = readImageConfig(config, command, options.entrypoint);
  const flags = readFlags(options, currentDirectory(), process.env);
  const idMap = isolateIds(flags.isolate, flags.idMap, process.geteuid?.() ?? 0);
  return {
    devices: from("fresh", "rootling"),
    ...image,
    ...flags,
    idMap,
    ...isolatedTerminal(flags),
    workdir: flags.workdir ?? image.workdir,
    environment: [...terminalType(), ...image.environment, ...flags.environment],
  };
}
