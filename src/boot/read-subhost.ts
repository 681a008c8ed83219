/**
 * From a subhost's configuration to an intent, and to everything that is wrong with it at once. Pure: what the host has
 * is asked of `HostLook`. Defaults and meanings are those of overlay-boot(8).
 */
import { basename, dirname, resolve } from "node:path";
import { Failure } from "../base/errors.ts";
import { signalNumber } from "../base/signals.ts";
import { type CableWords, readCables } from "./cables.ts";
import { type MapWish, parseMap } from "./id-map.ts";
import { from, type Hidden, type Intent, type Subhost, type SubhostInit, type Value } from "./intent.ts";
import type { Assignment, Conf, Mistake, Variable } from "./subhost-conf.ts";

/** What of the host decides whether a configuration can be booted. Paths are followed through symlinks. */
export interface HostLook {
  kind(path: string): "directory" | "file" | undefined;
  /** The path without symlinks. */
  real(path: string): string;
  /** Names the mount that a path lies on. */
  mountOf(path: string): string;
  hasInterface(name: string): boolean;
  /** Names in a directory. */
  names(path: string): readonly string[];
}

/** Which of the three ways gives the root. */
export type RootVariant = "overlay" | "bind" | "as-is";

export interface SubhostConf {
  readonly path: string;
  readonly name: Value<string>;
  readonly base: string;
  readonly live: Value<string>;
  /** An absolute path, or the name of a stored image. */
  readonly lower: Value<{ readonly kind: "path" | "image"; readonly name: string }>;
  readonly upper: Value<string>;
  readonly work: Value<string>;
  readonly variant: RootVariant;
  /** As tmpfs(5) has it; undefined: /run is the root's own. */
  readonly ramSize?: Value<string>;
  readonly shares: readonly Value<string>[];
  readonly log?: Value<string>;
  readonly premount?: Value<string>;
  readonly postmount?: Value<string>;
  readonly init: Value<SubhostInit>;
  readonly patience: Subhost["patience"];
  readonly hide: readonly Hidden[];
  /** What asks pid 1 to bring the subhost down. */
  readonly stopSignal?: Value<string>;
  /** The map of a user namespace of its own. */
  readonly userns?: Value<MapWish>;
  readonly network: Pick<Intent, "cables" | "publish">;
}

export interface Reading {
  /** Undefined where not even the directories are known. */
  readonly subhost?: SubhostConf;
  readonly mistakes: readonly Mistake[];
}

/** Network interfaces are named after it, and the kernel gives those 15 characters. */
const NAME_MAX = 12;
const NAME = /^[A-Za-z0-9_][A-Za-z0-9_.+-]*$/;
const SERVICE = /^[A-Za-z0-9_][A-Za-z0-9_.+@-]*$/;
const SIZE = /^[0-9]+[kKmMgG%]?$/;

/** overlay-boot's own programs, which some name although they are the defaults: they are built in. */
const BUILT_IN: Readonly<Record<string, RegExp>> = {
  INIT: /^(\/var\/lib\/overlay-boot\/)?overlay-init$/,
  PREMOUNT: /^(\/var\/lib\/overlay-boot\/)?overlay-premount$/,
  POSTMOUNT: /^(\/var\/lib\/overlay-(boot|mount)\/)?overlay-postmount$/,
};

/** Seconds. */
const START_PATIENCE = 120;
const STOP_PATIENCE = 15;

/** Where a value that is not given comes from. */
const byDefault = (name: Variable): string => `default of ${name}`;

class Reader {
  readonly mistakes: Mistake[] = [];
  readonly #conf: Conf;
  readonly host: HostLook;

  constructor(conf: Conf, host: HostLook) {
    this.#conf = conf;
    this.host = host;
  }

  wrong(what: string, where: string, mend: string): void {
    this.mistakes.push({ what, where, mend });
  }

  given(name: Variable): Assignment | undefined {
    return this.#conf.assignments.find((one) => one.name === name);
  }

  all(name: Variable): readonly Assignment[] {
    return this.#conf.assignments.filter((one) => one.name === name);
  }

  /** What a command will print is not known before it runs: nothing is checked of it. */
  isKnown(name: Variable): boolean {
    return this.given(name)?.command !== true;
  }

  text(name: Variable): Value<string> | undefined {
    const found = this.given(name);
    return found && from(found.command ? `!${found.value}` : found.value, found.origin);
  }

  /** A command line that is not one of those that are built in. */
  command(name: Variable): Value<string> | undefined {
    const found = this.text(name);
    return found === undefined || BUILT_IN[name]?.test(found.value) ? undefined : found;
  }

  /** A path relative to `base`; what is not there is a mistake. A command that was not run is shown as it is. */
  directory(name: Variable, base: string, fallback: string): Value<string> {
    const found = this.text(name) ?? from(fallback, byDefault(name));
    if (!this.isKnown(name)) return found;
    const path = resolve(base, found.value);
    if (this.host.kind(path) !== "directory")
      this.wrong(`${name} is no directory: ${path}`, found.origin, `make it: mkdir -p ${path}`);
    return from(path, found.origin);
  }

  /** A number of seconds. */
  seconds(name: Variable, fallback: number): number {
    const found = this.text(name);
    if (found === undefined || !this.isKnown(name)) return fallback;
    if (/^[1-9][0-9]{0,4}$/.test(found.value)) return Number(found.value);
    this.wrong(`${name} is no number of seconds: ${found.value}`, found.origin, "write a number from 1 to 86400");
    return fallback;
  }
}

/** Reads a configuration whose commands were run; those that were not are left out of the checks. */
export function readSubhost(conf: Conf, host: HostLook): Reading {
  const reader = new Reader(conf, host);
  const name = readName(reader, conf.path);
  const base = readBase(reader, conf.path);
  const mistakes = () => inOrder([...conf.mistakes, ...reader.mistakes], conf.path);
  if (base === undefined) return { mistakes: mistakes() };
  const directories = readDirectories(reader, base);
  const shares = reader.all("SHARE").map((share) => readShare(reader, share, directories.lower));
  const log = reader.text("LOG");
  const subhost: SubhostConf = {
    path: conf.path,
    name,
    base,
    ...directories,
    ...readRamSize(reader),
    shares: shares.flatMap((share) => share ?? []),
    ...(log === undefined ? {} : { log: from(resolve(base, log.value), log.origin) }),
    ...optional("premount", directories.variant === "as-is" ? undefined : reader.command("PREMOUNT")),
    ...optional("postmount", reader.command("POSTMOUNT")),
    init: readInit(reader),
    patience: {
      start: reader.seconds("START_TIMEOUT", START_PATIENCE),
      stop: reader.seconds("STOP_TIMEOUT", STOP_PATIENCE),
    },
    hide: readHide(reader, directories),
    ...optional("stopSignal", readStopSignal(reader)),
    ...optional("userns", readUserns(reader, directories)),
    network: readNetwork(reader, name),
  };
  return { subhost, mistakes: mistakes() };
}

/** As the lines of the file are; first what is missing in it. */
export function inOrder(mistakes: readonly Mistake[], path: string): readonly Mistake[] {
  const lineOf = ({ where }: Mistake) => (where.startsWith(`${path}:`) ? Number(where.slice(path.length + 1)) : 0);
  return [...mistakes].sort((a, b) => lineOf(a) - lineOf(b));
}

export const optional = <K extends string, T>(key: K, value: T | undefined): { readonly [P in K]?: T } =>
  (value === undefined ? {} : { [key]: value }) as { readonly [P in K]?: T };

function readName(reader: Reader, path: string): Value<string> {
  const name = reader.text("NAME") ?? from(basename(path).replace(/\.conf$/, ""), path);
  if (!reader.isKnown("NAME")) return name;
  if (name.value.length > NAME_MAX)
    reader.wrong(
      `the name ${name.value} has more than ${NAME_MAX} characters`,
      name.origin,
      "choose a shorter one with NAME=",
    );
  else if (!NAME.test(name.value))
    reader.wrong(
      `a subhost cannot be named ${JSON.stringify(name.value)}`,
      name.origin,
      "use A-Z a-z 0-9 _ . + -, beginning with a letter, a digit or _",
    );
  return name;
}

function readBase(reader: Reader, path: string): string | undefined {
  const given = reader.text("BASE");
  if (given === undefined) {
    reader.wrong("BASE is not set", path, "add BASE=. for the directory of the file itself");
    return undefined;
  }
  const base = resolve(dirname(path), given.value);
  if (reader.isKnown("BASE") && reader.host.kind(base) !== "directory") {
    reader.wrong(`BASE is no directory: ${base}`, given.origin, "it is relative to the file's own directory");
    return undefined;
  }
  return base;
}

type Directories = Pick<SubhostConf, "live" | "lower" | "upper" | "work" | "variant">;

const IMAGE = /^image:(.+)$/;

function readDirectories(reader: Reader, base: string): Directories {
  const { host } = reader;
  const live = reader.directory("LIVE", base, "live");
  const upper = reader.directory("UPPER", base, "root");
  const image = IMAGE.exec(reader.text("LOWER")?.value ?? "")?.[1];
  const origin = reader.given("LOWER")?.origin ?? byDefault("LOWER");
  const lower: Directories["lower"] =
    image === undefined
      ? from({ kind: "path", name: reader.directory("LOWER", base, "/").value }, origin)
      : from({ kind: "image", name: image }, origin);
  const same = (a: string, b: string) => a === b || host.real(a) === host.real(b);
  const overlay = lower.value.kind === "image" || !same(upper.value, lower.value.name);
  const variant: RootVariant = overlay ? "overlay" : same(upper.value, live.value) ? "as-is" : "bind";
  for (const { value, origin: where } of [live, upper])
    if (host.real(value) === "/")
      reader.wrong("the host's own root would be changed", where, "choose a directory of its own");
  const work = overlay ? readWork(reader, base, upper) : (reader.text("WORK") ?? from("work", byDefault("WORK")));
  return {
    live,
    upper,
    lower,
    work: reader.isKnown("WORK") ? from(resolve(base, work.value), work.origin) : work,
    variant,
  };
}

/** Overlayfs wants both on one mount, and neither in the other (Documentation/filesystems/overlayfs.rst). */
function readWork(reader: Reader, base: string, upper: Value<string>): Value<string> {
  const { host } = reader;
  const work = reader.directory("WORK", base, "work");
  if (!reader.isKnown("WORK") || !reader.isKnown("UPPER")) return work;
  if (host.kind(work.value) !== "directory" || host.kind(upper.value) !== "directory") return work;
  const [above, below] = [`${host.real(upper.value)}/`, `${host.real(work.value)}/`];
  if (above.startsWith(below) || below.startsWith(above))
    reader.wrong(
      `WORK and UPPER lie in one another: ${work.value}, ${upper.value}`,
      work.origin,
      "choose a WORK outside of UPPER, on the same file system",
    );
  else if (host.mountOf(work.value) !== host.mountOf(upper.value))
    reader.wrong(
      `WORK and UPPER lie on different mounts: ${work.value}, ${upper.value}`,
      work.origin,
      "choose a WORK on the same mount as UPPER",
    );
  return work;
}

/** Undefined for a mistake. */
function readShare(reader: Reader, share: Assignment, lower: Directories["lower"]): Value<string> | undefined {
  const path = `/${share.value.replace(/^\/+|\/+$/g, "")}`;
  if (path.split("/").includes("..") || /^\/(proc|sys|dev)?$/.test(path)) {
    reader.wrong(`SHARE cannot be ${share.value}`, share.origin, "name a directory below LOWER, without ..");
    return undefined;
  }
  if (lower.value.kind === "image") {
    reader.wrong("nothing of an image can be shared", share.origin, "leave SHARE out, or use a directory as LOWER");
    return undefined;
  }
  const source = sourceOf(lower.value.name, path);
  if (reader.isKnown("LOWER") && reader.host.kind(source) === undefined)
    reader.wrong(`SHARE does not exist: ${source}`, share.origin, "check the path: it is one below LOWER");
  return from(path, share.origin);
}

/** A path of the host for one below LOWER. */
export const sourceOf = (lower: string, path: string): string => (lower === "/" ? path : `${lower}${path}`);

function readRamSize(reader: Reader): Pick<SubhostConf, "ramSize"> {
  const size = reader.text("RAM_SIZE") ?? from("50M", byDefault("RAM_SIZE"));
  if (size.value === "none") return {};
  if (reader.isKnown("RAM_SIZE") && !SIZE.test(size.value))
    reader.wrong(`RAM_SIZE is no size: ${size.value}`, size.origin, "write a number such as 50M, or none");
  return { ramSize: size };
}

/** Our own pid 1 knows SIGTERM. Of others systemd is asked like this, sysvinit by SIGPWR, busybox's by SIGUSR2. */
const HALT = "SIGRTMIN+3";

/** With a map real root is nobody to the host's files: command lines of the host would find none that they may change. */
function readUserns(reader: Reader, { variant, upper, work }: Directories): Value<MapWish> | undefined {
  const given = reader.text("USERNS");
  if (given === undefined || given.value === "no" || !reader.isKnown("USERNS")) return undefined;
  for (const name of ["PREMOUNT", "POSTMOUNT", "INIT"] as const) {
    const hook = reader.command(name);
    if (hook !== undefined)
      reader.wrong(
        `${name} cannot be run with USERNS`,
        hook.origin,
        `leave out one of the two: USERNS is ${given.origin}`,
      );
  }
  const known = reader.isKnown("UPPER") && reader.isKnown("WORK");
  if (variant === "overlay" && known && dirname(upper.value) !== dirname(work.value))
    reader.wrong("with USERNS, UPPER and WORK have to lie in one directory", work.origin, "choose a WORK beside UPPER");
  try {
    return from(given.value === "yes" ? "subids" : parseMap(given.value, given.origin), given.origin);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    reader.wrong(error.what, given.origin, "write yes, no, or INSIDE:OUTSIDE:COUNT, such as 0:200000:65536");
    return undefined;
  }
}

function readStopSignal(reader: Reader): Value<string> | undefined {
  const given = reader.text("STOP_SIGNAL");
  if (given === undefined) return reader.given("INIT_SYSTEM") && from(HALT, byDefault("STOP_SIGNAL"));
  if (reader.isKnown("STOP_SIGNAL") && signalNumber(given.value) === undefined)
    reader.wrong(`${given.value} is no signal`, given.origin, "write a name such as SIGPWR or SIGRTMIN+3");
  return given;
}

function readInit(reader: Reader): Value<SubhostInit> {
  const [script, system] = [reader.command("INIT"), reader.text("INIT_SYSTEM")];
  if (script !== undefined && system !== undefined)
    reader.wrong("INIT and INIT_SYSTEM exclude each other", system.origin, `leave one out: INIT is ${script.origin}`);
  if (system !== undefined) {
    if (reader.isKnown("INIT_SYSTEM") && !system.value.startsWith("/"))
      reader.wrong(`INIT_SYSTEM is no absolute path: ${system.value}`, system.origin, "write /sbin/init, say");
    return from({ kind: "system", path: system.value }, system.origin);
  }
  if (script !== undefined) return from({ kind: "script", command: script.value }, script.origin);
  const start = reader.text("START") ?? from("networking ssh", byDefault("START"));
  const names = start.value === "none" ? [] : start.value.split(/\s+/).filter(Boolean);
  const odd = names.find((name) => !SERVICE.test(name));
  if (odd !== undefined && reader.isKnown("START"))
    reader.wrong(
      `${JSON.stringify(odd)} is no service`,
      start.origin,
      "name scripts of /etc/init.d, with blanks between",
    );
  return from({ kind: "services", names }, start.origin);
}

/** Secrets of the host that no other system on it needs. */
const SECRETS = ["/root", "/etc/ssl/private", "/etc/krb5.keytab", "/etc/shadow-", "/etc/gshadow-", "/var/backups"];
const PASSWORDS = ["/etc/shadow", "/etc/gshadow"];

/** Below LOWER=/ the host's secrets are hidden, unless HIDE is none; further paths are hidden anyhow. */
function readHide(reader: Reader, { variant, lower }: Directories): Hidden[] {
  const asked = reader.text("HIDE");
  const words = asked === undefined || !reader.isKnown("HIDE") ? [] : asked.value.split(/\s+/);
  const origin = asked?.origin ?? byDefault("HIDE");
  if (asked?.value === "none") return [];
  if (variant !== "overlay") {
    if (asked !== undefined)
      reader.wrong("HIDE needs an overlay", origin, "leave it out: this root has nothing of another one below it");
    return [];
  }
  const odd = words.find((word) => !/^(\/[^/]+)+$/.test(word) || /\/\.{1,2}(\/|$)/.test(word));
  if (odd !== undefined)
    reader.wrong(`HIDE cannot be ${odd}`, origin, "write absolute paths without .., with blanks between, or none");
  const host = lower.value.kind === "path" && reader.host.real(lower.value.name) === "/";
  const keys = reader.host.names("/etc/ssh").filter((name) => name.startsWith("ssh_host_"));
  return [
    ...(host ? PASSWORDS.map((path) => ({ path, lock: true as const, origin })) : []),
    ...(host ? [...SECRETS, ...keys.map((name) => `/etc/ssh/${name}`)].map((path) => ({ path, origin })) : []),
    ...words.filter((word) => word !== odd && !(host && SECRETS.includes(word))).map((path) => ({ path, origin })),
  ];
}

const NETWORK = {
  ...{ cables: "CABLES", address: "ADDRESS", gateway: "GATEWAY", hostAddress: "HOST_ADDRESS", mtu: "MTU" },
  ...{ bandwidth: "BANDWIDTH", nat: "NAT", antispoof: "ANTISPOOF", resolver: "RESOLVER", publish: "PUBLISH" },
} as const satisfies Record<keyof CableWords, Variable>;

/** The network namespace has the subhost's name, with cables or without. */
function readNetwork(reader: Reader, name: Value<string>): SubhostConf["network"] {
  const known = Object.entries(NETWORK).filter(([, variable]) => reader.isKnown(variable));
  const words = Object.fromEntries(
    known.map(([key, variable]) => [key, reader.text(variable)]).filter(([, one]) => one),
  );
  const { cables, publish, mistakes } = readCables(words as CableWords);
  for (const { what, where = "", mend = "" } of mistakes) reader.wrong(what, where, mend);
  for (const { bridge, host, origin } of cables.cables)
    if (bridge !== undefined && host.length === 0 && !reader.host.hasInterface(bridge))
      reader.wrong(
        `there is no bridge ${bridge}`,
        origin,
        `make it (ip link add ${bridge} type bridge), or have it made with HOST_ADDRESS=10.9.0.1/24`,
      );
  return { cables: { ...cables, name }, ...(publish.length > 0 ? { publish } : {}) };
}
