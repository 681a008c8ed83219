/** Whether policy.json accepts an image: what is rejected before anything is fetched, and what has to be signed. */
import { resolve } from "node:path";
import { Failure } from "../../base/errors.ts";
import type { Digest } from "../types.ts";
import { type Policy, type Requirement, type Ruling, readPolicy, ruling } from "./policy.ts";
import { scopesOf } from "./policy-identity.ts";
import { type DockerReference, parseSource, type SourceReference } from "./reference.ts";
import { attachmentsAllowed } from "./registries-d.ts";
import type { Repositories } from "./repositories.ts";
import { readKeys, refusal, type Signature, signaturesOf } from "./sigstore.ts";
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

/** What is asked of an image of a registry, once it is known what the registry has under that name. */
export type CheckSignatures = (repositories: Repositories, digests: readonly Digest[]) => Promise<void>;

/**
 * Throws E_POLICY where the image is rejected whatever it is. The result asks for its signatures: of the manifest, or
 * of the index that led to it by its digest. It throws E_POLICY unless each requirement has one that fulfils it.
 */
export function checkRegistry(reference: DockerReference, shown: string, context: OpenContext): CheckSignatures {
  const { env } = context.registry;
  const policy: Policy | undefined = readPolicy(env);
  if (policy === undefined) return async () => {};
  const decided = ruling(policy, "docker", scopesOf(reference));
  refuseOutright(decided, shown);
  const signed = decided.requirements.filter((requirement) => requirement.type === "sigstoreSigned");
  if (signed.length === 0) return async () => {};
  return async (repositories, digests) => {
    const allowed = await attachmentsAllowed(reference, env);
    const signatures = allowed ? await signaturesOf(repositories, digests) : [];
    for (const requirement of signed) requireOne(requirement, signatures, { reference, decided, shown });
  };
}

function requireOne(
  requirement: Requirement & { type: "sigstoreSigned" },
  signatures: readonly Signature[],
  { reference, decided, shown }: { reference: DockerReference; decided: Ruling; shown: string },
): void {
  const keys = readKeys(requirement.keys, decided.where);
  const reasons = new Set<string>();
  for (const signature of signatures) {
    const reason = refusal(signature, keys, requirement.identity, reference);
    if (reason === undefined) return;
    reasons.add(reason);
  }
  const why = reasons.size === 0 ? "it has none" : [...reasons].slice(0, 5).join("; ");
  throw new Failure("E_POLICY", `the policy asks for a signature of this image: ${shown}: ${why}`, {
    where: decided.where,
    mend: "sign the image with the key of the policy, or see containers-policy.json(5) for signedIdentity",
  });
}
