/** Runs bin/enroot as a test user, with images as enroot makes them. */
import assert from "node:assert/strict";
import { chmodSync, cpSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type Box, emptyBox } from "./boxes.ts";
import { packageDirectory } from "./cli.ts";
import { type CommandOptions, must, type Outcome } from "./command.ts";
import type { TestUser, UserKind } from "./users.ts";

export const enrootWords = (...words: string[]): string[] => [join(packageDirectory(), "bin/enroot"), ...words];

/** Runs `enroot WORDS` as `user`, in its home unless `cwd` is given. */
export const enroot = (user: TestUser, words: readonly string[], options: CommandOptions = {}): Promise<Outcome> =>
  user.run(enrootWords(...words), options);

/** Where the user's containers are. */
export const dataPath = (user: TestUser): string => join(user.home, ".local/share/enroot");

const APPLETS = ["sh", "cat", "echo", "env", "id", "kill", "ls", "pwd", "readlink", "rm", "sleep", "touch", "true"];

/** A root as enroot unpacks it: busybox, and the files that steer a start. */
export async function enrootRoot(directory: string, hello = "hello"): Promise<string> {
  for (const name of ["bin", "dev", "etc", "proc", "run", "sys", "tmp"]) {
    mkdirSync(join(directory, name), { recursive: true, mode: 0o755 });
  }
  cpSync("/bin/busybox", join(directory, "bin/busybox"));
  for (const applet of APPLETS) symlinkSync("busybox", join(directory, "bin", applet));
  writeFileSync(join(directory, "etc/hello"), `${hello}\n`);
  await must(["chmod", "-R", "a+rX", directory]);
  return directory;
}

/** A squashfs file of such a root, which every user may read. */
export async function enrootImage(scratch: string, name: string, hello?: string): Promise<string> {
  const root = await enrootRoot(join(scratch, `${name}.root`), hello);
  const file = join(scratch, `${name}.sqsh`);
  await must(["mksquashfs", root, file, "-all-root", "-comp", "lzo", "-noD", "-quiet", "-no-progress"]);
  chmodSync(file, 0o644);
  return file;
}

export interface BareEnrootBox extends Omit<Box, "run" | "must"> {
  /** Runs `enroot WORDS` as the user. */
  run(words: readonly string[], options?: CommandOptions): Promise<Outcome>;
  /** The same, and fails the test unless it ends with status 0; gives standard output. */
  must(words: readonly string[], options?: CommandOptions): Promise<string>;
  /** The same, and fails the test unless it ends with status 1, and says `what` as enroot does. */
  fails(words: readonly string[], what: RegExp, options?: CommandOptions): Promise<void>;
  /** A root that enroot itself unpacked, in the user's data directory. */
  foreign(name: string): Promise<string>;
}

export interface EnrootBox extends BareEnrootBox {
  /** A squashfs file that every user may read; the container `box` is made of it. */
  readonly image: string;
}

/** Files of a configuration by their names, such as `hooks.d/10.sh`. */
export type ConfigFiles = Readonly<Record<string, string>>;

/** Makes a directory of configuration anew, with these files; those that end with .sh are executable. */
export function configure(directory: string, files: ConfigFiles): void {
  rmSync(directory, { recursive: true, force: true });
  for (const part of ["environ.d", "mounts.d", "hooks.d"]) mkdirSync(join(directory, part), { recursive: true });
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(directory, name)), { recursive: true });
    writeFileSync(join(directory, name), text);
    chmodSync(join(directory, name), name.endsWith(".sh") ? 0o755 : 0o644);
  }
}

/** A user of enroot who has no container yet. */
export async function bareEnrootBox(kind: UserKind): Promise<BareEnrootBox> {
  const { user, scratch, remove } = await emptyBox(kind);
  const run: EnrootBox["run"] = (words, options) => enroot(user, words, options);
  return {
    user,
    scratch,
    remove,
    run,
    must: async (words, options) => {
      const { status, stdout, stderr } = await run(words, options);
      assert.equal(status, 0, `enroot ${words.join(" ")}: ${stderr}`);
      return stdout;
    },
    fails: async (words, what, options) => {
      const { status, stdout, stderr } = await run(words, options);
      assert.deepEqual([status, stdout], [1, ""], stderr);
      assert.match(stderr, /^\[ERROR\] /);
      assert.match(stderr, what);
    },
    foreign: async (name) => {
      await must(user.words(["mkdir", "-p", dataPath(user)]));
      const path = await enrootRoot(join(dataPath(user), name));
      await must(["chown", "-R", `${user.uid}:${user.gid}`, path]);
      return path;
    },
  };
}

/** A user of enroot. */
export async function enrootBox(kind: UserKind): Promise<EnrootBox> {
  const bare = await bareEnrootBox(kind);
  const box = { ...bare, image: await enrootImage(bare.scratch, "my+image") };
  await box.must(["create", "--name", "box", box.image]);
  return box;
}
