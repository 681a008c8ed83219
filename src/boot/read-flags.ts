/** Flags of run and start, as an intent. Pure: the words are already split, paths are relative to `cwd`. */
import { Failure } from "../base/errors.ts";
import { signalNumber } from "../base/signals.ts";
import { readMountFlag } from "./fstab.ts";
import { parseMap } from "./id-map.ts";
import { from, type Intent, type Mount, type NamespaceKind, type Variable } from "./intent.ts";

export interface BootFlags {
  readonly mount?: readonly string[];
  readonly env?: readonly string[];
  readonly workdir?: string;
  readonly user?: string;
  readonly hostname?: string;
  readonly root?: boolean;
  readonly map?: string;
  readonly rw?: boolean;
  readonly pid?: boolean | string;
  readonly ipc?: boolean | string;
  readonly uts?: boolean | string;
  readonly detach?: boolean;
  readonly tty?: boolean;
  readonly stopSignal?: string;
}

/** What a caller's flags add to an image's own configuration. */
export interface FlagIntent {
  readonly mounts: readonly Mount[];
  readonly environment: readonly Variable[];
  readonly namespaces: Intent["namespaces"];
  readonly idMap: Intent["idMap"];
  readonly workdir?: Intent["workdir"];
  readonly user?: NonNullable<Intent["user"]>;
  readonly hostname?: NonNullable<Intent["hostname"]>;
  readonly detached?: NonNullable<Intent["detached"]>;
  readonly terminal?: NonNullable<Intent["terminal"]>;
  readonly stopSignal?: NonNullable<Intent["stopSignal"]>;
}

const usage = (what: string, where: string, mend: string): Failure => new Failure("E_USAGE", what, { where, mend });

/** `NAME=VALUE`, or `NAME` for the caller's own value; a name that the caller does not have is left out. */
export function readVariable(text: string, host: NodeJS.ProcessEnv): Variable[] {
  const at = text.indexOf("=");
  const name = at === -1 ? text : text.slice(0, at);
  if (name === "") throw usage(`${JSON.stringify(text)} has no name`, "--env", "write --env NAME=VALUE");
  const value = at === -1 ? host[name] : text.slice(at + 1);
  return value === undefined ? [] : [{ name, value, origin: "--env" }];
}

function readNamespaces(flags: BootFlags): Intent["namespaces"] {
  const namespaces: Partial<Record<NamespaceKind, { value: "private" | "host"; origin: string }>> = {};
  for (const kind of ["pid", "ipc", "uts"] as const) {
    const wish = flags[kind];
    if (wish === undefined || wish === false) continue;
    const value = wish === true ? "private" : wish;
    if (value !== "private" && value !== "host") {
      throw usage(
        `--${kind} cannot be ${JSON.stringify(value)}`,
        `--${kind}`,
        `use --${kind}, --${kind}=private or --${kind}=host`,
      );
    }
    namespaces[kind] = from(value, `--${kind}`);
  }
  // What nobody waits for has to be ended whole: its processes end with the first one of a pid namespace.
  if (flags.detach) namespaces.pid ??= from("private", "--detach");
  return namespaces;
}

/** Host names of RFC 1123, at most 64 bytes (sethostname(2)). */
function readHostname(name: string): string {
  if (/^[A-Za-z0-9]([A-Za-z0-9.-]{0,62}[A-Za-z0-9])?$/.test(name)) return name;
  throw usage(`${JSON.stringify(name)} cannot be a host name`, "--hostname", "use letters, digits, dots and hyphens");
}

function readWorkdir(path: string): string {
  if (path.startsWith("/")) return path;
  throw usage(`the directory ${JSON.stringify(path)} is not absolute`, "--workdir", "begin it with /");
}

function readIdMap({ root, map }: BootFlags): Intent["idMap"] {
  if (map === undefined) return root ? from("root", "--root") : from("caller", "rootling");
  const wish = parseMap(map, "--map");
  if (!root || wish === "root") return from(wish, "--map");
  throw new Failure("E_CONFLICT", "--root is --map root", { where: "--root", mend: "leave out one of the two" });
}

function readSignal(text: string): string {
  if (signalNumber(text) !== undefined) return text;
  throw usage(`${JSON.stringify(text)} is no signal`, "--stop-signal", "give a name such as SIGTERM, or its number");
}

/** Reads the flags. Throws E_USAGE. */
export function readFlags(flags: BootFlags, cwd: string, host: NodeJS.ProcessEnv): FlagIntent {
  return {
    mounts: (flags.mount ?? []).map((text) => readMountFlag(text, cwd)),
    environment: (flags.env ?? []).flatMap((text) => readVariable(text, host)),
    namespaces: readNamespaces(flags),
    idMap: readIdMap(flags),
    ...(flags.workdir === undefined ? {} : { workdir: from(readWorkdir(flags.workdir), "--workdir") }),
    ...(flags.user === undefined ? {} : { user: from(flags.user, "--user") }),
    ...(flags.hostname === undefined ? {} : { hostname: from(readHostname(flags.hostname), "--hostname") }),
    ...(flags.detach ? { detached: from(true, "--detach") } : {}),
    ...(flags.tty ? { terminal: from(true, "--tty") } : {}),
    ...(flags.stopSignal === undefined ? {} : { stopSignal: from(readSignal(flags.stopSignal), "--stop-signal") }),
  };
}
