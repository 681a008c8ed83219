/** The flags that configure a start by files, as enroot has them, and what becomes of them. */
import { existsSync, lstatSync } from "node:fs";
import { join } from "node:path";
import { type Settings, settingsOf, variableOf } from "../base/settings.ts";
import type { Program } from "../base/settings-places.ts";
import { from, type Intent, type Startup, type Value } from "../boot/intent.ts";
import { readEnrootMount } from "../boot/read-enroot.ts";
import { readStartup } from "../boot/startup-files.ts";
import { mountsOf, scriptOf } from "../image/enroot-files.ts";
import type { RunConfig } from "../image/types.ts";
import type { Cli } from "./cli.ts";

/** Real root's map under the name enroot: it is root in a namespace of its own. */
const ROOT_ALONE = "0:0:1";

export interface StartupFlags {
  readonly root?: boolean;
  readonly map?: string;
  readonly rw?: boolean;
  readonly conf?: string;
  readonly rc?: string;
  /** Files of the root, of the site and of the user steer the start. */
  readonly enrootFiles?: boolean;
  /** Mounts in enroot's words, which come last. */
  readonly enrootMounts?: readonly string[];
}

/** The version of enroot whose ways these are, for hooks that ask. */
export const ENROOT_VERSION = "4.1.2";

/** What hooks find of the settings, under both names. Flags of the same meaning count there as well. */
function hookVariables(settings: Settings, { root, map, rw }: StartupFlags): Record<string, string> {
  const variables: Record<string, string> = { ENROOT_VERSION, ROOTLING_VERSION: ENROOT_VERSION };
  for (const { name } of settingsOf("enroot")) {
    const flag = { REMAP_ROOT: root || map === ROOT_ALONE, ROOTFS_WRITABLE: rw }[name as string];
    const value = flag || (settings[name as keyof Settings] as unknown);
    const text = value === true ? "y" : value === false ? "" : Array.isArray(value) ? value.join(":") : String(value);
    if (text === "") continue;
    for (const program of ["enroot", "rootling"] as const) variables[variableOf(program, name)] = text;
  }
  const library = shipped();
  if (library !== undefined && !existsSync(join(settings.LIBRARY_PATH, "common.sh")))
    variables.ENROOT_LIBRARY_PATH = variables.ROOTLING_LIBRARY_PATH = join(library, "library");
  return variables;
}

/** What the package ships: from the bundle, and from the sources. */
const SHIPPED = [join(import.meta.dirname, "../share/enroot"), join(import.meta.dirname, "../../share/enroot")];

const shipped = (): string | undefined => SHIPPED.find((directory) => existsSync(directory));

const PARTS = ["environ.d", "mounts.d", "hooks.d"];

/** The system's directories, then with `users` the user's. What the system has nothing of, the package has. */
export function directoriesOf(
  { SYSCONF_PATH, CONFIG_PATH }: Settings,
  users: boolean,
): { part: string; directory: string }[] {
  return PARTS.flatMap((part) => {
    const own = existsSync(join(SYSCONF_PATH, part)) ? SYSCONF_PATH : shipped();
    const all = [...(own === undefined ? [] : [own]), ...(users ? [CONFIG_PATH] : [])];
    return all.map((directory) => ({ part, directory }));
  });
}

/** Whether the root has files that steer a start. A hint: they are read when the container is made, inside its root. */
const hasFiles = (directory: string): boolean =>
  ["rc", "fstab", "environment"].some((name) => lstatSync(join(directory, "etc", name), { throwIfNoEntry: false }));

/** Whether a root is one whose own files count: for an image, whether it or a change of it has a start script. */
function rootFiles({ value: root, origin }: Intent["root"]): Value<true> | undefined {
  if (root.kind === "host") return undefined;
  if (root.kind !== "layers") return from(true, origin);
  const script = (directory: string) => lstatSync(join(directory, "etc/rc"), { throwIfNoEntry: false }) !== undefined;
  const changed = root.kept !== undefined && hasFiles(root.kept.upper);
  return changed || root.lowers.some(script) ? from(true, origin) : undefined;
}

/**
 * The start script of an image without one: wanted where a hook, or the container's user, has made an /etc/rc.local, by
 * which pyxis runs its command without the entrypoint. One of the image's own is a part of its init system.
 */
function localScript({ value: root }: Intent["root"], run: RunConfig | undefined): Value<string> | undefined {
  const local = (directory: string) => lstatSync(join(directory, "etc/rc.local"), { throwIfNoEntry: false });
  if (run === undefined || root.kind !== "layers" || root.lowers.some(local)) return undefined;
  return from(scriptOf(run), "image config");
}

/** The volumes of an image, which are writable in every start: lines as in the /etc/fstab that enroot would have made. */
const volumeLines = (run: RunConfig): Startup["lines"] =>
  mountsOf(run)
    .split("\n")
    .filter(Boolean)
    .map((line) => ({ line, pass: 0, origin: "image config" }));

/**
 * The intent with the configuration that files give it. `run`: the image's configuration; `words`: what the start was
 * given to run. Without `run` a root has but its own scripts.
 */
export function withStartup(
  cli: Cli,
  intent: Intent,
  run: RunConfig | undefined,
  words: readonly string[],
  flags: StartupFlags,
  program: Program = cli.context("none").settings.program,
): Intent {
  const { conf, rc, enrootFiles = false, enrootMounts = [] } = flags;
  if (conf === undefined && rc === undefined && !enrootFiles) return intent;
  const { settings } = cli.context("none");
  const ownFiles = enrootFiles ? rootFiles(intent.root) : undefined;
  const startup = readStartup({
    directories: enrootFiles ? directoriesOf(settings, true) : [],
    conf,
    rc,
    rootFiles: ownFiles,
    local: enrootFiles && ownFiles === undefined ? localScript(intent.root, run) : undefined,
    login: settings.LOGIN_SHELL && program === "enroot",
    words,
    lastLines: enrootMounts.map(readEnrootMount),
    env: process.env,
    hookVariables: hookVariables(settings, flags),
  });
  const ofImage = intent.environment.filter(({ origin }) => origin === "image config");
  const asked = intent.environment.filter(({ origin }) => origin === "--env");
  const volumes = enrootFiles && ownFiles === undefined && run !== undefined ? volumeLines(run) : [];
  return {
    ...intent,
    // The image's own command runs without a script; of nothing at all, the shell.
    command: intent.command.origin === "rootling" ? from([], "rootling") : intent.command,
    environment: asked,
    ...(program === "enroot" ? { devices: from("host", "enroot") } : {}),
    startup: {
      ...startup,
      environment: [...ofImage, ...startup.environment],
      lines: [...volumes, ...startup.lines],
      ...(program === "enroot" ? { cgroups: from(true, "enroot") } : {}),
    },
  };
}
