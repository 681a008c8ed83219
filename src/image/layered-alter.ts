/**
 * Alterations of an image whose layers are kept apart: one layer more, with other metadata for what gets it, and the
 * new /etc/shadow. What the image comes to is merged from listings of its layers, which are read only once.
 */
import type { Context } from "../base/context.ts";
import { type Alterations, alteredSink } from "./alter.ts";
import { SHADOW, SHADOW_LIMIT } from "./alter-password.ts";
import { ROOM_AFTER } from "./build.ts";
import type { LayeredSink } from "./layered.ts";
import { ListingWriter, readListing } from "./listing.ts";
import { Merge, type Superseded } from "./merge.ts";
import { cleanPath } from "./names.ts";
import type { EntrySink, Sink } from "./sinks/sink.ts";
import type { Entry, SourceImage } from "./types.ts";

export class AlterationLayer {
  readonly #image: SourceImage;
  readonly #alterations: Alterations;
  readonly #context: Context;
  readonly #listings: ListingWriter[];
  /** By layer, the content of its /etc/shadow. */
  readonly #shadows = new Map<number, Buffer[]>();

  constructor(image: SourceImage, alterations: Alterations, context: Context) {
    this.#image = image;
    this.#alterations = alterations;
    this.#context = context;
    this.#listings = image.layers.map(() => new ListingWriter());
  }

  /** What is to be told of each entry of a layer, as the layer spells it. */
  listing(layer: number): Pick<ListingWriter, "add"> | undefined {
    return this.#listings[layer];
  }

  /** The sink for a layer's entries, of which this one gets to see what it needs. */
  watch(sink: EntrySink, layer: number): EntrySink {
    let kept: Buffer[] | undefined;
    return {
      entry: (entry) => {
        kept = undefined;
        if (entry.path === SHADOW && entry.kind === "file" && entry.size <= SHADOW_LIMIT) {
          kept = [];
          this.#shadows.set(layer, kept);
        }
        sink.entry(entry);
      },
      data: (slice) => {
        // A copy: the slice would keep the whole chunk that it is a part of.
        kept?.push(Buffer.from(slice));
        sink.data(slice);
      },
      end: () => sink.end(),
    };
  }

  /** Writes the layer. Throws what alteredSink throws. */
  async write(sink: LayeredSink, superseded: ReadonlyMap<number, Superseded>): Promise<void> {
    const changes = new Changes(sink, this.#alterations.rootPassword !== undefined);
    const altered = await alteredSink(async () => changes, this.#alterations)(this.#image, undefined);
    const feed: EntrySink = {
      entry: (entry) => {
        changes.original = entry;
        altered.entry(entry);
      },
      data: (slice) => altered.data(slice),
      end: () => altered.end(),
    };
    const { MAX_ENTRIES: maxEntries } = this.#context.settings;
    // All warnings were given when the layers were read.
    const merge = new Merge(feed, { maxEntries, warn: () => {} });
    for (const index of [...this.#image.layers.keys()].reverse()) {
      await this.#mergeListing(merge, feed, index, superseded.get(index), sink);
    }
    merge.finish();
    changes.original = merge.root;
    await altered.commit(merge.root);
  }

  async #mergeListing(
    merge: Merge,
    feed: EntrySink,
    index: number,
    superseded: Superseded | undefined,
    sink: LayeredSink,
  ): Promise<void> {
    const label = this.#image.layers[index]?.label ?? "";
    const listing = this.#listings[index]?.finish().bytes ?? Buffer.alloc(0);
    const take = merge.listed(index, label, superseded, { add: () => {} }, (file, name) => {
      feed.entry(file);
      // A file of another name, which the layer links to, has its content under that.
      if (file.path === SHADOW && name === SHADOW) {
        for (const part of this.#shadows.get(index) ?? []) feed.data(part);
      }
      feed.end();
    });
    let count = 0;
    for (const { entry } of readListing(listing)) {
      take({ entry, name: cleanPath(entry.path, label) });
      if (++count % ROOM_AFTER === 0) await sink.flush();
    }
    const missed = merge.endLayer();
    if (missed.size === 0) return;
    const again = merge.again(missed, label);
    for (const { entry } of readListing(listing)) if (again.entry(entry, -1)) again.end();
  }
}

/** Passes on what the alterations made different, and its metadata only, but for /etc/shadow. */
class Changes implements Sink {
  /** The entry as the image has it. */
  original: Entry | undefined;
  readonly #sink: LayeredSink;
  readonly #shadow: boolean;
  #changed = false;
  #content = false;

  /** `shadow`: /etc/shadow is another one. */
  constructor(sink: LayeredSink, shadow: boolean) {
    this.#sink = sink;
    this.#shadow = shadow;
  }

  entry(entry: Entry): void {
    // alteredSink gives a new entry unless nothing changes. A link has the metadata of its file.
    this.#changed = entry !== this.original && entry.kind !== "link";
    this.#content = this.#changed && this.#shadow && entry.path === SHADOW;
    if (this.#changed) this.#sink.describe(this.#content ? entry : { ...entry, size: 0 });
  }

  data(slice: Buffer): void {
    if (this.#content) this.#sink.data(slice);
  }

  end(): void {
    if (this.#changed) this.#sink.end();
  }

  flush(): undefined {}

  async commit(root: Entry): Promise<void> {
    this.entry(root);
    this.end();
  }

  async abort(): Promise<void> {}
}
