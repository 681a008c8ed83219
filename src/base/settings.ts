/**
 * The one table of settings. Help, docs and checks are made from it. Every setting is read from the environment
 * as ROOTLING_<NAME>; flags of the same meaning win over it.
 */
import { join } from "node:path";
import { Failure } from "./errors.ts";

interface SettingEntry<T> {
  /** What it does, for docs and `--help`. */
  about: string;
  /** The default as documentation shows it. */
  shownDefault: string;
  /** The default, given the process's environment and effective user id. */
  default(env: NodeJS.ProcessEnv, uid: number): T;
  /** The value of a text, or an Error message (lower case) about it. */
  parse(text: string): T;
}

const absolutePath = (text: string): string => {
  if (!text.startsWith("/")) throw new Error("must be an absolute path");
  return text;
};

const count =
  (minimum: number, maximum: number) =>
  (text: string): number => {
    const value = /^[0-9]+$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= minimum && value <= maximum))
      throw new Error(`must be a whole number from ${minimum} to ${maximum}`);
    return value;
  };

const seconds =
  (minimum: number, maximum: number) =>
  (text: string): number => {
    const value = /^[0-9]+(\.[0-9]+)?$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= minimum && value <= maximum)) throw new Error(`must be a number from ${minimum} to ${maximum}`);
    return value;
  };

const path = (
  about: string,
  shownDefault: string,
  fallback: (env: NodeJS.ProcessEnv, uid: number) => string,
): SettingEntry<string> => ({ about, shownDefault, default: fallback, parse: absolutePath });

/** $NAME/rootling, or HOME-based where the XDG variable is unset or, as the specification says, not absolute. */
const xdg = (env: NodeJS.ProcessEnv, variable: string, underHome: string): string => {
  const base = env[variable];
  if (base?.startsWith("/")) return join(base, "rootling");
  const home = env.HOME;
  if (!home?.startsWith("/")) {
    throw new Failure("E_SETTING", `neither ${variable} nor HOME names an absolute directory`, {
      mend: `set HOME or ${variable}`,
    });
  }
  return join(home, underHome, "rootling");
};

export const settingsTable = {
  DATA_PATH: path("images and containers", "$XDG_DATA_HOME/rootling; root: /var/lib/rootling", (env, uid) =>
    uid === 0 ? "/var/lib/rootling" : xdg(env, "XDG_DATA_HOME", ".local/share"),
  ),
  CACHE_PATH: path("downloaded layers", "$XDG_CACHE_HOME/rootling; root: /var/cache/rootling", (env, uid) =>
    uid === 0 ? "/var/cache/rootling" : xdg(env, "XDG_CACHE_HOME", ".cache"),
  ),
  RUNTIME_PATH: path(
    "what lives as long as a running container",
    "$XDG_RUNTIME_DIR/rootling, or DATA_PATH/runtime; root: /run/rootling",
    (env, uid) => {
      if (uid === 0) return "/run/rootling";
      const base = env.XDG_RUNTIME_DIR;
      if (base?.startsWith("/")) return join(base, "rootling");
      return join(env.ROOTLING_DATA_PATH ?? xdg(env, "XDG_DATA_HOME", ".local/share"), "runtime");
    },
  ),
  TEMP_PATH: path("large temporary files, such as a spooled archive", "$TMPDIR, or /var/tmp", (env) =>
    env.TMPDIR?.startsWith("/") ? env.TMPDIR : "/var/tmp",
  ),
  MAX_CONNECTIONS: {
    about: "parallel downloads",
    shownDefault: "6",
    default: () => 6,
    parse: count(1, 64),
  } satisfies SettingEntry<number>,
  CONNECT_TIMEOUT: {
    about: "seconds after which an attempt to connect to a registry is given up",
    shownDefault: "20",
    default: () => 20,
    parse: seconds(0.05, 86400),
  } satisfies SettingEntry<number>,
  TRANSFER_TIMEOUT: {
    about: "seconds without a byte, or with less than 1 KiB, after which a transfer is given up",
    shownDefault: "60",
    default: () => 60,
    parse: seconds(0.05, 86400),
  } satisfies SettingEntry<number>,
  TRANSFER_RETRIES: {
    about: "how often a request that failed for a passing reason is tried again",
    shownDefault: "4",
    default: () => 4,
    parse: count(0, 100),
  } satisfies SettingEntry<number>,
  RETRY_WAIT: {
    about: "longest pause in seconds between two tries, also where the registry asks for one",
    shownDefault: "30",
    default: () => 30,
    parse: seconds(0, 86400),
  } satisfies SettingEntry<number>,
  MAX_ENTRIES: {
    about: "names that the layers of an image may hold together",
    shownDefault: "1000000",
    default: () => 1_000_000,
    parse: count(1, 100_000_000),
  } satisfies SettingEntry<number>,
  MAX_RATIO: {
    about: "how many times its size an image of more than 1 GiB may unpack to",
    shownDefault: "200",
    default: () => 200,
    parse: count(1, 100_000),
  } satisfies SettingEntry<number>,
} as const;

type SettingName = keyof typeof settingsTable;

export type Settings = { readonly [Name in SettingName]: ReturnType<(typeof settingsTable)[Name]["default"]> };

/** Reads every setting. Throws E_SETTING, naming the variable, for a value that is not allowed. */
export function readSettings(env: NodeJS.ProcessEnv, uid: number): Settings {
  const settings: Record<string, unknown> = {};
  for (const [name, entry] of Object.entries(settingsTable)) {
    const variable = `ROOTLING_${name}`;
    const text = env[variable];
    try {
      settings[name] = text === undefined || text === "" ? entry.default(env, uid) : entry.parse(text);
    } catch (error) {
      if (error instanceof Failure) throw error;
      throw new Failure("E_SETTING", `${variable} ${(error as Error).message}`, {
        where: variable,
        mend: `unset it, or see: ${entry.about}`,
      });
    }
  }
  return settings as Settings;
}
