/** The files of containers-auth.json(5) and docker's config.json: who logged in where. */
import { readFileSync, statSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import { errnoOf, Failure } from "../../base/errors.ts";
import { askHelper } from "./credential-helper.ts";
import type { CredentialContext, Credentials, Wanted } from "./credentials.ts";
import type { RegistryOptions } from "./environment.ts";
import { isObject, type JsonObject } from "./json.ts";

interface AuthFile {
  path: string;
  /** A missing file is an error: the user named it. */
  required?: boolean;
  /** ~/.dockercfg: the entries stand at the top. */
  legacy?: boolean;
}

const LARGEST_FILE = 1 << 20;

/** Docker Hub's names. `docker login` writes it as an address of its first version. */
const HUB = "docker.io";
const HUB_NAMES = ["docker.io", "index.docker.io", "registry-1.docker.io"];
const HUB_SERVER = "https://index.docker.io/v1/";

/**
 * The files in the order of containers-auth.json(5): REGISTRY_AUTH_FILE alone, or the one of the session, the one of
 * the user, docker's two, and root's of the machine.
 */
export function authFiles({ env, uid }: RegistryOptions): AuthFile[] {
  if (env.REGISTRY_AUTH_FILE) return [{ path: env.REGISTRY_AUTH_FILE, required: true }];
  const home = env.HOME && isAbsolute(env.HOME) ? env.HOME : undefined;
  const runtime = env.XDG_RUNTIME_DIR ? join(env.XDG_RUNTIME_DIR, "containers") : `/run/containers/${uid}`;
  const config = env.XDG_CONFIG_HOME || (home && join(home, ".config"));
  const docker = env.DOCKER_CONFIG || (home && join(home, ".docker"));
  return [
    { path: join(runtime, "auth.json") },
    ...(config ? [{ path: join(config, "containers/auth.json") }] : []),
    ...(docker ? [{ path: join(docker, "config.json") }] : []),
    ...(home ? [{ path: join(home, ".dockercfg"), legacy: true }] : []),
    ...(uid === 0 ? [{ path: "/etc/containers/auth.json" }] : []),
  ];
}

/** What the file says about the registry: a helper for it, the entry of the longest namespace, or its general store. */
export async function findInFile(
  file: AuthFile,
  wanted: Wanted,
  context: CredentialContext,
): Promise<Credentials | undefined> {
  const json = readAuthFile(file);
  if (json === undefined) return undefined;
  const names = wanted.host === HUB ? HUB_NAMES : [wanted.host];
  const helpers = isObject(json.credHelpers) ? json.credHelpers : {};
  for (const name of [...names, ...(wanted.host === HUB ? [HUB_SERVER] : [])]) {
    const helper = Object.hasOwn(helpers, name) ? helpers[name] : undefined;
    if (typeof helper === "string" && helper !== "") return askHelper(helper, name, context);
  }
  const auths = file.legacy ? json : json.auths;
  const entry = isObject(auths) ? findEntry(auths, names, wanted.repository) : undefined;
  const found = entry && decodeEntry(entry, file.path);
  if (found !== undefined) return found;
  // Docker's one store for everything. It writes an empty entry for each registry that it keeps credentials of.
  if (typeof json.credsStore !== "string" || json.credsStore === "") return undefined;
  return askHelper(json.credsStore, wanted.host === HUB ? HUB_SERVER : wanted.host, context);
}

function readAuthFile({ path, required }: AuthFile): JsonObject | undefined {
  // What JSON.parse says quotes the text, which holds secrets: neither its words nor the cause are passed on.
  const fail = (what: string) =>
    new Failure("E_SETTING", `the file of credentials ${what}`, { where: path, mend: "repair it, or log in anew" });
  let text: string;
  try {
    if (statSync(path).size > LARGEST_FILE) throw fail("is too long");
    text = readFileSync(path, "utf8");
  } catch (error) {
    if (error instanceof Failure) throw error;
    const errno = errnoOf(error);
    if (!required && (errno === "ENOENT" || errno === "ENOTDIR" || errno === "EACCES")) return undefined;
    throw fail(`cannot be read (${errno})`);
  }
  try {
    const json: unknown = JSON.parse(text);
    if (isObject(json)) return json;
  } catch {
    // Told below.
  }
  throw fail("is not valid JSON");
}

/** `host/a/b/c`, `host/a/b`, `host/a`, `host`; then keys that are addresses, as docker wrote them for some years. */
function findEntry(
  auths: JsonObject,
  names: readonly string[],
  repository: string | undefined,
): JsonObject | undefined {
  const parts = repository?.split("/") ?? [];
  for (let length = parts.length; length >= 0; length--) {
    for (const name of names) {
      const key = [name, ...parts.slice(0, length)].join("/");
      const entry = Object.hasOwn(auths, key) ? auths[key] : undefined;
      if (isObject(entry)) return entry;
    }
  }
  for (const [key, entry] of Object.entries(auths)) {
    const host = /^https?:\/\/([^/]+)/.exec(key)?.[1];
    if (host !== undefined && names.includes(host) && isObject(entry)) return entry;
  }
  return undefined;
}

function decodeEntry(entry: JsonObject, origin: string): Credentials | undefined {
  if (typeof entry.identitytoken === "string" && entry.identitytoken !== "") {
    return { kind: "identity", token: entry.identitytoken, origin };
  }
  const text = typeof entry.auth === "string" ? Buffer.from(entry.auth, "base64").toString("utf8") : "";
  const colon = text.indexOf(":");
  // Docker has padded passwords with NUL.
  if (colon > 0) {
    return {
      kind: "password",
      user: text.slice(0, colon),
      password: text.slice(colon + 1).replace(/\0+$/, ""),
      origin,
    };
  }
  const { username, password } = entry;
  if (typeof username !== "string" || typeof password !== "string" || username === "") return undefined;
  return { kind: "password", user: username, password, origin };
}
