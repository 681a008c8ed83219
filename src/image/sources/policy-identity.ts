/** Whose name has to be in a signature: `signedIdentity`, and the scopes of names (containers-policy.json(5)). */
import type { Failure } from "../../base/errors.ts";
import { escapeText } from "../../base/text.ts";
import { publicHost } from "./endpoints.ts";
import { isObject, type JsonObject } from "./json.ts";
import { type DockerReference, parseSource } from "./reference.ts";

/** A name in full: docker.io/library/debian, and what of it is meant. */
interface FullName {
  /** Host and repository. */
  readonly repository: string;
  /** `:TAG` or `@DIGEST`; empty where there is neither. */
  readonly suffix: string;
}

export type IdentityRule =
  | { readonly type: "matchExact" | "matchRepoDigestOrExact" | "matchRepository" }
  | { readonly type: "exactReference" | "exactRepository"; readonly name: FullName }
  | { readonly type: "remapIdentity"; readonly prefix: string; readonly signedPrefix: string };

/** The rule as policy.json has it; matchRepoDigestOrExact where it says nothing. Throws what `fail` makes. */
export function readIdentityRule(value: unknown, fail: (what: string) => Failure): IdentityRule {
  if (value === undefined) return { type: "matchRepoDigestOrExact" };
  if (!isObject(value)) throw fail("signedIdentity is an object");
  const { type } = value;
  switch (type) {
    case "matchExact":
    case "matchRepoDigestOrExact":
    case "matchRepository":
      texts(value, [], fail);
      return { type };
    case "exactReference":
    case "exactRepository": {
      const key = type === "exactReference" ? "dockerReference" : "dockerRepository";
      const [text = ""] = texts(value, [key], fail);
      const name = fullName(text);
      if (name === undefined || (name.suffix === "") !== (type === "exactRepository")) {
        throw fail(
          `${key} is not a name ${type === "exactReference" ? "with tag or digest" : "without tag and digest"}`,
        );
      }
      return { type, name };
    }
    case "remapIdentity": {
      const [prefix = "", signedPrefix = ""] = texts(value, ["prefix", "signedPrefix"], fail);
      return { type, prefix, signedPrefix };
    }
    default:
      throw fail(`signedIdentity of the unknown type ${escapeText(JSON.stringify(type)?.slice(0, 100) ?? "none")}`);
  }
}

/** The values of exactly these keys, besides the type. */
function texts(value: JsonObject, keys: readonly string[], fail: (what: string) => Failure): string[] {
  const wrong = Object.keys(value).find((key) => key !== "type" && !keys.includes(key));
  if (wrong !== undefined) throw fail(`signedIdentity has the unknown key ${escapeText(wrong.slice(0, 100))}`);
  return keys.map((key) => {
    const text = value[key];
    if (typeof text !== "string" || text === "") throw fail(`signedIdentity without ${key}`);
    return text;
  });
}

/** A name as it is written, in full; undefined for what is none, or names both a tag and a digest. */
function fullName(text: string): FullName | undefined {
  try {
    // A user of a registry is no part of a name; a # is rootling's own way of writing.
    const digest = /@sha256:[0-9a-f]{64}$/.exec(text)?.[0] ?? "";
    const rest = text.slice(0, text.length - digest.length);
    if (/[@#]/.test(rest)) return undefined;
    const reference = parseSource(`docker://${text}`);
    if (reference.kind !== "docker") return undefined;
    const tag = /:[^/:]*$/.exec(rest.slice(rest.indexOf("/") + 1))?.[0] ?? "";
    if (tag !== "" && digest !== "") return undefined;
    return { repository: repositoryOf(reference), suffix: `${tag}${digest}` };
  } catch {
    return undefined;
  }
}

const repositoryOf = ({ registry, name }: DockerReference): string => `${publicHost(registry)}/${name}`;

/** What identifies the image: a digest counts before a tag, since it says more. */
function nameOf(reference: DockerReference): FullName {
  const { tag, digest } = reference;
  return { repository: repositoryOf(reference), suffix: digest === undefined ? `:${tag ?? "latest"}` : `@${digest}` };
}

/**
 * The scopes that hold for an image of a registry, the narrowest first: the image, its repository, each namespace above
 * it, the host, and for each of the host's domains `*.DOMAIN`.
 */
export function scopesOf(reference: DockerReference): string[] {
  const { repository, suffix } = nameOf(reference);
  const steps = repository.split("/");
  const namespaces = steps.map((_, index) => steps.slice(0, steps.length - index).join("/"));
  // A port is no part of a domain.
  const labels = (steps[0] ?? "").replace(/:.*$/, "").split(".");
  const domains = labels.slice(1).map((_, index) => `*.${labels.slice(index + 1).join(".")}`);
  return [`${repository}${suffix}`, ...namespaces, ...domains];
}

/** Whether a signature for the name `signed` may stand for the image `reference`. */
export function identityAllows(rule: IdentityRule, reference: DockerReference, signed: string): boolean {
  const claim = fullName(signed);
  if (claim === undefined) return false;
  const image = nameOf(reference);
  switch (rule.type) {
    case "matchExact":
      return same(image, claim);
    case "matchRepoDigestOrExact":
      return sameOrByDigest(image, claim);
    case "matchRepository":
      return image.repository === claim.repository;
    case "exactReference":
      return same(rule.name, claim);
    case "exactRepository":
      return rule.name.repository === claim.repository;
    case "remapIdentity":
      return sameOrByDigest({ ...image, repository: remapped(rule, image.repository) }, claim);
  }
}

const same = (one: FullName, other: FullName): boolean =>
  one.repository === other.repository && one.suffix === other.suffix;

/** An image that is named by its digest may be signed under any tag of its repository. */
const sameOrByDigest = (image: FullName, claim: FullName): boolean =>
  image.suffix.startsWith("@") ? image.repository === claim.repository : same(image, claim);

function remapped({ prefix, signedPrefix }: { prefix: string; signedPrefix: string }, repository: string): string {
  const rest = repository.slice(prefix.length);
  return repository.startsWith(prefix) && (rest === "" || rest.startsWith("/")) ? `${signedPrefix}${rest}` : repository;
}
