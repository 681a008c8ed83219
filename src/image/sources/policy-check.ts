/** Whether policy.json accepts an image: what is rejected before anything is fetched, and what has to be signed. */
import { resolve } from "node:path";
import { Failure } from "../../base/errors.ts";
import type { Digest } from "../types.ts";
import { claimRefusal } from "./claim.ts";
import type { Connections } from "./http.ts";
import { type Requirement, type Ruling, readPolicy, ruling, type SignedRequirement } from "./policy.ts";
import { scopesOf } from "./policy-identity.ts";
import { type FoundKey, readKeys } from "./policy-keys.ts";
import { type DockerReference, parseSource, type SourceReference } from "./reference.ts";
import { type SignaturePlaces, signaturePlaces } from "./registries-d.ts";
import type { Repositories } from "./repositories.ts";
import { isSignedBy, publicKeys, signaturesOf } from "./sigstore.ts";
import { messagesOf, Verification } from "./simple-signing.ts";
import type { OpenContext } from "./source.ts";

const MEND = "ask whoever keeps the policy, or see containers-policy.json(5)";

/** Throws E_POLICY where no signature could help: the image is rejected, or something unknown is asked of it. */
function refuseOutright({ requirements, where }: Ruling, shown: string): void {
  for (const requirement of requirements) {
    if (requirement.type === "reject") {
      throw new Failure("E_POLICY", `the policy rejects this image: ${shown}`, { where, mend: MEND });
    }
    if (requirement.type === "unsupported") {
      throw new Failure("E_POLICY", `the policy asks of this image for ${requirement.what}: ${shown}`, {
        where,
        mend: "change the policy of this image to sigstoreSigned with a key, or fetch it with podman or skopeo",
      });
    }
  }
}

type LocalReference = Exclude<SourceReference, DockerReference>;

/** Names of containers/image for our sources, with the scopes of their images. Directories that are roots have none. */
function transportOf(reference: LocalReference): { transport: string; scopes: string[] } | undefined {
  switch (reference.kind) {
    case "dockerd":
      return { transport: "docker-daemon", scopes: daemonScopes(reference.name) };
    case "podman":
      return { transport: "containers-storage", scopes: [] };
    case "oci":
      return { transport: "oci", scopes: pathScopes(reference.directory) };
    case "oci-archive":
      return { transport: "oci-archive", scopes: pathScopes(reference.file) };
    case "docker-archive":
      return { transport: "docker-archive", scopes: [] };
    case "file":
    case "stdin":
      return { transport: "tarball", scopes: [] };
    default:
      return undefined;
  }
}

/** An image that docker knows by an id alone has no scope. */
function daemonScopes(name: string): string[] {
  try {
    const reference = parseSource(`docker://${name}`);
    return reference.kind === "docker" ? scopesOf(reference) : [];
  } catch {
    return [];
  }
}

/** The path, and each directory above it but the root. Which image of it is meant counts for nobody (skopeo 1.9). */
function pathScopes(path: string): string[] {
  const steps = resolve(path).split("/");
  return steps.slice(1).map((_, index) => steps.slice(0, steps.length - index).join("/"));
}

/** Throws E_POLICY where an image that does not come from a registry is not accepted: nothing signs those. */
export function checkLocal(reference: LocalReference, shown: string, context: OpenContext): void {
  const found = transportOf(reference);
  const policy = found === undefined ? undefined : readPolicy(context.registry.env);
  if (found === undefined || policy === undefined) return;
  const decided = ruling(policy, found.transport, found.scopes);
  refuseOutright(decided, shown);
  if (decided.requirements.every(({ type }) => type === "insecureAcceptAnything")) return;
  throw new Failure("E_POLICY", `the policy asks for a signature, which only images of registries have: ${shown}`, {
    where: decided.where,
    mend: MEND,
  });
}

/** What reaches the registry of an image. */
interface Reach {
  readonly repositories: Repositories;
  readonly connections: Connections;
}

/** What is asked of an image of a registry, once it is known what the registry has under that name. */
export type CheckSignatures = (reach: Reach, digests: readonly Digest[]) => Promise<void>;

/**
 * Throws E_POLICY where the image is rejected whatever it is. The result asks for its signatures: of the manifest, or
 * of the index that led to it by its digest. It throws E_POLICY unless each requirement has one that fulfils it.
 */
export function checkRegistry(reference: DockerReference, shown: string, context: OpenContext): CheckSignatures {
  const { env, uid } = context.registry;
  const policy = readPolicy(env);
  if (policy === undefined) return async () => {};
  const decided = ruling(policy, "docker", scopesOf(reference));
  refuseOutright(decided, shown);
  const asked = decided.requirements.filter(isSigned);
  if (asked.length === 0) return async () => {};
  return async (reach, digests) => {
    const places = await signaturePlaces(reference, env, uid);
    for (const requirement of asked) {
      const one = { reference, requirement, keys: readKeys(requirement.keys, decided.where), digests, places };
      const reasons =
        requirement.type === "signedBy" ? messageReasons(one, reach, context) : attachmentReasons(one, reach);
      await requireOne(reasons, decided.where, shown);
    }
  };
}

const isSigned = (requirement: Requirement): requirement is SignedRequirement =>
  requirement.type === "sigstoreSigned" || requirement.type === "signedBy";

/** A requirement, with all that is needed to see whether it is fulfilled. */
interface Asked {
  readonly reference: DockerReference;
  readonly requirement: SignedRequirement;
  readonly keys: readonly FoundKey[];
  readonly digests: readonly Digest[];
  readonly places: SignaturePlaces;
}

/** For each signature why it does not do, or undefined where it does. */
type Reasons = AsyncGenerator<string | undefined>;

const OTHER_KEY = "it is not signed by the key of the policy";

async function* attachmentReasons({ requirement, keys, digests, places, reference }: Asked, reach: Reach): Reasons {
  const trusted = publicKeys(keys);
  const signatures = places.attachments ? await signaturesOf(reach.repositories, digests) : [];
  const about = { identity: requirement.identity, reference };
  for (const signature of signatures) {
    // Nothing is read of it before it is verified.
    yield isSignedBy(signature, trusted)
      ? claimRefusal(signature.payload, "cosign container image signature", signature.of, about)
      : OTHER_KEY;
  }
}

async function* messageReasons(asked: Asked, { connections }: Reach, context: OpenContext): Reasons {
  const { requirement, keys, digests, places, reference } = asked;
  if (places.lookaside === undefined) return;
  const messages = await messagesOf(places.lookaside, reference, digests, connections, context);
  if (messages.length === 0) return;
  const verification = await Verification.open(
    keys.map(({ bytes }) => bytes),
    context,
  );
  try {
    for (const { of, bytes } of messages) {
      const payload = await verification.read(bytes);
      const about = { identity: requirement.identity, reference };
      yield payload === undefined ? OTHER_KEY : claimRefusal(payload, "atomic container signature", of, about);
    }
  } finally {
    await verification.close();
  }
}

async function requireOne(reasons: Reasons, where: string, shown: string): Promise<void> {
  const seen = new Set<string>();
  for await (const reason of reasons) {
    if (reason === undefined) return;
    seen.add(reason);
  }
  const why = seen.size === 0 ? "it has none" : [...seen].slice(0, 5).join("; ");
  throw new Failure("E_POLICY", `the policy asks for a signature of this image: ${shown}: ${why}`, {
    where,
    mend: "sign the image with the key of the policy, or see containers-policy.json(5) for signedIdentity",
  });
}
