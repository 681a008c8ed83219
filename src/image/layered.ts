/** An image layer by layer, lowest first, for sinks that keep apart what each of them changes. */
import { type Context, throwIfAborted } from "../base/context.ts";
import type { Alterations } from "./alter.ts";
import { type BuildResult, layerTask } from "./build.ts";
import { indexLayer } from "./index-layer.ts";
import { newVolume, readLayer, type Volume } from "./layer.ts";
import { AlterationLayer } from "./layered-alter.ts";
import { type Below, Merge, RepeatedName, type Superseded } from "./merge.ts";
import { type EntrySink, TooSmall } from "./sinks/sink.ts";
import { unpackId } from "./task-ids.ts";
import type { Entry, LayerRef, SourceImage } from "./types.ts";

/**
 * Takes the entries of each layer. What a layer hides, it hides of the layers below only, whether its own entries of
 * the same names come before or after. An entry takes the place of what had its name; directories that already are
 * there get other metadata. A link names a file that is there by then.
 */
export interface LayeredSink extends EntrySink, Below {
  /** What comes from here on is the next layer's. */
  nextLayer(): void;
  /** Begins an entry, as `entry` does, that gives what has its name its metadata; a file also its content, if any. */
  describe(entry: Entry): void;
  flush(): Promise<void> | undefined;
  commit(): Promise<void>;
  /** Never rejects. */
  abort(): Promise<void>;
}

/** Begins a sink for so many layers. */
export type OpenLayeredSink = (image: SourceImage, layers: number) => Promise<LayeredSink>;

/**
 * As buildImage: either the sink is committed, all bytes verified, or nothing is left. Alterations are one layer more,
 * on top of the image's own.
 */
export async function buildLayered(
  image: SourceImage,
  openSink: OpenLayeredSink,
  context: Context,
  alterations: Alterations = {},
): Promise<BuildResult> {
  const superseded = new Map<number, Superseded>();
  const altered = alterations.ids !== undefined || alterations.rootPassword !== undefined;
  for (;;) {
    const sink = await openSink(image, Math.max(1, image.layers.length) + (altered ? 1 : 0));
    try {
      const last = altered ? new AlterationLayer(image, alterations, context) : undefined;
      const size = await attempt({ image, sink, superseded, last, context, volume: newVolume() });
      return { size, digest: image.digest };
    } catch (error) {
      await sink.abort();
      throwIfAborted(context.signal);
      await learn(error, image, superseded, context);
    }
  }
}

/** One attempt at an image. */
interface Attempt {
  readonly image: SourceImage;
  readonly sink: LayeredSink;
  readonly superseded: ReadonlyMap<number, Superseded>;
  readonly last: AlterationLayer | undefined;
  readonly context: Context;
  readonly volume: Volume;
}

async function attempt(one: Attempt): Promise<number> {
  const { image, sink, superseded, last, context } = one;
  image.expect?.(image.layers);
  context.progress.expect(
    image.layers.reduce((sum, { size = 0 }) => sum + size, 0),
    image.layers.map(unpackId),
  );
  let bytes = 0;
  let entries = 0;
  for (const [index, layer] of image.layers.entries()) {
    if (index > 0) sink.nextLayer();
    const merge = new Merge(last?.watch(sink, index) ?? sink, {
      maxEntries: context.settings.MAX_ENTRIES - entries,
      warn: (message) => context.warn(message),
      below: sink,
    });
    await mergeLayer(one, index, layer, merge);
    bytes += merge.bytes;
    entries += merge.entries;
  }
  if (last !== undefined) {
    sink.nextLayer();
    await last.write(sink, superseded);
  }
  const task = context.progress.task("write", "write to disk");
  await sink.flush();
  throwIfAborted(context.signal);
  void image.digest;
  await sink.commit();
  task.done();
  return bytes;
}

async function mergeLayer(one: Attempt, index: number, layer: LayerRef, merge: Merge): Promise<void> {
  const { sink, superseded, last, context, volume } = one;
  const task = layerTask(layer, context);
  const room = () => sink.flush();
  const handler = merge.layer(index, layer.label, superseded.get(index), last?.listing(index));
  await readLayer(layer, handler, context, task, room, volume);
  const missed = merge.endLayer();
  if (missed.size > 0) await readLayer(layer, merge.again(missed, layer.label), context, task, room, volume);
  merge.finish();
  task.done();
}

/** Takes in why an attempt had to stop, or throws it on. */
async function learn(
  error: unknown,
  image: SourceImage,
  superseded: Map<number, Superseded>,
  context: Context,
): Promise<void> {
  if (error instanceof TooSmall) return;
  const layer = error instanceof RepeatedName ? image.layers[error.layer] : undefined;
  if (!(error instanceof RepeatedName) || layer === undefined || superseded.has(error.layer)) throw error;
  const task = layerTask(layer, context);
  superseded.set(error.layer, await indexLayer(layer, context, task));
  task.done();
}
