/** registries.conf: where an image is really fetched from (containers-registries.conf(5), …conf.d(5)). */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import { errnoOf, Failure } from "../../base/errors.ts";
import type { Environment } from "./environment.ts";
import { isObject, isStrings, type JsonObject } from "./json.ts";

export interface Mirror {
  location: string;
  insecure: boolean;
  /** Whether it is used for images that are named by digest, and for those named by tag. */
  digests: boolean;
  tags: boolean;
}

export interface RegistryTable {
  prefix: string;
  location: string;
  insecure: boolean;
  blocked: boolean;
  mirrors: Mirror[];
  /** The file that says so. */
  origin: string;
}

export interface RegistriesConf {
  /** Registries that are tried for short names; undefined where no file says. */
  search: string[] | undefined;
  shortNameMode: string;
  aliases: Map<string, string>;
  registries: Map<string, RegistryTable>;
  credentialHelpers: string[];
}

const LARGEST_FILE = 4 << 20;

/** Reads what there is. The reader for TOML is loaded only if there is a file. */
export async function readRegistriesConf(env: Environment): Promise<RegistriesConf | undefined> {
  const files = confFiles(env);
  if (files.length === 0) return undefined;
  const { parse } = await import("smol-toml");
  const conf: RegistriesConf = {
    search: undefined,
    shortNameMode: "permissive",
    aliases: new Map(),
    registries: new Map(),
    credentialHelpers: [],
  };
  for (const path of files) {
    let table: unknown;
    try {
      if (statSync(path).size > LARGEST_FILE) throw invalid("it is too long", path);
      table = parse(readFileSync(path, "utf8"));
    } catch (error) {
      if (error instanceof Failure) throw error;
      const line = (error as { line?: unknown }).line;
      throw invalid(errnoOf(error) ?? "not valid TOML", typeof line === "number" ? `${path}:${line}` : path);
    }
    if (isObject(table)) merge(conf, table, path);
  }
  return conf;
}

const invalid = (what: string, where: string): Failure =>
  new Failure("E_SETTING", `registries.conf cannot be used: ${what}`, {
    where,
    mend: "see containers-registries.conf(5); CONTAINERS_REGISTRIES_CONF=/dev/null does without",
  });

/** CONTAINERS_REGISTRIES_CONF alone; or the user's with the user's drop-ins; or the machine's with all drop-ins. */
function confFiles(env: Environment): string[] {
  const named = env.CONTAINERS_REGISTRIES_CONF;
  if (named) {
    if (existsSync(named)) return [named];
    throw invalid("there is no such file", named);
  }
  const base = env.XDG_CONFIG_HOME || (env.HOME && isAbsolute(env.HOME) ? join(env.HOME, ".config") : undefined);
  const own = base && join(base, "containers/registries.conf");
  const ownDropIns = base ? dropIns(join(base, "containers/registries.conf.d")) : [];
  if (own && existsSync(own)) return [own, ...ownDropIns];
  const main = ["/etc/containers/registries.conf", "/usr/share/containers/registries.conf"].filter(existsSync);
  return [...main.slice(0, 1), ...dropIns("/etc/containers/registries.conf.d"), ...ownDropIns];
}

function dropIns(directory: string): string[] {
  try {
    const names = readdirSync(directory).filter((name) => name.endsWith(".conf"));
    return names.sort().map((name) => join(directory, name));
  } catch {
    return [];
  }
}

/** A later file's settings take the place of earlier ones; its tables, of those with the same prefix. */
function merge(conf: RegistriesConf, table: JsonObject, path: string): void {
  if (isObject(table.registries)) mergeVersion1(conf, table.registries, path);
  const search = table["unqualified-search-registries"];
  if (search !== undefined) conf.search = strings(search, "unqualified-search-registries", path);
  const helpers = table["credential-helpers"];
  if (helpers !== undefined) conf.credentialHelpers = strings(helpers, "credential-helpers", path);
  const mode = table["short-name-mode"];
  if (typeof mode === "string" && mode !== "") conf.shortNameMode = mode;
  for (const [name, value] of Object.entries(isObject(table.aliases) ? table.aliases : {})) {
    if (typeof value !== "string") throw invalid("an alias that is no text", path);
    if (value === "") conf.aliases.delete(name);
    else conf.aliases.set(name, value);
  }
  if (table.registry === undefined) return;
  if (!Array.isArray(table.registry)) throw invalid("registry is written [[registry]]", path);
  for (const item of table.registry) {
    const registry = readRegistry(item, path);
    conf.registries.set(registry.prefix, registry);
  }
}

function strings(value: unknown, key: string, path: string): string[] {
  if (isStrings(value)) return value;
  throw invalid(`${key} is a list of texts`, path);
}

/** The form of before 2019: lists of hosts to search, to trust blindly and to block. */
function mergeVersion1(conf: RegistriesConf, table: JsonObject, path: string): void {
  const list = (key: string) => (isObject(table[key]) && isStrings(table[key].registries) ? table[key].registries : []);
  if (list("search").length > 0) conf.search = list("search");
  for (const prefix of new Set([...list("insecure"), ...list("block")])) {
    const [insecure, blocked] = [list("insecure").includes(prefix), list("block").includes(prefix)];
    conf.registries.set(prefix, { prefix, location: prefix, insecure, blocked, mirrors: [], origin: path });
  }
}

function readRegistry(item: unknown, origin: string): RegistryTable {
  if (!isObject(item)) throw invalid("registry is written [[registry]]", origin);
  const location = text(item.location, "location", origin);
  const prefix = text(item.prefix, "prefix", origin) || location;
  if (prefix === "") throw invalid("a registry without prefix and location", origin);
  if (prefix.includes("*") && !/^\*\.[^*/:@]+$/.test(prefix)) {
    throw invalid("a prefix with * is written *.example.com", origin);
  }
  const byDigest = flag(item["mirror-by-digest-only"], "mirror-by-digest-only", origin);
  if (item.mirror !== undefined && !Array.isArray(item.mirror))
    throw invalid("mirror is written [[registry.mirror]]", origin);
  return {
    prefix,
    location: location || (prefix.startsWith("*.") ? "" : prefix),
    insecure: flag(item.insecure, "insecure", origin),
    blocked: flag(item.blocked, "blocked", origin),
    mirrors: (item.mirror ?? ([] as unknown[])).map((mirror: unknown) => readMirror(mirror, byDigest, origin)),
    origin,
  };
}

function readMirror(item: unknown, byDigest: boolean, origin: string): Mirror {
  const location = isObject(item) ? text(item.location, "location", origin) : "";
  if (!isObject(item) || location === "") throw invalid("a mirror without location", origin);
  const when = text(item["pull-from-mirror"], "pull-from-mirror", origin) || (byDigest ? "digest-only" : "all");
  if (!["all", "digest-only", "tag-only"].includes(when)) {
    throw invalid("pull-from-mirror is all, digest-only or tag-only", origin);
  }
  if (byDigest && when !== "digest-only") throw invalid("pull-from-mirror beside mirror-by-digest-only", origin);
  const insecure = flag(item.insecure, "insecure", origin);
  return { location, insecure, digests: when !== "tag-only", tags: when !== "digest-only" };
}

function text(value: unknown, key: string, path: string): string {
  if (value === undefined) return "";
  if (typeof value !== "string") throw invalid(`${key} is a text`, path);
  return value.replace(/\/+$/, "");
}

function flag(value: unknown, key: string, path: string): boolean {
  if (value === undefined || typeof value === "boolean") return value ?? false;
  throw invalid(`${key} is true or false`, path);
}

/** The table for an image `host/path[:tag|@digest]`: the longest prefix wins. With the length of what it matches. */
export function findTable(conf: RegistriesConf, image: string): { table: RegistryTable; length: number } | undefined {
  let best: { table: RegistryTable; length: number } | undefined;
  for (const table of conf.registries.values()) {
    const length = matchLength(table.prefix, image);
    if (length !== undefined && length > (best?.length ?? 0)) best = { table, length };
  }
  return best;
}

function matchLength(prefix: string, image: string): number | undefined {
  if (prefix.startsWith("*.")) {
    const host = /^[^/:@]*/.exec(image)?.[0] ?? "";
    return host.endsWith(prefix.slice(1)) ? host.length : undefined;
  }
  const next = image[prefix.length];
  const ends = next === undefined || next === "/" || next === ":" || next === "@";
  // A port is no tag: `host` is no prefix of `host:5000/…`.
  const port = next === ":" && !prefix.includes("/");
  return image.startsWith(prefix) && ends && !port ? prefix.length : undefined;
}
