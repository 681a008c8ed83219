/** Settings of the payload's process and of its namespaces: words, and their ops. Pure. */
import { Failure } from "../base/errors.ts";
import { type Op, op } from "../plan/plan.ts";
import { from, type NamespaceKind, type NamespaceWish, type Value } from "./intent.ts";

export interface Ulimit {
  /** As in limits.conf(5). */
  readonly name: string;
  /** Whole numbers, or `unlimited`. */
  readonly soft: string;
  readonly hard: string;
  readonly origin: string;
}

export interface Sysctl {
  /** Such as net.ipv4.ip_forward. */
  readonly key: string;
  readonly value: string;
  readonly origin: string;
}

export interface ProcessSettings {
  readonly ulimits: readonly Ulimit[];
  readonly sysctls: readonly Sysctl[];
  /** Octal. */
  readonly umask?: Value<string>;
  /** -1000 to 1000 (proc(5)). */
  readonly oomScoreAdj?: Value<number>;
  /** -20 to 19. */
  readonly nice?: Value<number>;
}

export interface ProcessFlags {
  readonly ulimit?: readonly string[];
  readonly sysctl?: readonly string[];
  readonly umask?: string;
  readonly oomScoreAdj?: string;
  readonly nice?: string;
}

const ULIMITS = "as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack";

const wrong = (flag: string, text: string, mend: string): Failure =>
  new Failure("E_USAGE", `${flag} cannot be ${JSON.stringify(text)}`, { where: flag, mend });

/** `NAME=SOFT[:HARD]`. Throws E_USAGE. */
function readUlimit(text: string): Ulimit {
  const match = /^([a-z]+)=([0-9]{1,19}|unlimited|-1)(?::([0-9]{1,19}|unlimited|-1))?$/.exec(text);
  const [, name = "", soft = "", hard = soft] = match ?? [];
  const plain = (limit: string) => (limit === "-1" ? "unlimited" : limit);
  const size = (limit: string) => (plain(limit) === "unlimited" ? Number.POSITIVE_INFINITY : Number(limit));
  if (match === null || !ULIMITS.split(" ").includes(name) || size(soft) > size(hard)) {
    throw wrong("--ulimit", text, `write NAME=SOFT[:HARD], such as nofile=1024:4096, with a NAME of ${ULIMITS}`);
  }
  return { name, soft: plain(soft), hard: plain(hard), origin: "--ulimit" };
}

/** `KEY=VALUE`. Throws E_USAGE. */
function readSysctl(text: string): Sysctl {
  const [, key = "", value = ""] = /^([a-z0-9_-]+(?:[./][A-Za-z0-9_-]+)+)=(.*)$/s.exec(text) ?? [];
  if (key === "") throw wrong("--sysctl", text, "write KEY=VALUE, such as net.ipv4.ip_forward=1");
  return { key: key.replaceAll("/", "."), value, origin: "--sysctl" };
}

function readWhole(text: string | undefined, flag: string, least: number, most: number): Value<number> | undefined {
  if (text === undefined) return undefined;
  const value = /^[-+]?[0-9]{1,4}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= least && value <= most) return from(value, flag);
  throw wrong(flag, text, `write a whole number from ${least} to ${most}`);
}

function readUmask(text: string | undefined): Value<string> | undefined {
  if (text === undefined) return undefined;
  if (/^0?[0-7]{1,3}$/.test(text)) return from(text, "--umask");
  throw wrong("--umask", text, "write it in octal, such as 027");
}

/** Reads the flags; undefined where there are none. Throws E_USAGE. */
export function readProcessSettings(flags: ProcessFlags): ProcessSettings | undefined {
  const { ulimit = [], sysctl = [] } = flags;
  const umask = readUmask(flags.umask);
  const oomScoreAdj = readWhole(flags.oomScoreAdj, "--oom-score-adj", -1000, 1000);
  const nice = readWhole(flags.nice, "--nice", -20, 19);
  const scalars = {
    ...(umask === undefined ? {} : { umask }),
    ...(oomScoreAdj === undefined ? {} : { oomScoreAdj }),
    ...(nice === undefined ? {} : { nice }),
  };
  if (Object.keys(scalars).length + ulimit.length + sysctl.length === 0) return undefined;
  return { ulimits: ulimit.map(readUlimit), sysctls: sysctl.map(readSysctl), ...scalars };
}

/** Sysctls of a namespace (namespaces(7), sysctl(2)); all others are the machine's. */
const NAMESPACED: readonly (readonly [RegExp, NamespaceKind])[] = [
  [/^net\./, "net"],
  [/^kernel\.(msg|shm)[a-z_]*$|^kernel\.sem$|^fs\.mqueue\./, "ipc"],
  [/^kernel\.(hostname|domainname)$/, "uts"],
];

function lowerSysctl({ key, value, origin }: Sysctl, wishOf: (kind: NamespaceKind) => NamespaceWish | undefined): Op {
  const kind = NAMESPACED.find(([pattern]) => pattern.test(key))?.[1];
  if (kind === undefined) {
    throw new Failure("E_CONFLICT", `${key} belongs to the whole machine, not to a container`, {
      where: origin,
      mend: "leave it out; sysctls of containers are net.*, fs.mqueue.*, kernel.msg*, kernel.shm*, kernel.sem, kernel.hostname and kernel.domainname",
    });
  }
  const wish = wishOf(kind);
  if (wish !== "private" && wish !== "user") {
    throw new Failure(
      "E_CONFLICT",
      `${key} would change ${wish === undefined || wish === "host" ? "the host" : wish}`,
      {
        where: origin,
        mend: `give the container a namespace of its own with --${kind}`,
      },
    );
  }
  // An interface's name may hold a dot, which sysctl(8) writes as a slash; here all dots were slashes.
  return op("sysctl", origin, key.replaceAll(".", "/"), value);
}

export interface LoweredSettings {
  /** Outside, before everything. */
  readonly first: readonly Op[];
  /** Inside, as soon as the namespaces are made. */
  readonly namespaces: readonly Op[];
  /** Inside, once the user is taken on. */
  readonly payload: readonly Op[];
}

/** `wishOf`: what was asked for of a kind of namespace. Throws E_CONFLICT for sysctls that are not the container's own. */
export function lowerSettings(
  settings: ProcessSettings | undefined,
  wishOf: (kind: NamespaceKind) => NamespaceWish | undefined,
): LoweredSettings {
  const { ulimits = [], sysctls = [], umask, oomScoreAdj, nice } = settings ?? {};
  return {
    first: oomScoreAdj === undefined ? [] : [op("oom-score-adj", oomScoreAdj.origin, String(oomScoreAdj.value))],
    namespaces: sysctls.map((sysctl) => lowerSysctl(sysctl, wishOf)),
    payload: [
      ...(umask === undefined ? [] : [op("umask", umask.origin, umask.value)]),
      ...(nice === undefined ? [] : [op("nice", nice.origin, String(nice.value))]),
      ...ulimits.map(({ name, soft, hard, origin }) => op("ulimit", origin, name, soft, hard)),
    ],
  };
}
