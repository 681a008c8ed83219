/** `rootling compat`: puts the names of other programs on a PATH, and takes them away. */
import { existsSync, lstatSync, mkdirSync, readlinkSync, realpathSync, rmSync, statSync, symlinkSync } from "node:fs";
import { delimiter, dirname, join, resolve } from "node:path";
import { errnoOf, Failure, fileFailure } from "../base/errors.ts";
import { packageRoot } from "../base/package.ts";
import { overlayNames } from "../base/settings-places.ts";
import { type Cli, newCommand, showJson } from "./cli.ts";
import { sharedFiles } from "./completion.ts";
import { showSteps, step, withSteps } from "./dry-run.ts";

/** Names that bin/rootling goes by, each with what it is then. */
const compatNames: Readonly<Record<string, string>> = {
  enroot: "enroot's commands",
  "virt-bootstrap": "the command of virt-bootstrap",
  ...Object.fromEntries(overlayNames.map((name) => [name, "a command of overlay-boot"])),
};

interface Options {
  only?: string;
  dryRun?: boolean;
  json?: boolean;
}

/** A name in the directory, its man page or a completion. */
interface Link {
  readonly path: string;
  readonly target: string;
  /** Without it the name would not work; anything else gives way to what is there. */
  readonly needed: boolean;
  /** ours: a symlink to this rootling; other: anything else. */
  readonly state: "free" | "ours" | "other";
}

const NAMES = Object.entries(compatNames)
  .map(([name, about]) => `${name} (${about})`)
  .join(", ");

export const define = (cli: Cli) =>
  withSteps(
    newCommand("compat", `Put the names of other programs into a directory of PATH: ${NAMES}.`, [
      "rootling compat install /usr/local/bin      # man page and completions go to /usr/local/share",
      "rootling compat install ~/bin --only enroot",
      "rootling compat remove /usr/local/bin",
    ]),
  )
    .argument("<action>", "install or remove")
    .argument(
      "<directory>",
      "a directory of PATH; man pages and completions go to the share beside it, if there is one",
    )
    .option("--only <names>", "these names only, separated by commas")
    .option("--json", "print what was changed, or with --dry-run the steps, as JSON")
    .action(async (action: string, directory: string, options: Options) => {
      if (action !== "install" && action !== "remove") {
        throw new Failure("E_USAGE", `there is no action ${JSON.stringify(action)}`, { mend: "use install or remove" });
      }
      const links = linksIn(resolve(directory), namesOf(options.only));
      const changed = action === "install" ? missing(links) : present(links);
      if (options.dryRun) {
        const verb = action === "install" ? "write" : "remove";
        const steps = changed.map(({ path }) => step(verb, `symlink ${path}`));
        return showSteps(cli, steps, options.json);
      }
      for (const link of changed) action === "install" ? install(link) : remove(link);
      if (action === "install") warnOfPath(cli, resolve(directory));
      const paths = changed.map(({ path }) => path);
      if (options.json) cli.print(showJson({ [action === "install" ? "installed" : "removed"]: paths }));
      else for (const path of paths) cli.print(path);
    });

function namesOf(only: string | undefined): string[] {
  const names = only?.split(",") ?? Object.keys(compatNames);
  const unknown = names.find((name) => !Object.hasOwn(compatNames, name));
  if (unknown === undefined) return [...new Set(names)];
  throw new Failure("E_USAGE", `rootling does not go by the name ${JSON.stringify(unknown)}`, {
    where: "--only",
    mend: `use ${Object.keys(compatNames).join(", ")}`,
  });
}

/** What users start, without symlinks: the name of a symlink to it says how it behaves. */
const program = (): string => realpathSync(join(packageRoot(), "bin/rootling"));

function linksIn(directory: string, names: readonly string[]): Link[] {
  if (!statSync(directory, { throwIfNoEntry: false })?.isDirectory()) {
    throw new Failure("E_NOT_FOUND", "not a directory", {
      where: directory,
      mend: "make it first, or name another one",
    });
  }
  const share = join(directory, "../share");
  const shared = statSync(share, { throwIfNoEntry: false })?.isDirectory()
    ? names.flatMap(sharedFiles).filter(({ source }) => existsSync(join(packageRoot(), source)))
    : [];
  return [
    ...names.map((name) => linkTo(program(), join(directory, name), true)),
    ...shared.map(({ source, place }) => linkTo(realpathSync(join(packageRoot(), source)), join(share, place), false)),
  ];
}

function linkTo(target: string, path: string, needed: boolean): Link {
  const found = lstatSync(path, { throwIfNoEntry: false });
  const ours = found?.isSymbolicLink() && resolve(dirname(path), readlinkSync(path)) === target;
  return { path, target, needed, state: found === undefined ? "free" : ours ? "ours" : "other" };
}

/** Those that are not there yet. Throws E_EXISTS where something else has the name. */
function missing(links: readonly Link[]): Link[] {
  const other = links.find(({ needed, state }) => needed && state === "other");
  if (other === undefined) return links.filter(({ state }) => state === "free");
  throw existing(other.path);
}

const existing = (path: string): Failure =>
  new Failure("E_EXISTS", "something else has the name already", {
    where: path,
    mend: "choose another directory, one that comes earlier in PATH, or leave the name out with --only",
  });

/** Those that are ours. Throws E_CONFLICT where something else has the name. */
function present(links: readonly Link[]): Link[] {
  const other = links.find(({ needed, state }) => needed && state === "other");
  if (other === undefined) return links.filter(({ state }) => state === "ours");
  throw new Failure("E_CONFLICT", "this was not installed by this rootling: it stays", {
    where: other.path,
    mend: "leave the name out with --only, or remove the file yourself",
  });
}

function install({ path, target }: Link): void {
  try {
    mkdirSync(dirname(path), { recursive: true });
    symlinkSync(target, path);
  } catch (error) {
    throw errnoOf(error) === "EEXIST" ? existing(path) : fileFailure(error, "installing the name", path);
  }
}

function remove({ path }: Link): void {
  try {
    rmSync(path);
  } catch (error) {
    throw fileFailure(error, "removing the name", path);
  }
}

function warnOfPath(cli: Cli, directory: string): void {
  if ((process.env.PATH ?? "").split(delimiter).includes(directory)) return;
  cli.context("none").warn(`${directory} is not on PATH: add it there`);
}
