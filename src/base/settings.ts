/**
 * The one table of settings. Help, docs and checks are made from it. A setting is read from the environment and from
 * configuration files as ROOTLING_<NAME>; under the name enroot as ENROOT_<NAME>. Flags of the same meaning win over it.
 */
import { join } from "node:path";
import { Failure } from "./errors.ts";
import type { Assignment } from "./settings-files.ts";
import { type Caller, cachePlace, type Program, storePath, systemPlace } from "./settings-places.ts";

/** What a default depends on. */
interface Given extends Caller {
  /** What the lines of the table above this one came to. */
  readonly known: Readonly<Record<string, unknown>>;
}

interface SettingEntry<T> {
  /** What it does, for docs and `--help`. */
  about: string;
  /** The default as documentation shows it; for both names, or for each. */
  shownDefault: string | Readonly<Record<Program, string>>;
  default(given: Given): T;
  /** The value of a text, or an Error message (lower case) about it. */
  parse(text: string): T;
  /** The only name that has it; under the other one it has its default. */
  only?: Program;
  /** Read and shown, but without effect. */
  idle?: true;
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

/** What unsets a setting, as enroot has it. */
const UNSET = /^(no?|NO?|No|[fF]|[fF]alse|FALSE)$/;

/** enroot takes every other word for yes, 0 among them. */
const yesOrNo = (text: string): boolean => {
  if (/^(y|yes|t|true|on|1)$/i.test(text)) return true;
  if (text === "0") return false;
  throw new Error("must be yes or no");
};

const path = (
  about: string,
  shownDefault: SettingEntry<string>["shownDefault"],
  fallback: SettingEntry<string>["default"],
): SettingEntry<string> => ({ about, shownDefault, default: fallback, parse: absolutePath });

const flag = (about: string, fallback = false): SettingEntry<boolean> => ({
  about,
  shownDefault: fallback ? "yes" : "no",
  default: () => fallback,
  parse: yesOrNo,
});

/** A default that is another one under the name enroot. */
const each = <T extends string | number>(
  rootling: T,
  enroot: T,
): Pick<SettingEntry<T>, "shownDefault" | "default"> => ({
  shownDefault: { rootling: String(rootling), enroot: String(enroot) },
  default: ({ program }) => (program === "enroot" ? enroot : rootling),
});

const words = (text: string): string => text;

/** Only under the name enroot, for its files' sake. */
const idle = (about: string, shownDefault: string): SettingEntry<string> => ({
  about,
  shownDefault,
  default: () => shownDefault,
  parse: words,
  only: "enroot",
  idle: true,
});

/** Who has no home may have places of the own for all else. */
function configPath(given: Given): string {
  const { env, uid, program, known } = given;
  if ((uid === 0 && program === "rootling") || env.HOME?.startsWith("/") || env.XDG_CONFIG_HOME?.startsWith("/"))
    return configPlace(given);
  return join(storePath({ program, DATA_PATH: String(known.DATA_PATH) }), "config");
}

const configPlace = systemPlace("XDG_CONFIG_HOME", ".config", "/etc");

function runtimePath({ env, uid, program, known }: Given): string {
  if (uid === 0 && program === "rootling") return "/run/rootling";
  const base = env.XDG_RUNTIME_DIR;
  if (base?.startsWith("/")) return join(base, program);
  return uid === 0
    ? join("/run", program)
    : join(storePath({ program, DATA_PATH: String(known.DATA_PATH) }), "runtime");
}

export const settingsTable = {
  LIBRARY_PATH: {
    about: "where hooks find enroot's common.sh; where it has none, the one of the package",
    shownDefault: "/usr/lib/enroot",
    default: () => "/usr/lib/enroot",
    parse: words,
    only: "enroot",
  } satisfies SettingEntry<string>,
  SYSCONF_PATH: path(
    "the system's configuration: PROGRAM.conf, PROGRAM.conf.d, environ.d, mounts.d, hooks.d; from the environment only",
    { rootling: "/etc/rootling", enroot: "/etc/enroot" },
    ({ program }) => `/etc/${program}`,
  ),
  DATA_PATH: path(
    "images and containers",
    {
      rootling: "$XDG_DATA_HOME/rootling; root: /var/lib/rootling",
      enroot: "$XDG_DATA_HOME/enroot (rootling's store is .rootling in it)",
    },
    systemPlace("XDG_DATA_HOME", ".local/share", "/var/lib"),
  ),
  CONFIG_PATH: path(
    "the user's configuration: .credentials, environ.d, mounts.d, hooks.d",
    {
      rootling: "$XDG_CONFIG_HOME/rootling, or DATA_PATH/config without a home; root: /etc/rootling",
      enroot: "$XDG_CONFIG_HOME/enroot, or DATA_PATH/.rootling/config",
    },
    configPath,
  ),
  CACHE_PATH: path(
    "downloaded layers",
    { rootling: "$XDG_CACHE_HOME/rootling; root: /var/cache/rootling", enroot: "$XDG_CACHE_HOME/enroot" },
    cachePlace,
  ),
  RUNTIME_PATH: path(
    "what lives as long as a running container",
    {
      rootling: "$XDG_RUNTIME_DIR/rootling, or DATA_PATH/runtime; root: /run/rootling",
      enroot: "$XDG_RUNTIME_DIR/enroot, or DATA_PATH/.rootling/runtime; root: /run/enroot",
    },
    runtimePath,
  ),
  TEMP_PATH: path(
    "large temporary files, such as a spooled archive",
    { rootling: "$TMPDIR, or /var/tmp", enroot: "$TMPDIR, or /tmp" },
    ({ env, program }) => (env.TMPDIR?.startsWith("/") ? env.TMPDIR : program === "enroot" ? "/tmp" : "/var/tmp"),
  ),
  GZIP_PROGRAM: idle("the program that inflates layers: rootling does it itself", "gzip"),
  ZSTD_OPTIONS: idle("how layers in the cache are compressed: they stay as they came", "-1"),
  SQUASH_OPTIONS: {
    about: "how squashfs files are written: -comp, -Xcompression-level, -b, -noI, -noD, -noF, -noX and the like",
    ...each("-comp zstd -Xcompression-level 3", "-comp lzo -noD"),
    parse: words,
  } satisfies SettingEntry<string>,
  MAX_PROCESSORS: {
    about: "processors that the writing of a squashfs file may use; 0: all",
    shownDefault: "0",
    default: () => 0,
    parse: count(0, 4096),
  } satisfies SettingEntry<number>,
  MAX_CONNECTIONS: {
    about: "parallel downloads",
    ...each(6, 10),
    parse: count(1, 1024),
  } satisfies SettingEntry<number>,
  CONNECT_TIMEOUT: {
    about: "seconds after which an attempt to connect to a registry is given up",
    ...each(20, 30),
    parse: seconds(0.05, 86400),
  } satisfies SettingEntry<number>,
  TRANSFER_TIMEOUT: {
    about: "seconds without a byte, or with less than 1 KiB, after which a transfer is given up; 0: never",
    ...each(60, 0),
    parse: seconds(0, 86400),
  } satisfies SettingEntry<number>,
  TRANSFER_RETRIES: {
    about: "how often a request that failed for a passing reason is tried again",
    ...each(4, 0),
    parse: count(0, 100),
  } satisfies SettingEntry<number>,
  RETRY_WAIT: {
    about: "longest pause in seconds between two tries, also where the registry asks for one",
    shownDefault: "30",
    default: () => 30,
    parse: seconds(0, 86400),
  } satisfies SettingEntry<number>,
  IMAGE_PATHS: {
    about: "directories of squashfs files that many share, separated by colons: NAME:TAG is NAME+TAG.sqsh",
    shownDefault: "none",
    default: (): readonly string[] => [],
    parse: (text: string): readonly string[] => text.split(":").filter(Boolean).map(absolutePath),
  } satisfies SettingEntry<readonly string[]>,
  CDI_PATHS: {
    about: "directories of CDI specs, separated by colons; what lies in a later one goes before",
    shownDefault: "/etc/cdi:/var/run/cdi",
    default: (): readonly string[] => ["/etc/cdi", "/var/run/cdi"],
    parse: (text: string): readonly string[] => text.split(":").filter(Boolean).map(absolutePath),
  } satisfies SettingEntry<readonly string[]>,
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
  ALLOW_HTTP: flag("speak to registries without TLS: --plain-http"),
  ALLOW_SUPERUSER: { ...flag("root starts containers without a user namespace"), only: "enroot" as const },
  LOGIN_SHELL: flag("an image's /etc/rc, and the shell that takes its place, run as a login shell", true),
  INIT_SHELL: idle("the shell of /etc/rc in older versions: SHELL says it", "/bin/sh"),
  ROOTFS: {
    about: "what `batch` starts: a container, or a squashfs file",
    shownDefault: "none",
    default: () => "",
    parse: words,
    only: "enroot",
  } satisfies SettingEntry<string>,
  ROOTFS_WRITABLE: flag("changes of a container that is started are kept: --rw"),
  REMAP_ROOT: flag("be root in a container that is started: --root"),
  UNSHARE_PID: flag("processes of its own for a container that is started: --pid"),
  UNSHARE_NET: flag("no network but its own lo: --net"),
  UNSHARE_IPC: flag("System V IPC and message queues of its own: --ipc"),
  UNSHARE_UTS: flag("a host name of its own: --uts"),
  MOUNT_HOME: { ...flag("the hook `home` mounts the caller's home directory"), only: "enroot" as const },
  RESTRICT_DEV: {
    ...flag("the hook `devices` shows few devices, instead of the host's /dev"),
    only: "enroot" as const,
  },
  BUNDLE_ALL: { ...flag("bundles hold the user's configuration as well: --all"), only: "enroot" as const },
  BUNDLE_CHECKSUM: { ...flag("bundles hold a checksum: --checksum"), only: "enroot" as const },
  FORCE_OVERRIDE: {
    ...flag("create, load, export and bundle replace what has the name already: --force"),
    only: "enroot" as const,
  },
} as const;

export type SettingName = keyof typeof settingsTable;

export type Settings = { readonly [Name in SettingName]: ReturnType<(typeof settingsTable)[Name]["default"]> } & {
  /** The name that they were read under. */
  readonly program: Program;
};

/** The variable of a setting. */
export const variableOf = (program: Program, name: string): string => `${program.toUpperCase()}_${name}`;

/** The lines of the table that a name has, as documentation shows them. */
export const settingsOf = (program: Program) =>
  (Object.entries(settingsTable) as [SettingName, SettingEntry<unknown>][])
    .filter(([, { only = program }]) => only === program)
    .map(([name, { about, shownDefault, idle }]) => ({
      name,
      about: idle ? `${about} (without effect)` : about,
      shownDefault: typeof shownDefault === "string" ? shownDefault : shownDefault[program],
    }));

export interface SettingsOptions {
  readonly program?: Program;
  /** What configuration files say; the environment wins over it. */
  readonly files?: readonly Assignment[];
  /** What wins over the environment: the directives of a container's configuration. */
  readonly directives?: readonly Assignment[];
}

/** Reads every setting. Throws E_SETTING, naming where it was set, for a value that is not allowed. */
export function readSettings(env: NodeJS.ProcessEnv, uid: number, options: SettingsOptions = {}): Settings {
  const { program = "rootling", files = [], directives = [] } = options;
  const known: Record<string, unknown> = { program };
  for (const [name, entry] of Object.entries(settingsTable) as [string, SettingEntry<unknown>][]) {
    const variable = variableOf(program, name);
    const { value: text, origin } = (entry.only ?? program) === program ? settingOf(variable) : NOTHING;
    try {
      known[name] = text === "" ? entry.default({ env, uid, program, known }) : entry.parse(text);
    } catch (error) {
      if (error instanceof Failure) throw error;
      throw new Failure("E_SETTING", `${variable} ${(error as Error).message}`, {
        where: origin,
        mend: `unset it, or see: ${entry.about}`,
      });
    }
  }
  return known as Settings;

  /** The last one that says something; no word that unsets it. */
  function settingOf(variable: string): Omit<Assignment, "name"> {
    const last = (list: readonly Assignment[]) => list.findLast(({ name }) => name === variable);
    const text = env[variable];
    const set = last(directives) ?? (text ? { value: text, origin: variable } : last(files));
    if (set === undefined) return NOTHING;
    return UNSET.test(set.value) ? unset(variable, set) : set;
  }

  /** A switch that is on by default is off; anything else is as if it had not been set. */
  function unset(variable: string, { origin }: Omit<Assignment, "name">): Omit<Assignment, "name"> {
    const entry = settingsTable[variable.slice(program.length + 1) as SettingName] as SettingEntry<unknown>;
    return entry.parse === yesOrNo ? { value: "0", origin } : NOTHING;
  }
}

const NOTHING = { value: "", origin: "" };
