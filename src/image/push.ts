/** An image into a registry: what is there already stays, what another repository has is mounted, the rest is sent. */
import type { Context } from "../base/context.ts";
import { Failure } from "../base/errors.ts";
import type { Task } from "../base/progress.ts";
import type { Artifact } from "./artifact.ts";
import type { Descriptor } from "./oci-documents.ts";
import { sharedOf } from "./sources/docker.ts";
import { candidatesOf, endpointsOf, publicHost } from "./sources/endpoints.ts";
import type { RegistryOptions } from "./sources/environment.ts";
import { Connections } from "./sources/http.ts";
import { type DockerReference, parseSource, shortName } from "./sources/reference.ts";
import { type RegistriesConf, readRegistriesConf } from "./sources/registries-conf.ts";
import type { Digest, LayerRef } from "./types.ts";
import { type Sendable, Uploads } from "./uploads.ts";

export interface PushOptions {
  /** `docker://[USER@][REGISTRY/]NAME[:TAG]`. */
  destination: string;
  registry: RegistryOptions;
  /** The repository of `registry` (`host[:port]`) that has a layer, if one is known. */
  mountFrom(registry: string, digest: Digest): string | undefined;
  /** Layers of the source that will be read, for sources that fetch them ahead. */
  expect?(layers: readonly LayerRef[]): void;
  /** Bytes of a request, for blobs that are larger; by default 64 MiB. */
  chunkBytes?: number;
}

/** What becomes of a blob: `there` already, `mount` from another repository, `send`. */
export type Way = { how: "there" } | { how: "mount"; from: string } | { how: "send" };

interface PlannedBlob {
  blob: Sendable & { label: string; source?: LayerRef };
  way: Way;
}

/** A push whose ways are known. */
export interface Push {
  /** The destination as it is understood: registry, repository and tag. */
  readonly name: string;
  /** Each different blob, the configuration last. */
  readonly blobs: readonly PlannedBlob[];
  /** Carries it out. Where a blob could not be mounted, it is sent, and its way says so. */
  run(): Promise<void>;
  close(): void;
}

/** Asks the registry what it has. Nothing is changed there. The caller closes the push. */
export async function planPush(artifact: Artifact, options: PushOptions, context: Context): Promise<Push> {
  const conf = await readRegistriesConf(options.registry.env);
  const reference = destinationOf(options.destination, conf);
  const { registry, name, tag = "latest" } = reference;
  const from = (digest: Digest): string | undefined => {
    const found = options.mountFrom(publicHost(registry), digest);
    return found === name ? undefined : found;
  };
  const blobs = blobsOf(artifact);
  const others = new Set(blobs.flatMap(({ digest }) => from(digest) ?? []));
  const endpoint = endpointsOf(reference, conf, options.registry).at(-1);
  if (endpoint === undefined) throw new Failure("E_INTERNAL", "a name without a place");
  const connections = new Connections(context.settings, options.registry.env);
  const stop = new AbortController();
  const working = { ...context, signal: AbortSignal.any([context.signal, stop.signal]) };
  const shared = sharedOf(reference, conf, connections, { ...working, registry: options.registry });
  const uploads = new Uploads(endpoint, shared, { from: [...others], chunkBytes: options.chunkBytes });
  try {
    const planned = await several(blobs, context, stop, async (blob): Promise<PlannedBlob> => {
      if (await uploads.has(blob)) return { blob, way: { how: "there" } };
      const other = from(blob.digest);
      return { blob, way: other === undefined ? { how: "send" } : { how: "mount", from: other } };
    });
    return {
      name: shortName({ ...reference, registry: publicHost(registry) }),
      blobs: planned,
      run: async () => {
        await carryOut(planned, uploads, options, context, stop);
        await uploads.manifest(artifact.manifest, tag);
      },
      close: () => connections.close(),
    };
  } catch (error) {
    connections.close();
    throw error;
  }
}

/** Throws E_SOURCE for what is no place in a registry. */
function destinationOf(text: string, conf: RegistriesConf | undefined): DockerReference {
  const reference = parseSource(text);
  const fail = (what: string, mend: string) => new Failure("E_SOURCE", what, { where: text, mend });
  const form = "write it like docker://registry.example:5000/team/app:1";
  if (reference.kind !== "docker") throw fail("not a place in a registry", form);
  if (reference.digest !== undefined) throw fail("a digest cannot be pushed to: it follows from the image", form);
  const [only, ...others] = candidatesOf(reference, conf);
  if (only === undefined || others.length > 0) throw fail("a short name that several registries may have", form);
  return only;
}

function blobsOf({ layers, config }: Artifact): PlannedBlob["blob"][] {
  const open = async () =>
    (async function* () {
      yield config.bytes;
    })();
  const { mediaType, digest, size } = config;
  const all = [...layers, { mediaType, digest, size, label: "configuration", open }];
  return [...new Map(all.map((blob) => [blob.digest, blob])).values()];
}

async function carryOut(
  planned: readonly PlannedBlob[],
  uploads: Uploads,
  options: PushOptions,
  context: Context,
  stop: AbortController,
): Promise<void> {
  await several(planned, context, stop, async (one) => {
    const { blob, way } = one;
    if (way.how === "there") return taskOf(blob, context).done("there already");
    if (way.how !== "mount") return;
    if (await uploads.mount(blob, way.from)) taskOf(blob, context).done(`mounted from ${way.from}`);
    else one.way = { how: "send" };
  });
  const sent = planned.filter(({ way }) => way.how === "send").map(({ blob }) => blob);
  options.expect?.(sent.flatMap(({ source }) => source ?? []));
  context.progress.expect(
    sent.reduce((sum, { size }) => sum + size, 0),
    sent.map(pushId),
  );
  // The uppermost first, as sources fetch them; the configuration may wait.
  const order = [...sent.filter(({ source }) => source !== undefined).reverse(), ...sent.filter((b) => !b.source)];
  await several(order, context, stop, async (blob) => {
    const task = taskOf(blob, context);
    await uploads.send(blob, (bytes) => task.advance(bytes));
    task.done();
  });
}

const pushId = ({ digest }: Descriptor): string => `push ${digest}`;

const taskOf = (blob: Descriptor & { label: string }, context: Context): Task =>
  context.progress.task(pushId(blob), `push ${blob.label}`, blob.size);

/** Does `work` on all, as many at a time as there may be connections. The first failure stops the others. */
async function several<T, R>(
  all: readonly T[],
  { settings }: Context,
  stop: AbortController,
  work: (one: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  const rest = [...all.entries()];
  let failure: { error: unknown } | undefined;
  const worker = async () => {
    for (let next = rest.shift(); next !== undefined && failure === undefined; next = rest.shift()) {
      const [index, one] = next;
      try {
        results[index] = await work(one);
      } catch (error) {
        failure ??= { error };
        stop.abort();
      }
    }
  };
  await Promise.all(Array.from({ length: settings.MAX_CONNECTIONS }, worker));
  if (failure !== undefined) throw failure.error;
  return results;
}
