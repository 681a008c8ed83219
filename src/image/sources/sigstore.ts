/**
 * Signatures of sigstore by a key, as cosign keeps them in a registry: an image with the tag `sha256-HEX.sig`, whose
 * layers are payloads and whose annotations are the signatures over them (cosign, specs/SIGNATURE_SPEC.md).
 */
import type { KeyObject } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { errnoOf, Failure } from "../../base/errors.ts";
import { escapeText } from "../../base/text.ts";
import { digestHex, parseDigest } from "../digest.ts";
import { tooLarge } from "../limits.ts";
import type { BlobInfo, Digest } from "../types.ts";
import { isObject, type JsonObject, manifestFailure, parseJson } from "./json.ts";
import type { KeySource } from "./policy.ts";
import { type IdentityRule, identityAllows } from "./policy-identity.ts";
import type { DockerReference } from "./reference.ts";
import type { Repository } from "./registry.ts";
import type { Repositories } from "./repositories.ts";

const PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json";
const ANNOTATION = "dev.cosignproject.cosign/signature";
const PAYLOAD_TYPE = "cosign container image signature";

/** Signatures of one image: each costs a request. */
const MOST_SIGNATURES = 100;
const LARGEST_PAYLOAD = 1 << 20;
const LARGEST_KEY = 64 << 10;

/** A signature as it was found. Nothing of it is verified but the payload's digest. */
export interface Signature {
  /** What it was found for. */
  readonly of: Digest;
  readonly payload: Buffer;
  /** Base64. */
  readonly signature: string;
}

/** The signatures that a registry has for any of these documents. */
export async function signaturesOf(repositories: Repositories, digests: readonly Digest[]): Promise<Signature[]> {
  const found: Signature[] = [];
  for (const digest of digests) {
    const there = await repositories.find((repository) => signaturesIn(repository, digest));
    found.push(...(there ?? []));
  }
  return found;
}

async function signaturesIn(repository: Repository, digest: Digest): Promise<Signature[]> {
  const tag = `sha256-${digestHex(digest)}.sig`;
  const { bytes } = await repository.manifest(tag);
  const found: Signature[] = [];
  for (const { blob, signature } of attachments(parseJson(bytes, tag), tag)) {
    found.push({ of: digest, payload: await repository.smallBlob(blob, LARGEST_PAYLOAD), signature });
  }
  return found;
}

function attachments(json: JsonObject, where: string): { blob: BlobInfo; signature: string }[] {
  if (!Array.isArray(json.layers)) throw manifestFailure("signatures without list", where);
  if (json.layers.length > MOST_SIGNATURES) throw tooLarge(`an image of ${json.layers.length} signatures`, where);
  return json.layers.flatMap((layer: unknown) => {
    const annotations = isObject(layer) && isObject(layer.annotations) ? layer.annotations : {};
    const signature = annotations[ANNOTATION];
    // Attestations and whatever else lies there are no signatures.
    if (!isObject(layer) || layer.mediaType !== PAYLOAD || typeof signature !== "string") return [];
    const { size } = layer;
    if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0 || size > LARGEST_PAYLOAD) {
      throw manifestFailure("a signature without valid size", where);
    }
    return [{ blob: { digest: parseDigest(layer.digest, where), size }, signature }];
  });
}

/** The public keys of a requirement. Throws E_SETTING where one cannot be read: it is not passed over. */
export function readKeys(sources: readonly KeySource[], where: string): KeyObject[] {
  const { createPublicKey } = process.getBuiltinModule("node:crypto");
  return sources.map((source) => {
    const origin = "path" in source ? source.path : where;
    const fail = (what: string) =>
      new Failure("E_SETTING", `a key of policy.json cannot be used: ${what}`, {
        where: origin,
        mend: "it is the PEM text of a public key, such as cosign.pub",
      });
    const pem = "path" in source ? readKeyFile(source.path, fail) : source.pem;
    // Node would take a private key or a certificate as well.
    if (!/^\s*-----BEGIN (?:RSA )?PUBLIC KEY-----/.test(pem)) throw fail("it is no public key");
    try {
      const key = createPublicKey(pem);
      if (["ec", "rsa", "ed25519"].includes(key.asymmetricKeyType ?? "")) return key;
    } catch {
      throw fail("it is damaged");
    }
    throw fail("it is of a kind that is not supported");
  });
}

function readKeyFile(path: string, fail: (what: string) => Failure): string {
  try {
    const status = statSync(path);
    if (!status.isFile() || status.size > LARGEST_KEY) throw fail("not a file of a key");
    return readFileSync(path, "utf8");
  } catch (error) {
    throw error instanceof Failure ? error : fail(errnoOf(error) ?? "it cannot be read");
  }
}

/** Why a signature does not stand for the image; undefined where it does. Nothing is read of it before it is verified. */
export function refusal(
  { of, payload, signature }: Signature,
  keys: readonly KeyObject[],
  identity: IdentityRule,
  reference: DockerReference,
): string | undefined {
  if (!keys.some((key) => verifies(key, payload, signature))) return "it is not signed by the key of the policy";
  const claim = readPayload(payload);
  if (claim === undefined) return "what is signed is no signature of an image";
  if (claim.digest !== of) return "what is signed is another image";
  if (identityAllows(identity, reference, claim.reference)) return undefined;
  return `it is signed as ${escapeText(claim.reference.slice(0, 300))}`;
}

function verifies(key: KeyObject, payload: Buffer, signature: string): boolean {
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(signature)) return false;
  const { verify } = process.getBuiltinModule("node:crypto");
  // Ed25519 hashes for itself; RSA is PKCS #1 v1.5, as of sigstore's own verifier.
  const algorithm = key.asymmetricKeyType === "ed25519" ? null : "sha256";
  return verify(algorithm, payload, key, Buffer.from(signature, "base64"));
}

/** The signed words: exactly those of the specification, since a reader that knows fewer would miss what they mean. */
function readPayload(payload: Buffer): { digest: string; reference: string } | undefined {
  let json: JsonObject;
  try {
    json = parseJson(payload, "signature");
  } catch {
    return undefined;
  }
  const { critical, optional } = json;
  if (!hasExactly(json, "critical", "optional") || !(optional === null || isObject(optional))) return undefined;
  if (!hasExactly(critical, "identity", "image", "type") || critical.type !== PAYLOAD_TYPE) return undefined;
  const { identity, image } = critical;
  if (!hasExactly(identity, "docker-reference") || !hasExactly(image, "docker-manifest-digest")) return undefined;
  const [reference, digest] = [identity["docker-reference"], image["docker-manifest-digest"]];
  return typeof reference === "string" && typeof digest === "string" ? { digest, reference } : undefined;
}

const hasExactly = (value: unknown, ...keys: string[]): value is JsonObject =>
  isObject(value) && Object.keys(value).length === keys.length && keys.every((key) => Object.hasOwn(value, key));
