/** Images in registries: manifest and configuration first, layers into the blob cache, several at a time. */
import type { Context } from "../../base/context.ts";
import { Failure } from "../../base/errors.ts";
import { escapeText } from "../../base/text.ts";
import { limits } from "../limits.ts";
import type { BlobInfo, Digest, LayerRef, SourceImage } from "../types.ts";
import { CredentialStore } from "./credentials.ts";
import { Downloads } from "./downloads.ts";
import { candidatesOf, endpointsOf } from "./endpoints.ts";
import { Connections } from "./http.ts";
import { assembleImage } from "./image.ts";
import { manifestFailure } from "./json.ts";
import { ACCEPTED, type Document, type IndexEntry, resolveManifest } from "./manifest.ts";
import { checkRegistry } from "./policy-check.ts";
import { type DockerReference, shortName } from "./reference.ts";
import { type RegistriesConf, readRegistriesConf } from "./registries-conf.ts";
import { mayBeElsewhere, Repositories } from "./repositories.ts";
import { Retries } from "./retry.ts";
import type { Shared } from "./session.ts";
import type { OpenContext } from "./source.ts";

/** Opens an image of a registry. An image named by digest whose documents are cached needs no network. */
export async function openDocker(reference: DockerReference, context: OpenContext): Promise<SourceImage> {
  const conf = await readRegistriesConf(context.registry.env);
  const candidates = candidatesOf(reference, conf);
  for (const [index, candidate] of candidates.entries()) {
    try {
      return await openCandidate(candidate, conf, context);
    } catch (error) {
      if (index === candidates.length - 1 || !mayBeElsewhere(error)) throw error;
      context.warn(`not at ${candidate.registry}: ${(error as Failure).what}`);
    }
  }
  throw new Failure("E_INTERNAL", "a name without candidates");
}

async function openCandidate(
  reference: DockerReference,
  conf: RegistriesConf | undefined,
  context: OpenContext,
): Promise<SourceImage> {
  const name = shortName(reference);
  const check = checkRegistry(reference, `docker://${name}`, context);
  const connections = new Connections(context.settings, context.registry.env);
  const repositories = openRepositories(reference, conf, connections, context);
  const stop = new AbortController();
  const downloads = new Downloads(repositories, context, AbortSignal.any([context.signal, stop.signal]));
  const close = async () => {
    stop.abort();
    await downloads.settled();
    connections.close();
  };
  try {
    const start =
      reference.digest === undefined
        ? await fetchTagged(repositories, reference.tag ?? "latest", context)
        : await fetchDocument(repositories, { digest: reference.digest }, context);
    const fetch = (entry: IndexEntry) => fetchDocument(repositories, entry, context);
    const { document, manifest, digests } = await resolveManifest(start, context.platform, fetch, name);
    await check({ repositories, connections }, digests);
    const config = await fetchConfig(repositories, manifest.config, context);
    const parts = { document, manifest, config, name, close, open: downloads.open };
    const image = assembleImage(parts, context);
    const expect = (layers: readonly LayerRef[]) =>
      downloads.plan(
        layers.flatMap(({ digest, size, label }) => (digest && size !== undefined ? [{ digest, size, label }] : [])),
      );
    expect(image.layers);
    // A short name means what this machine's registries.conf says.
    return { ...image, expect, source: `docker://${reference.registry}/${reference.name}@${image.digest}` };
  } catch (error) {
    await close();
    throw error;
  }
}

function openRepositories(
  reference: DockerReference,
  conf: RegistriesConf | undefined,
  connections: Connections,
  context: OpenContext,
): Repositories {
  const shared = sharedOf(reference, conf, connections, context);
  return new Repositories(endpointsOf(reference, conf, context.registry), shared, context);
}

/** What is the same for all that is asked of the places of an image. */
export function sharedOf(
  reference: DockerReference,
  conf: RegistriesConf | undefined,
  connections: Connections,
  context: Context & Pick<OpenContext, "registry">,
): Shared {
  const { signal, registry: options } = context;
  const helpers = conf?.credentialHelpers ?? [];
  const warn = (message: string) => context.warn(message);
  return {
    connections,
    retries: new Retries(context),
    credentials: new CredentialStore({ options, helpers, signal, warn }, reference.user),
    signal,
    shown: `docker://${shortName(reference)}`,
  };
}

/** What a tag means now. Kept, so that the same image named by its digest needs no network. */
async function fetchTagged(repositories: Repositories, tag: string, context: OpenContext): Promise<Document> {
  const document = await repositories.ask((repository) => repository.manifest(tag));
  const cached = await context.cache.read(document.digest, limits.manifestBytes);
  if (cached === undefined) await context.cache.write(document.digest, document.bytes);
  return document;
}

async function fetchDocument(
  repositories: Repositories,
  entry: { digest: Digest; size?: number; mediaType?: string },
  context: OpenContext,
): Promise<Document> {
  const { digest, size } = entry;
  const stated = entry.mediaType === "" ? undefined : entry.mediaType;
  const cached = await context.cache.read(digest, limits.manifestBytes);
  if (cached !== undefined) return { digest, bytes: cached, mediaType: stated };
  const document = await repositories.ask((repository) => repository.manifest(digest, { digest, size }));
  const sent = document.mediaType?.split(";")[0]?.trim();
  if (stated !== undefined && sent !== undefined && ACCEPTED.includes(sent) && sent !== stated) {
    throw manifestFailure(
      `the registry sends ${sent} where the index says ${escapeText(stated.slice(0, 100))}`,
      digest,
    );
  }
  await context.cache.write(digest, document.bytes);
  return { ...document, mediaType: stated ?? document.mediaType };
}

async function fetchConfig(repositories: Repositories, blob: BlobInfo, context: OpenContext): Promise<Buffer> {
  const cached = await context.cache.read(blob.digest, limits.configBytes);
  if (cached !== undefined) return cached;
  const bytes = await repositories.ask((repository) => repository.smallBlob(blob, limits.configBytes));
  await context.cache.write(blob.digest, bytes);
  return bytes;
}
