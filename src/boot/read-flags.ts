/** Flags of run and start, as an intent. Pure: the words are already split, paths are relative to `cwd`. */
import { resolve } from "node:path";
import { Failure } from "../base/errors.ts";
import { signalNumber } from "../base/signals.ts";
import { type Cables, readCableFlags } from "./cables.ts";
import { readMountFlag } from "./fstab.ts";
import { parseMap } from "./id-map.ts";
import {
  from,
  type Intent,
  type JoinWish,
  type Mount,
  type NamespaceKind,
  type NamespaceWish,
  type Value,
  type Variable,
} from "./intent.ts";
import { type LimitFlags, type Limits, readLimits } from "./limits.ts";
import { type Publish, readPublish } from "./network.ts";
import { type ProcessFlags, type ProcessSettings, readProcessSettings } from "./process-settings.ts";
import { type Confinement, type ConfinementFlags, isolateNamespaces, readConfinement } from "./read-confinement.ts";

export interface BootFlags extends ConfinementFlags, LimitFlags, ProcessFlags {
  readonly mount?: readonly string[];
  /** Read by read-devices.ts: some need files of the host. */
  readonly device?: readonly string[];
  readonly env?: readonly string[];
  readonly workdir?: string;
  readonly user?: string;
  readonly hostname?: string;
  readonly root?: boolean;
  readonly map?: string;
  readonly rw?: boolean;
  readonly upper?: string;
  readonly upperSize?: string;
  readonly pid?: boolean | string;
  readonly ipc?: boolean | string;
  readonly uts?: boolean | string;
  readonly net?: boolean | string;
  readonly publish?: readonly string[];
  readonly cable?: readonly string[];
  readonly cgroup?: boolean | string;
  readonly time?: boolean | string;
  readonly detach?: boolean;
  readonly tty?: boolean;
  readonly stopSignal?: string;
  readonly timeline?: string;
}

/** What a caller's flags add to an image's own configuration. */
export interface FlagIntent extends Confinement {
  readonly mounts: readonly Mount[];
  readonly environment: readonly Variable[];
  readonly namespaces: Intent["namespaces"];
  readonly settings?: ProcessSettings;
  readonly limits?: Limits;
  readonly publish?: readonly Publish[];
  readonly cables?: Cables;
  readonly idMap: Intent["idMap"];
  readonly upper?: NonNullable<Intent["upper"]>;
  readonly upperSize?: NonNullable<Intent["upperSize"]>;
  readonly workdir?: Intent["workdir"];
  readonly user?: NonNullable<Intent["user"]>;
  readonly hostname?: NonNullable<Intent["hostname"]>;
  readonly detached?: NonNullable<Intent["detached"]>;
  readonly terminal?: NonNullable<Intent["terminal"]>;
  readonly stopSignal?: NonNullable<Intent["stopSignal"]>;
  readonly timeline?: NonNullable<Intent["timeline"]>;
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

const KINDS = ["pid", "ipc", "uts", "net", "cgroup", "time"] as const;

/** The values that a flag of a namespace takes, for mends. */
const valuesOf = (kind: NamespaceKind): string =>
  kind === "net" ? "none, host, user, container:NAME or pid:PID" : "private, host, container:NAME or pid:PID";

function readWish(kind: NamespaceKind, text: string): NamespaceWish {
  if (text === "private" || text === "host") return text;
  if (kind === "net" && text === "none") return "private";
  if (kind === "net" && text === "user") return text;
  if (/^container:./.test(text)) return text as JoinWish;
  if (/^pid:[1-9][0-9]{0,6}$/.test(text)) return text as JoinWish;
  throw usage(`--${kind} cannot be ${JSON.stringify(text)}`, `--${kind}`, `use ${valuesOf(kind)}`);
}

function readNamespaces(flags: BootFlags): Intent["namespaces"] {
  const namespaces: Partial<Record<NamespaceKind, Value<NamespaceWish>>> = {};
  for (const kind of KINDS) {
    const wish = flags[kind];
    if (wish === undefined || wish === false) continue;
    namespaces[kind] = from(readWish(kind, wish === true ? "private" : wish), `--${kind}`);
  }
  if (flags.cable !== undefined) namespaces.net = readCabledNetwork(namespaces.net);
  if (namespaces.net === undefined && flags.publish !== undefined) namespaces.net = from("user", "--publish");
  // What nobody waits for has to be ended whole: its processes end with the first one of a pid namespace.
  if (flags.detach) namespaces.pid ??= from("private", "--detach");
  return namespaces;
}

/** Cables need a network namespace of the container's own, and are its whole connection. Throws E_CONFLICT. */
function readCabledNetwork(net: Value<NamespaceWish> | undefined): Value<NamespaceWish> {
  if (net === undefined || net.value === "private") return net ?? from("private", "--cable");
  throw new Failure("E_CONFLICT", `--net=${net.value} has no place for a cable`, {
    where: "--cable",
    mend: "leave out one of the two",
  });
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

function readUpper({ upper, upperSize }: BootFlags): Pick<FlagIntent, "upper" | "upperSize"> {
  if (upper !== undefined && upper !== "disk" && upper !== "tmpfs") {
    throw usage(`changes cannot lie on ${JSON.stringify(upper)}`, "--upper", "use --upper disk or --upper tmpfs");
  }
  if (upperSize !== undefined && !/^[1-9][0-9]{0,14}[kmg]?$/i.test(upperSize)) {
    throw usage(`${JSON.stringify(upperSize)} is no size`, "--upper-size", "write it like 512m or 4g");
  }
  return {
    ...(upper === undefined ? {} : { upper: from(upper, "--upper") }),
    ...(upperSize === undefined ? {} : { upperSize: from(upperSize, "--upper-size") }),
  };
}

function readSignal(text: string): string {
  if (signalNumber(text) !== undefined) return text;
  throw usage(`${JSON.stringify(text)} is no signal`, "--stop-signal", "give a name such as SIGTERM, or its number");
}

/** Reads the flags. Throws E_USAGE. */
export function readFlags(flags: BootFlags, cwd: string, host: NodeJS.ProcessEnv): FlagIntent {
  const limits = readLimits(flags);
  const settings = readProcessSettings(flags);
  const confinement = readConfinement(flags);
  return {
    ...confinement,
    mounts: (flags.mount ?? []).map((text) => readMountFlag(text, cwd)),
    environment: (flags.env ?? []).flatMap((text) => readVariable(text, host)),
    namespaces: isolateNamespaces(confinement.isolate, readNamespaces(flags)),
    ...(flags.publish === undefined ? {} : { publish: flags.publish.map((text) => readPublish(text)) }),
    ...(flags.cable === undefined ? {} : { cables: readCableFlags(flags.cable) }),
    ...(settings === undefined ? {} : { settings }),
    ...(limits === undefined ? {} : { limits }),
    idMap: readIdMap(flags),
    ...readUpper(flags),
    ...(flags.workdir === undefined ? {} : { workdir: from(readWorkdir(flags.workdir), "--workdir") }),
    ...(flags.user === undefined ? {} : { user: from(flags.user, "--user") }),
    ...(flags.timeline === undefined ? {} : { timeline: from(resolve(cwd, flags.timeline), "--timeline") }),
    ...(flags.hostname === undefined ? {} : { hostname: from(readHostname(flags.hostname), "--hostname") }),
    ...(flags.detach ? { detached: from(true, "--detach") } : {}),
    ...(flags.tty ? { terminal: from(true, "--tty") } : {}),
    ...(flags.stopSignal === undefined ? {} : { stopSignal: from(readSignal(flags.stopSignal), "--stop-signal") }),
  };
}
