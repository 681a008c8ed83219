/**
 * The users that kernel tests start containers as. As root the tests make real users of the system (their names
 * begin with `rootling-t`) and delete them; an ordinary user who runs the tests is the only ordinary user there is.
 */
import { chownSync, mkdirSync } from "node:fs";
import { userInfo } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { type CommandOptions, command, must, type Outcome } from "./command.ts";
import { makeTemp } from "./temp.ts";

/** `plain`: an ordinary user without subordinate ids; `subids`: one with 65,536 of them. */
export type UserKind = "root" | "plain" | "subids";

export interface TestUser {
  readonly kind: UserKind;
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  /** Private home; DATA, CACHE and RUNTIME directories of rootling lie in it. */
  readonly home: string;
  /** The whole environment of its commands: nothing of the test's own. */
  readonly env: Readonly<Record<string, string>>;
  /** The words that run `argv` as this user. */
  words(argv: readonly string[]): string[];
  /** Runs `argv` as this user. `env` is added to the user's. */
  run(argv: readonly string[], options?: CommandOptions): Promise<Outcome>;
}

const amRoot = process.getuid?.() === 0;

/** Options of a test that only root can make, and why: root's own run of all tests has it. */
export const needsRoot = (why: string): { skip: false | string } => ({ skip: amRoot ? false : `needs root: ${why}` });

/** There starting a process takes ten times as long. */
export const oldestKernel = process.env.ROOTLING_TEST_BED === "uml";

/** The kinds of users that there can be here, for tests of maps and of files of many owners. */
export const everyKind: readonly UserKind[] = amRoot && !oldestKernel ? ["root", "plain", "subids"] : ["plain"];

/**
 * The kinds that all other tests run as. Subordinate ids change nothing for who asks for no map of many ids, so that
 * `subids` would run the code of `plain` once more: ROOTLING_TEST_USERS=all does it.
 */
export const userKinds: readonly UserKind[] =
  process.env.ROOTLING_TEST_USERS === "all" ? everyKind : everyKind.filter((kind) => kind !== "subids");

/** The ordinary ones of them. */
export const ordinaryKinds: readonly UserKind[] = userKinds.filter((kind) => kind !== "root");

// Tests that run side by side make accounts: shadow's own lock says no instead of waiting.
const LOCK = join(process.env.ROOTLING_TEST_TEMP ?? "/tmp", "rootling-test-users.lock");

// useradd gives subordinate ids or not, as the machine's /etc/login.defs has it: here the test decides.
// What a killed run of the tests left is cleared by the next one: the name holds the pid of its maker.
const MAKE = `
  for left in $(sed -n 's/^\\(rootling-t[0-9]*-[0-9]*\\):.*/\\1/p' /etc/passwd); do
    maker=\${left#rootling-t}
    [ -e "/proc/\${maker%-*}" ] && continue
    userdel --force "$left"
    sed -i "/^$left:/d" /etc/subuid /etc/subgid
  done
  useradd --no-create-home --shell /bin/sh "$1" || exit
  for file in /etc/subuid /etc/subgid; do
    touch "$file"
    sed -i "/^$1:/d" "$file"
    [ "$2" = plain ] || echo "$1:$((10000000 + $(id -u "$1") * 65536)):65536" >>"$file"
  done
  id -u "$1"; id -g "$1"`;

const REMOVE = `
  userdel --force "$1"
  sed -i "/^$1:/d" /etc/subuid /etc/subgid`;

let made = 0;

interface Account {
  name: string;
  uid: number;
  gid: number;
  remove(): Promise<void>;
}

async function makeAccount(kind: UserKind): Promise<Account> {
  const name = `rootling-t${process.pid}-${++made}`;
  const shell = (script: string) => ["flock", LOCK, "sh", "-c", script, "sh", name, kind];
  const [uid, gid] = (await must(shell(MAKE))).trim().split("\n").map(Number);
  if (uid === undefined || gid === undefined) throw new Error(`the user ${name} has no ids`);
  return {
    name,
    uid,
    gid,
    remove: async () => {
      await must(shell(REMOVE));
    },
  };
}

const current = (): Account => {
  const { username, uid, gid } = userInfo();
  return { name: username, uid, gid, remove: async () => {} };
};

/** Makes a user; the caller removes it. */
export async function makeUser(kind: UserKind): Promise<{ user: TestUser; remove: () => Promise<void> }> {
  const temp = makeTemp("rootling-home-");
  const account = amRoot && kind !== "root" ? await makeAccount(kind) : current();
  const { name, uid, gid } = account;
  const home = join(temp.path, "home");
  const runtime = join(temp.path, "runtime");
  const large = join(temp.path, "tmp");
  for (const directory of [home, runtime, large]) {
    mkdirSync(directory, { mode: 0o700 });
    chownSync(directory, uid, gid);
  }
  const env = {
    PATH: "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
    HOME: home,
    USER: name,
    LOGNAME: name,
    LC_ALL: "C.UTF-8",
    TERM: "dumb",
    XDG_DATA_HOME: join(home, ".local/share"),
    XDG_CACHE_HOME: join(home, ".cache"),
    XDG_RUNTIME_DIR: runtime,
    TMPDIR: large,
    // root would use /var/lib and its kin; tests of root are as private as those of any user.
    ROOTLING_DATA_PATH: join(home, ".local/share/rootling"),
    ROOTLING_CACHE_PATH: join(home, ".cache/rootling"),
    ROOTLING_RUNTIME_PATH: join(runtime, "rootling"),
  };
  const words = (argv: readonly string[]) =>
    amRoot && kind !== "root"
      ? ["setpriv", `--reuid=${uid}`, `--regid=${gid}`, "--clear-groups", "--inh-caps=-all", "--", ...argv]
      : [...argv];
  const user: TestUser = {
    kind,
    name,
    uid,
    gid,
    home,
    env,
    words,
    run: (argv, options = {}) => command(words(argv), { cwd: home, ...options, env: { ...env, ...options.env } }),
  };
  return {
    user,
    remove: async () => {
      await account.remove();
      await temp.remove();
    },
  };
}

/** A user for one test (or, given a suite's `after`, for a suite), deleted after it. */
export async function testUser(t: Pick<TestContext, "after">, kind: UserKind): Promise<TestUser> {
  const { user, remove } = await makeUser(kind);
  t.after(remove);
  return user;
}
