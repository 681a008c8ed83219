/** The layers of one image on their way into the blob cache, several at a time. */
import { existsSync } from "node:fs";
import type { Task } from "../../base/progress.ts";
import { downloadId } from "../task-ids.ts";
import type { BlobInfo, Digest } from "../types.ts";
import { readChunks } from "./files.ts";
import type { Repositories } from "./repositories.ts";
import type { OpenContext } from "./source.ts";

export type LayerBlob = BlobInfo & { label: string };

/**
 * Downloads of layers, top layer first as the merge wants them, a limited number at a time. They begin when the first
 * layer is opened: an image that is stored already is never downloaded.
 */
export class Downloads {
  readonly #repositories: Repositories;
  readonly #context: OpenContext;
  readonly #signal: AbortSignal;
  readonly #started = new Map<Digest, Promise<string>>();
  #planned: LayerBlob[] = [];
  #running = 0;
  #waiting: (() => void)[] = [];

  constructor(repositories: Repositories, context: OpenContext, signal: AbortSignal) {
    this.#repositories = repositories;
    this.#context = context;
    this.#signal = signal;
  }

  plan(layers: readonly LayerBlob[]): void {
    this.#planned = [...layers].reverse();
  }

  /** The stored bytes of a layer, once it is downloaded. */
  readonly open = async (layer: LayerBlob): Promise<AsyncIterable<Buffer>> => {
    this.#context.progress.expect(
      this.#planned.reduce((sum, { size }) => sum + size, 0),
      this.#planned.map(({ digest }) => downloadId(digest)),
    );
    for (const planned of this.#planned) this.#start(planned);
    this.#planned = [];
    const path = await this.#start(layer);
    if (existsSync(path)) return readChunks(path);
    // Long after it had come, somebody pruned what no stored image needs: it comes once more.
    this.#started.delete(layer.digest);
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
      (task ??= this.#context.progress.task(downloadId(layer.digest), `download ${layer.label}`, layer.size));
    try {
      const { path, cached } = await this.#context.cache.obtain(
        layer,
        (offset) => {
          if (offset > 0) begin().advance(offset);
          else begin();
          return this.#repositories.ask((repository) => repository.blob(layer, offset, this.#signal));
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
