/** Runs bin/rootling as a test user. */
import { accessSync, constants, cpSync, mkdirSync, realpathSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { type CommandOptions, command, type Outcome, shellWord } from "./command.ts";
import { makeTemp } from "./temp.ts";
import type { TestUser } from "./users.ts";

export const checkout = join(import.meta.dirname, "../..");

// Whether every user may pass through all directories above `path`.
function openToAll(path: string): boolean {
  for (let at = realpathSync(path); at !== "/"; at = dirname(at)) {
    if ((statSync(at).mode & 0o005) !== 0o005) return false;
  }
  return true;
}

let home: string | undefined;

/** The package's directory: the checkout or, where other users cannot enter it, a copy that lives as long as we do. */
export function packageDirectory(): string {
  if (home !== undefined) return home;
  // Another executor is that of a copy.
  if (process.env.ROOTLING_TEST_EXECUTOR) return (home = copyPackage());
  if (process.getuid?.() !== 0 || openToAll(checkout)) return (home = checkout);
  return (home = copyPackage());
}

/** A copy of the built package that every user may use and no edit of the sources changes; lives as long as we do. */
export function copyPackage(): string {
  const { path, remove } = makeTemp("rootling-copy-");
  process.once("beforeExit", remove);
  for (const name of ["bin", "dist", "share", "package.json"]) {
    cpSync(join(checkout, name), join(path, name), { recursive: true });
  }
  const { ROOTLING_TEST_EXECUTOR: executor } = process.env;
  if (executor) cpSync(executor, join(path, `dist/executor-${process.arch}`));
  const node = join(path, "node_modules", `node-linux-${process.arch}`, "bin");
  mkdirSync(node, { recursive: true });
  cpSync(process.execPath, join(node, "node"));
  accessSync(join(path, "bin/rootling"), constants.X_OK);
  return path;
}

/** The words that start rootling. */
export const rootlingWords = (...words: string[]): string[] => [join(packageDirectory(), "bin/rootling"), ...words];

/** Runs `rootling WORDS` as `user`, in its home unless `cwd` is given. */
export const rootling = (user: TestUser, words: readonly string[], options: CommandOptions = {}): Promise<Outcome> =>
  user.run(rootlingWords(...words), options);

/** The same, with a terminal as standard input, output and error; all three come back as stdout. */
export function rootlingOnTerminal(
  user: TestUser,
  words: readonly string[],
  options: CommandOptions = {},
): Promise<Outcome> {
  const line = user
    .words(rootlingWords(...words))
    .map(shellWord)
    .join(" ");
  return command(["script", "--quiet", "--return", "--flush", "--command", line, "/dev/null"], {
    cwd: user.home,
    ...options,
    env: { ...user.env, SHELL: "/bin/sh", ...options.env },
  });
}
