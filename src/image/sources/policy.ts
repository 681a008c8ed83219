/**
 * policy.json: which images are accepted (containers-policy.json(5)). Its readers are strict, and so is this one: what
 * is not understood makes the whole file void, and with it every import, rather than being passed over.
 */
import { existsSync, readFileSync, statSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import { errnoOf, Failure } from "../../base/errors.ts";
import { escapeText } from "../../base/text.ts";
import type { Environment } from "./environment.ts";
import { isObject, isStrings, type JsonObject, parseJson } from "./json.ts";
import { type IdentityRule, readIdentityRule } from "./policy-identity.ts";

/** Where a public key is: a file, or the policy itself. */
export type KeySource = { readonly path: string } | { readonly bytes: Buffer };

/** Signed by one of the keys, for an identity that the rule allows: in sigstore's way, or by GnuPG. */
export interface SignedRequirement {
  readonly type: "sigstoreSigned" | "signedBy";
  readonly keys: readonly KeySource[];
  readonly identity: IdentityRule;
}

/** What an image has to fulfil. */
export type Requirement =
  | { readonly type: "insecureAcceptAnything" }
  | { readonly type: "reject" }
  | SignedRequirement
  /** Known to the manual page, and not to us: `what` says so. No image fulfils it. */
  | { readonly type: "unsupported"; readonly what: string };

/** The requirements that hold for an image, all of them at once. */
export interface Ruling {
  readonly requirements: readonly Requirement[];
  /** The file, and which part of it decides. */
  readonly where: string;
}

export interface Policy {
  readonly file: string;
  readonly fallback: readonly Requirement[];
  /** By transport, then by scope. */
  readonly transports: ReadonlyMap<string, ReadonlyMap<string, readonly Requirement[]>>;
}

const LARGEST_FILE = 4 << 20;
const SYSTEM_FILE = "/etc/containers/policy.json";

/** Reads the user's file, else the machine's. Undefined where there is none: then everything is accepted. */
export function readPolicy(env: Environment): Policy | undefined {
  const own = env.HOME && isAbsolute(env.HOME) ? join(env.HOME, ".config/containers/policy.json") : undefined;
  const file = [...(own === undefined ? [] : [own]), SYSTEM_FILE].find((path) => existsSync(path));
  if (file === undefined) return undefined;
  let bytes: Buffer;
  try {
    if (statSync(file).size > LARGEST_FILE) throw invalid("it is too long", file);
    bytes = readFileSync(file);
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw invalid(errnoOf(error) ?? "it cannot be read", file);
  }
  return parsePolicy(bytes, file);
}

const invalid = (what: string, where: string): Failure =>
  new Failure("E_SETTING", `policy.json cannot be used: ${what}`, { where, mend: "see containers-policy.json(5)" });

/** Throws E_SETTING. `file` is named in failures. */
export function parsePolicy(bytes: Buffer, file: string): Policy {
  const fail = (what: string) => invalid(what, file);
  const top = readObject(bytes, file);
  onlyKeys(top, ["default", "transports"], "the policy", fail);
  const transports = new Map<string, Map<string, Requirement[]>>();
  const given = top.transports ?? {};
  if (!isObject(given)) throw fail("transports is no object");
  for (const [transport, scopes] of Object.entries(given)) {
    if (!isObject(scopes)) throw fail(`${escapeText(transport.slice(0, 100))} is no object of scopes`);
    const lists = Object.entries(scopes).map(([scope, list]) => [scope, readRequirements(list, fail)] as const);
    transports.set(transport, new Map(lists));
  }
  if (top.default === undefined) throw fail("default is missing");
  return { file, fallback: readRequirements(top.default, fail), transports };
}

function readObject(bytes: Buffer, file: string): JsonObject {
  try {
    return parseJson(bytes, file);
  } catch (error) {
    throw error instanceof Failure ? invalid(error.what, file) : error;
  }
}

type Fail = (what: string) => Failure;

function onlyKeys(object: JsonObject, known: readonly string[], what: string, fail: Fail): void {
  const unknown = Object.keys(object).find((key) => !known.includes(key));
  if (unknown !== undefined) throw fail(`${what} has the unknown key ${escapeText(unknown.slice(0, 100))}`);
}

function readRequirements(list: unknown, fail: Fail): Requirement[] {
  if (!Array.isArray(list) || list.length === 0) throw fail("requirements are a list that is not empty");
  return list.map((item: unknown) => readRequirement(item, fail));
}

function readRequirement(item: unknown, fail: Fail): Requirement {
  if (!isObject(item)) throw fail("a requirement is an object");
  const { type } = item;
  switch (type) {
    case "insecureAcceptAnything":
    case "reject":
      onlyKeys(item, ["type"], type, fail);
      return { type };
    case "sigstoreSigned":
      return readSigstore(item, fail);
    case "signedBy":
      return readSignedBy(item, fail);
    case "signedBaseLayer":
      return { type: "unsupported", what: `${type}, which is not supported` };
    default:
      throw fail(`a requirement of the unknown type ${escapeText(JSON.stringify(type)?.slice(0, 100) ?? "none")}`);
  }
}

const KEYS = ["keyPath", "keyPaths", "keyData", "keyDatas"] as const;
/** Keys that are bound to certificates, or signatures to a public log. */
const BEYOND = [
  ...["fulcio", "pki", "rekorPublicKeyPath", "rekorPublicKeyPaths", "rekorPublicKeyData", "rekorPublicKeyDatas"],
];

function readSigstore(item: JsonObject, fail: Fail): Requirement {
  onlyKeys(item, ["type", "signedIdentity", ...KEYS, ...BEYOND], "sigstoreSigned", fail);
  const identity = readIdentityRule(item.signedIdentity, fail);
  const beyond = BEYOND.find((key) => item[key] !== undefined);
  if (beyond !== undefined) {
    return { type: "unsupported", what: `sigstoreSigned with ${beyond}, which is not supported` };
  }
  return { type: "sigstoreSigned", keys: readKeySources(item, KEYS, fail), identity };
}

function readSignedBy(item: JsonObject, fail: Fail): Requirement {
  const known = KEYS.filter((key) => key !== "keyDatas");
  onlyKeys(item, ["type", "keyType", "signedIdentity", ...known], "signedBy", fail);
  const identity = readIdentityRule(item.signedIdentity, fail);
  const keys = readKeySources(item, known, fail);
  // The others are in the format alone: nobody has ever verified by them.
  if (item.keyType !== "GPGKeys")
    return { type: "unsupported", what: "signedBy without GPGKeys, which is not supported" };
  return { type: "signedBy", keys, identity };
}

function readKeySources(item: JsonObject, known: readonly (typeof KEYS)[number][], fail: Fail): KeySource[] {
  const given = known.filter((key) => item[key] !== undefined);
  const [kind] = given;
  if (kind === undefined || given.length > 1) throw fail(`${item.type} has exactly one of ${known.join(", ")}`);
  const value = item[kind];
  const texts = kind === "keyPath" || kind === "keyData" ? [value] : value;
  if (!isStrings(texts) || texts.length === 0 || texts.includes("")) throw fail(`${kind} is empty, or no text`);
  return texts.map((text) => (kind.startsWith("keyPath") ? { path: text } : { bytes: bytesOf(text, fail) }));
}

function bytesOf(text: string, fail: Fail): Buffer {
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text)) throw fail("keyData is not base64");
  return Buffer.from(text, "base64");
}

/** What the policy asks of an image: the first of `scopes` that it has decides, else its transport, else the default. */
export function ruling(policy: Policy, transport: string, scopes: readonly string[]): Ruling {
  const own = policy.transports.get(transport);
  for (const scope of [...scopes, ""]) {
    const requirements = own?.get(scope);
    if (requirements === undefined) continue;
    return { requirements, where: `${policy.file}: transports.${transport}${scope === "" ? "" : `: ${scope}`}` };
  }
  return { requirements: policy.fallback, where: `${policy.file}: default` };
}
