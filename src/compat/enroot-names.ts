/**
 * What the names in ENROOT_DATA_PATH stand for: containers of rootling's store, and roots that enroot itself unpacked
 * there ("foreign roots"), which are used as they are.
 */
import { lstatSync, readdirSync, realpathSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { errnoOf, Failure, fileFailure } from "../base/errors.ts";
import type { Cli } from "../commands/cli.ts";
import { type Container, findContainer, listContainers } from "../store/containers.ts";
import type { Run } from "../store/runs.ts";

export type Named =
  | { readonly kind: "stored"; readonly name: string; readonly container: Container }
  /** `path`: as the name says it, a symlink perhaps. */
  | { readonly kind: "foreign"; readonly name: string; readonly path: string };

const dataPath = (cli: Cli): string => cli.context("none").settings.DATA_PATH;

/** Where enroot has, or would have, the root of that name. */
export const pathOfName = (cli: Cli, name: string): string => join(dataPath(cli), name);

export const invalid = (text: string): Failure =>
  new Failure("E_USAGE", `Invalid argument: ${text}`, {
    mend: "give a name without slashes, as `enroot list` shows it",
  });

/** A name is one file name that `ls` shows. Throws E_USAGE. */
export function checkName(name: string): string {
  if (name !== "" && !name.includes("/") && !name.includes("\0") && !name.startsWith(".")) return name;
  throw invalid(name);
}

/** What the name stands for; undefined for nothing. */
export function findNamed(cli: Cli, name: string): Named | undefined {
  checkName(name);
  const container = findContainer(cli.layout, name);
  if (container !== undefined) return { kind: "stored", name, container };
  const path = pathOfName(cli, name);
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ? { kind: "foreign", name, path } : undefined;
}

/** The same. Throws E_NOT_FOUND. */
export function getNamed(cli: Cli, name: string): Named {
  const named = findNamed(cli, name);
  if (named !== undefined) return named;
  throw new Failure("E_NOT_FOUND", `No such file or directory: ${pathOfName(cli, name)}`, {
    mend: "see `enroot list`",
  });
}

/** Throws E_EXISTS for a name that a container or anything else in ENROOT_DATA_PATH has. */
export function refuseName(cli: Cli, name: string): void {
  const path = pathOfName(cli, checkName(name));
  if (findContainer(cli.layout, name) === undefined && !lstatSync(path, { throwIfNoEntry: false })) return;
  throw new Failure("E_EXISTS", `File already exists: ${path}`, {
    mend: `choose another name with --name, replace it with --force, or remove it: enroot remove ${name}`,
  });
}

/** All names, as `ls` sorts them in the C locale. */
export function listNames(cli: Cli): Named[] {
  const stored = listContainers(cli.layout).map(
    (container): Named => ({ kind: "stored", name: container.name, container }),
  );
  const known = new Set(stored.map(({ name }) => name));
  const foreign = namesIn(dataPath(cli)).filter((name) => !name.startsWith(".") && !known.has(name));
  const named = foreign.flatMap((name) => findNamed(cli, name) ?? []);
  return [...stored, ...named].sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)));
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return [];
    throw fileFailure(error, "listing containers", directory);
  }
}

/** The real path of a foreign root: what is mounted is what was checked. */
export const realRoot = ({ path }: { readonly path: string }): string => realpathSync(path);

/** The name that a squashfs file gives its container. */
export const nameOfFile = (path: string): string => basename(path).replace(/\.sqsh$/, "");

/**
 * The name of an image of a registry, as enroot makes file names of it: `docker://nvcr.io#team/app:1` is `team+app+1`.
 * Throws E_SOURCE.
 */
export function nameOfUri(uri: string): string {
  const [, scheme, rest = ""] = /^(docker|dockerd|podman):\/\/(.*)$/s.exec(uri) ?? [];
  if (scheme === undefined || rest === "") throw new Failure("E_SOURCE", `Invalid image reference: ${uri}`);
  const image = rest.replace(/@sha256:[0-9a-f]{64}$/, "").replace(/^[^@/#]*@/, "");
  const path = image.includes("#")
    ? image.slice(image.indexOf("#") + 1)
    : image.replace(scheme === "docker" ? /^(?:[^/]*[.:][^/]*|localhost)\// : /^$/, "");
  return path.replace(/^library\//, "").replace(/[/:]/g, "+");
}

/** What runs of a name: a container's own records, or starts of a foreign root's directory. */
export const runsOf = (named: Named, nameless: readonly Run[]): readonly Run[] =>
  named.kind === "stored" ? named.container.runs : nameless.filter(({ image }) => image === realRoot(named));
