/** `enroot start`, `batch` and `exec`: another process takes the place of this one. */
import { readFileSync, readlinkSync, realpathSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { Failure, fileFailure } from "../base/errors.ts";
import type { Settings } from "../base/settings.ts";
import { parseDirectives } from "../base/settings-files.ts";
import { ourCaller } from "../base/settings-places.ts";
import { from, type Intent } from "../boot/intent.ts";
import { readFlags } from "../boot/read-flags.ts";
import { type BootOptions, withSettings } from "../commands/boot-words.ts";
import type { Cli } from "../commands/cli.ts";
import { type DirectRoot, directRoot } from "../commands/direct-root.ts";
import { execIn, findRun } from "../commands/exec.ts";
import { imageFor } from "../commands/image-for.ts";
import { launch } from "../commands/launching.ts";
import { treeToStart } from "../commands/mapped-tree.ts";
import { currentDirectory, imageParts } from "../commands/run.ts";
import { startContainer, startDirect, startupOf } from "../commands/start.ts";
import { runtimePaths } from "../store/layout.ts";
import { listRuns, type Run } from "../store/runs.ts";
import { findNamed, getNamed, invalid, realRoot, runsOf } from "./enroot-names.ts";
import type { Words } from "./enroot-words.ts";

/** Starts a container, a foreign root or a squashfs file. */
export async function start(cli: Cli, words: Words): Promise<void> {
  const conf = words.value("conf");
  if (conf !== undefined) readDirectives(cli, conf);
  const [name = "", ...command] = words.operands;
  await boot(cli, name, command, words, conf);
}

/** The same for what `#ENROOT_ROOTFS=` of a configuration names. */
export async function batch(cli: Cli, words: Words): Promise<void> {
  const [conf = "", ...command] = words.operands;
  readDirectives(cli, conf);
  const { ROOTFS } = cli.context("none").settings;
  if (ROOTFS === "") {
    throw new Failure("E_SETTING", `Missing directive ENROOT_ROOTFS in ${conf}`, {
      where: conf,
      mend: "add a line such as #ENROOT_ROOTFS=NAME",
    });
  }
  await boot(cli, ROOTFS, command, words, conf);
}

function readDirectives(cli: Cli, conf: string): void {
  let text: string;
  try {
    text = readFileSync(conf, "utf8");
  } catch (error) {
    throw fileFailure(error, "reading the configuration", conf);
  }
  cli.direct(parseDirectives(text, conf, ourCaller("enroot")));
}

async function boot(cli: Cli, name: string, command: string[], words: Words, conf: string | undefined): Promise<void> {
  const options = bootOptions(cli, words, conf);
  readFlags(options, currentDirectory(), process.env);
  if (await isImageFile(name)) return startFile(cli, name, command, options);
  const named = getNamed(cli, name);
  if (named.kind === "stored") return startContainer(cli, named.container, command, options);
  const path = realRoot(named);
  await startDirect(cli, path, { root: { kind: "directory", path }, run: {} }, command, options);
}

/** A file of any other kind may have the name of a container. */
async function isImageFile(path: string): Promise<boolean> {
  if (!statSync(path, { throwIfNoEntry: false })?.isFile()) return false;
  return (await import("../image/sources/files.ts")).isSquashfs(path);
}

/** Changes of a file's root are kept nowhere, also with --rw: it is an image, not a container. */
async function startFile(cli: Cli, file: string, command: string[], options: BootOptions): Promise<void> {
  const path = realpathSync(file);
  const { root, run, digest } = await rootOfFile(cli, path, options);
  const intent: Intent = {
    ...imageParts(run, command, options),
    root: from(root, file),
    writes: options.rw ? from("ephemeral", "--rw") : from("refused", "start"),
  };
  const how = { runs: runtimePaths(cli.layout).runs, image: path, ...(digest === undefined ? {} : { digest }) };
  await launch(cli, await startupOf(cli, intent, undefined, command, options), options, how);
}

/** The file itself; where nothing mounts it for this user, its tree in the store. */
async function rootOfFile(cli: Cli, path: string, options: BootOptions): Promise<DirectRoot & { digest?: string }> {
  const direct = await directRoot(cli, path, options);
  if (direct !== undefined) return direct;
  const image = await imageFor(cli, path, options);
  const tree = await treeToStart(cli, image, from(options.root ? "root" : "caller", "start"), options);
  return { root: { kind: "layers", lowers: [tree] }, run: image.run, digest: image.digest };
}

/** The flags of `rootling start` that enroot's words and settings mean. Throws E_USAGE. */
function bootOptions(cli: Cli, words: Words, conf: string | undefined): BootOptions {
  const { settings } = cli.context("none");
  const bad =
    words.values("mount").find((text) => !/^\S+:\S+$/.test(text)) ??
    words.values("env").find((text) => !/^[A-Za-z_]\w*(=|$)/s.test(text));
  if (bad !== undefined) throw invalid(bad);
  const map = mapOfRoot(settings);
  const flags: BootOptions = {
    enrootFiles: true,
    enrootMounts: words.values("mount"),
    ...(conf === undefined ? {} : { conf }),
    ...(words.value("rc") === undefined ? {} : { rc: words.value("rc") as string }),
    env: words.values("env"),
    ...Object.fromEntries(FLAGS.filter((flag) => words.has(flag)).map((flag) => [flag, true])),
    ...(map === undefined && process.geteuid?.() === 0 ? {} : { seccomp: "compat" }),
    progress: "none",
  };
  // The only id that such a map holds is root's.
  return map === undefined
    ? withSettings(flags, settings)
    : { ...withSettings({ ...flags, map }, settings), root: false };
}

const FLAGS = ["root", "rw", "pid", "net", "ipc", "uts"] as const;

/**
 * Real root gets a user namespace as well, with no id but its own, unless ENROOT_ALLOW_SUPERUSER is set. Undefined for
 * others, whose maps hold one id in any case.
 */
export const mapOfRoot = ({ ALLOW_SUPERUSER }: Settings): string | undefined =>
  process.geteuid?.() === 0 && !ALLOW_SUPERUSER ? "0:0:1" : undefined;

/** Runs a command in a container that runs, with the environment and directory of the process that was named. */
export async function exec(cli: Cli, words: Words): Promise<void> {
  const [target = "", ...command] = words.operands;
  const bad = words.values("env").find((text) => !/^[A-Za-z_]\w*(=|$)/s.test(text));
  if (bad !== undefined) throw invalid(bad);
  await execIn(cli, asItIs(runOf(cli, target)), command, { env: [...words.values("env")] });
}

/** The run of a pid, of a container, or of a foreign root. */
function runOf(cli: Cli, target: string): Run {
  const named = /^[0-9]+$/.test(target) ? undefined : findNamed(cli, target);
  if (named?.kind !== "foreign") return findRun(cli, target);
  const [run] = runsOf(named, listRuns(runtimePaths(cli.layout).runs));
  if (run !== undefined) return run;
  throw new Failure("E_NOT_FOUND", `the container ${target} does not run`, { mend: "see `enroot list --fancy`" });
}

/** The environment and directory that the process has now; those of its start where they cannot be seen. */
function asItIs(run: Run): Run {
  const { pid } = run.inside;
  try {
    const environment = readFileSync(`/proc/${pid}/environ`, "utf8")
      .split("\0")
      .filter((line) => /^[^=]+=/.test(line));
    const workdir = readlinkSync(`/proc/${pid}/cwd`);
    return { ...run, environment, workdir: resolve("/", workdir) };
  } catch {
    return run;
  }
}
