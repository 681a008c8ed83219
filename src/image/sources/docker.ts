/** Images in registries: manifest and configuration first, layers into the blob cache, several at a time. */
import type { Task } from "../../base/progress.ts";
import { Verifier } from "../digest.ts";
import { limits, tooLarge } from "../limits.ts";
import type { BlobInfo, Digest, SourceImage } from "../types.ts";
import { readChunks } from "./files.ts";
import { assembleImage } from "./image.ts";
import { type Document, resolveManifest } from "./manifest.ts";
import { type DockerReference, shortName } from "./reference.ts";
import { Repository } from "./registry.ts";
import type { OpenContext } from "./source.ts";

/** Opens an image of a registry. An image named by digest whose documents are cached needs no network. */
export async function openDocker(reference: DockerReference, context: OpenContext): Promise<SourceImage> {
  const repository = new Repository(reference, context);
  const stop = new AbortController();
  const downloads = new Downloads(repository, context, AbortSignal.any([context.signal, stop.signal]));
  const close = async () => {
    stop.abort();
    await downloads.settled();
    repository.close();
  };
  try {
    const name = shortName(reference);
    const start =
      reference.digest === undefined
        ? await fetchTagged(repository, reference.tag ?? "latest", context)
        : await fetchDocument(repository, reference.digest, undefined, context);
    const fetch = (entry: BlobInfo & { mediaType: string }) =>
      fetchDocument(repository, entry.digest, entry.size, context);
    const { document, manifest } = await resolveManifest(start, context.platform, fetch, name);
    const config = await fetchConfig(repository, manifest.config, context);
    const parts = { document, manifest, config, name, close, open: downloads.open };
    const image = assembleImage(parts, context);
    downloads.plan(
      image.layers.flatMap(({ digest, size, label }) =>
        digest && size !== undefined ? [{ digest, size, label }] : [],
      ),
    );
    return image;
  } catch (error) {
    await close();
    throw error;
  }
}

/** What a tag means now. Kept, so that the same image named by its digest needs no network. */
async function fetchTagged(repository: Repository, tag: string, context: OpenContext): Promise<Document> {
  const document = await repository.manifest(tag);
  const cached = await context.cache.read(document.digest, limits.manifestBytes);
  if (cached === undefined) await context.cache.write(document.digest, document.bytes);
  return document;
}

async function fetchDocument(
  repository: Repository,
  digest: Digest,
  size: number | undefined,
  context: OpenContext,
): Promise<Document> {
  const cached = await context.cache.read(digest, limits.manifestBytes);
  if (cached !== undefined) return { digest, bytes: cached, mediaType: undefined };
  const document = await repository.manifest(digest);
  const verifier = new Verifier(digest, size, `manifest ${digest}`);
  verifier.update(document.bytes);
  verifier.end();
  await context.cache.write(digest, document.bytes);
  return document;
}

async function fetchConfig(repository: Repository, blob: BlobInfo, context: OpenContext): Promise<Buffer> {
  const cached = await context.cache.read(blob.digest, limits.configBytes);
  if (cached !== undefined) return cached;
  const verifier = new Verifier(blob.digest, blob.size, `configuration ${blob.digest}`);
  const parts: Buffer[] = [];
  for await (const part of await repository.blob(blob.digest, context.signal)) {
    verifier.update(part);
    parts.push(part);
  }
  verifier.end();
  const bytes = Buffer.concat(parts);
  if (bytes.length > limits.configBytes) throw tooLarge("an image configuration that is too long", blob.digest);
  await context.cache.write(blob.digest, bytes);
  return bytes;
}

type LayerBlob = BlobInfo & { label: string };

/**
 * Downloads of layers, top layer first as the merge wants them, a limited number at a time. They begin when the first
 * layer is opened: an image that is stored already is never downloaded.
 */
class Downloads {
  readonly #repository: Repository;
  readonly #context: OpenContext;
  readonly #signal: AbortSignal;
  readonly #started = new Map<Digest, Promise<string>>();
  #planned: LayerBlob[] = [];
  #running = 0;
  #waiting: (() => void)[] = [];

  constructor(repository: Repository, context: OpenContext, signal: AbortSignal) {
    this.#repository = repository;
    this.#context = context;
    this.#signal = signal;
  }

  plan(layers: readonly LayerBlob[]): void {
    this.#planned = [...layers].reverse();
  }

  /** The stored bytes of a layer, once it is downloaded. */
  readonly open = async (layer: LayerBlob): Promise<AsyncIterable<Buffer>> => {
    for (const planned of this.#planned) this.#start(planned);
    return readChunks(await this.#start(layer));
  };

  async settled(): Promise<void> {
    await Promise.allSettled(this.#started.values());
  }

  #start(layer: LayerBlob): Promise<string> {
    const present = this.#started.get(layer.digest);
    if (present !== undefined) return present;
    const download = this.#download(layer);
    // Whoever opens the layer sees the failure; if nobody does, another one was met before.
    download.catch(() => {});
    this.#started.set(layer.digest, download);
    return download;
  }

  async #download(layer: LayerBlob): Promise<string> {
    if (this.#running >= this.#context.settings.MAX_CONNECTIONS) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else this.#running++;
    let task: Task | undefined;
    const begin = () =>
      (task ??= this.#context.progress.task(`download ${layer.digest}`, `download ${layer.label}`, layer.size));
    try {
      const { path, cached } = await this.#context.cache.obtain(
        layer,
        () => {
          begin();
          return this.#repository.blob(layer.digest, this.#signal);
        },
        this.#signal,
        (bytes) => begin().advance(bytes),
      );
      begin().done(cached ? "in cache" : undefined);
      return path;
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running--;
      else next();
    }
  }
}
