/**
 * Signatures of sigstore by a key, as cosign keeps them in a registry: an image with the tag `sha256-HEX.sig`, whose
 * layers are payloads and whose annotations are the signatures over them (cosign, specs/SIGNATURE_SPEC.md).
 */
import type { KeyObject } from "node:crypto";
import { digestHex, parseDigest } from "../digest.ts";
import { tooLarge } from "../limits.ts";
import type { BlobInfo, Digest } from "../types.ts";
import { isObject, type JsonObject, manifestFailure, parseJson } from "./json.ts";
import { type FoundKey, keyFailure } from "./policy-keys.ts";
import type { Repository } from "./registry.ts";
import type { Repositories } from "./repositories.ts";

const PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json";
const ANNOTATION = "dev.cosignproject.cosign/signature";

/** Signatures of one image: each costs a request. */
const MOST_SIGNATURES = 100;
const LARGEST_PAYLOAD = 1 << 20;

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

/** Keys as PEM texts. Throws E_SETTING where one cannot be used: it is not passed over. */
export function publicKeys(keys: readonly FoundKey[]): KeyObject[] {
  const { createPublicKey } = process.getBuiltinModule("node:crypto");
  return keys.map(({ bytes, origin }) => {
    const pem = bytes.toString("utf8");
    // Node would take a private key or a certificate as well.
    if (!/^\s*-----BEGIN (?:RSA )?PUBLIC KEY-----/.test(pem)) throw keyFailure("it is no public key", origin);
    try {
      const key = createPublicKey(pem);
      if (["ec", "rsa", "ed25519"].includes(key.asymmetricKeyType ?? "")) return key;
    } catch {
      throw keyFailure("it is damaged", origin);
    }
    throw keyFailure("it is of a kind that is not supported", origin);
  });
}

/** Whether one of the keys made it. */
export const isSignedBy = ({ payload, signature }: Signature, keys: readonly KeyObject[]): boolean =>
  keys.some((key) => verifies(key, payload, signature));

function verifies(key: KeyObject, payload: Buffer, signature: string): boolean {
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(signature)) return false;
  const { verify } = process.getBuiltinModule("node:crypto");
  // Ed25519 hashes for itself; RSA is PKCS #1 v1.5, as of sigstore's own verifier.
  const algorithm = key.asymmetricKeyType === "ed25519" ? null : "sha256";
  return verify(algorithm, payload, key, Buffer.from(signature, "base64"));
}
