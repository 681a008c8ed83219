/** Our names, and where each has its files: what is known before anything is read. Small, for entry.ts needs it. */
import { join } from "node:path";
import { EXIT_FAILURE, Failure } from "./errors.ts";

/** The names that have settings of their own. */
export type Program = "rootling" | "enroot";

/** All names that rootling goes by. */
export type Name = Program | "virt-bootstrap" | OverlayName;

/** The commands of overlay-boot. */
export const overlayNames = [
  "overlay-boot",
  "overlay-go",
  "overlay-stop",
  "overlay-share",
  "overlay-diskfile",
] as const;
export type OverlayName = (typeof overlayNames)[number];
export const isOverlayName = (name: string): name is OverlayName => (overlayNames as readonly string[]).includes(name);

/** Who starts us. */
export interface Caller {
  readonly env: NodeJS.ProcessEnv;
  /** The effective user id. */
  readonly uid: number;
  readonly program: Program;
}

const AS = "--as=";

/** The name that bin/rootling was started under, which it gives as the first word where that is not its own. */
export const nameOf = ([, , word]: readonly string[]): Name =>
  (["enroot", "virt-bootstrap", ...overlayNames] as const).find((name) => word === AS + name) ?? "rootling";

/** The name whose settings count. */
export const programOf = (words: readonly string[]): Program => (nameOf(words) === "enroot" ? "enroot" : "rootling");

/** The word that says so, if there is one. */
export const nameWords = ([, , word]: readonly string[]): string[] => (word?.startsWith(AS) ? [word] : []);

/** The words that a user wrote. */
export const wordsOf = (argv: readonly string[]): string[] => argv.slice(2 + nameWords(argv).length);

/** The exit status of our own failures: other programs end with 1 whatever went wrong. */
export const failureStatus = (name: Name): number => (name === "rootling" ? EXIT_FAILURE : 1);

/** The caller of this process. */
export const ourCaller = (program: Program): Caller => ({ env: process.env, uid: process.geteuid?.() ?? 0, program });

/** The home that passwd gives our account: an epilog of Slurm's has no HOME (pyxis, container_scope=job). */
function accountHome(): string | undefined {
  try {
    return process.getBuiltinModule("node:os").userInfo().homedir;
  } catch {
    // No line of passwd is ours.
    return undefined;
  }
}

/**
 * $NAME/rootling, or HOME-based where the XDG variable is unset or, as the specification says, not absolute. enroot has
 * the same places for root, rootling those of the system.
 */
export const systemPlace =
  (variable: string, underHome: string, system: string) =>
  ({ env, uid, program }: Caller): string => {
    if (uid === 0 && program === "rootling") return join(system, program);
    const base = env[variable];
    if (base?.startsWith("/")) return join(base, program);
    const home = env.HOME ?? (program === "enroot" ? accountHome() : undefined);
    if (!home?.startsWith("/")) {
      throw new Failure("E_SETTING", `neither ${variable} nor HOME names an absolute directory`, {
        mend: `set HOME or ${variable}`,
      });
    }
    return join(home, underHome, program);
  };

export const cachePlace = systemPlace("XDG_CACHE_HOME", ".cache", "/var/cache");

/** Where the store lies: under the name enroot, DATA_PATH is full of roots that enroot unpacked. */
export const storePath = ({ program, DATA_PATH }: { program: Program; DATA_PATH: string }): string =>
  program === "enroot" ? join(DATA_PATH, ".rootling") : DATA_PATH;
