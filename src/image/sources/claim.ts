/** What a signature of an image says, in either kind: "this name stands for this digest" (cosign; containers/image). */
import { escapeText } from "../../base/text.ts";
import type { Digest } from "../types.ts";
import { isObject, type JsonObject, parseJson } from "./json.ts";
import { type IdentityRule, identityAllows } from "./policy-identity.ts";
import type { DockerReference } from "./reference.ts";

/** The kinds: of sigstore, and of simple signing. */
export type ClaimType = "cosign container image signature" | "atomic container signature";

/**
 * Why signed words do not stand for the image that they were found for; undefined where they do. They have to be exactly
 * those of the specification, since a reader that knows fewer would miss what they mean.
 */
export function claimRefusal(
  payload: Buffer,
  type: ClaimType,
  of: Digest,
  { identity, reference }: { identity: IdentityRule; reference: DockerReference },
): string | undefined {
  const claim = readClaim(payload, type);
  if (claim === undefined) return "what is signed is no signature of an image";
  if (claim.digest !== of) return "what is signed is another image";
  if (identityAllows(identity, reference, claim.reference)) return undefined;
  return `it is signed as ${escapeText(claim.reference.slice(0, 300))}`;
}

function readClaim(payload: Buffer, type: ClaimType): { digest: string; reference: string } | undefined {
  let json: JsonObject;
  try {
    json = parseJson(payload, "signature");
  } catch {
    return undefined;
  }
  const { critical, optional } = json;
  const isCosign = type === "cosign container image signature";
  // Cosign has null where there is nothing optional.
  if (!hasExactly(json, "critical", "optional") || !(isObject(optional) || (optional === null && isCosign))) return;
  if (!hasExactly(critical, "identity", "image", "type") || critical.type !== type) return undefined;
  const { identity, image } = critical;
  if (!hasExactly(identity, "docker-reference") || !hasExactly(image, "docker-manifest-digest")) return undefined;
  const [reference, digest] = [identity["docker-reference"], image["docker-manifest-digest"]];
  return typeof reference === "string" && typeof digest === "string" ? { digest, reference } : undefined;
}

const hasExactly = (value: unknown, ...keys: string[]): value is JsonObject =>
  isObject(value) && Object.keys(value).length === keys.length && keys.every((key) => Object.hasOwn(value, key));
