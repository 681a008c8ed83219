/** The image side's spine: source → layers (top first) → entries → merge → sink. */
import { type Context, throwIfAborted } from "../base/context.ts";
import type { Task } from "../base/progress.ts";
import { indexLayer } from "./index-layer.ts";
import { newVolume, readLayer, type Volume } from "./layer.ts";
import { Merge, RepeatedName, type Superseded } from "./merge.ts";
import { type OpenSink, RootDiffers, type Sink } from "./sinks/sink.ts";
import type { Digest, Entry, LayerRef, SourceImage } from "./types.ts";

/** What an attempt has taught the next one. */
interface Lessons {
  root: Entry | undefined;
  readonly superseded: Map<number, Superseded>;
}

export interface BuildResult {
  digest: Digest;
  /** Bytes of content in the tree. */
  size: number;
}

/**
 * Writes the merged tree of `image` to a sink. Either the sink is committed, all bytes verified, or nothing is left.
 * Rarely an attempt finds that it should have known something in the beginning; the next one knows it.
 */
export async function buildImage(image: SourceImage, openSink: OpenSink, context: Context): Promise<BuildResult> {
  const lessons: Lessons = { root: image.root, superseded: new Map() };
  for (;;) {
    const sink = await openSink(image, lessons.root);
    try {
      const size = await attempt(image, sink, lessons, context);
      return { size, digest: image.digest };
    } catch (error) {
      await sink.abort();
      throwIfAborted(context.signal);
      await learn(error, lessons, image, context);
    }
  }
}

async function attempt(image: SourceImage, sink: Sink, lessons: Lessons, context: Context): Promise<number> {
  const merge = new Merge(sink, { maxEntries: context.settings.MAX_ENTRIES, warn: (message) => context.warn(message) });
  const volume = newVolume();
  context.progress.expect(image.layers.reduce((sum, { size = 0 }) => sum + size, 0));
  for (const [index, layer] of [...image.layers.entries()].reverse()) {
    const task = layerTask(layer, context);
    await mergeLayer(merge, index, layer, sink, lessons.superseded.get(index), context, task, volume);
    task.done();
  }
  merge.finish();
  // What is written has to reach the disk, which takes its time.
  const task = context.progress.task("write", "write to disk");
  await sink.flush();
  throwIfAborted(context.signal);
  // Now it is known, or the source was not read to its end.
  void image.digest;
  await sink.commit(merge.root);
  task.done();
  return merge.bytes;
}

async function mergeLayer(
  merge: Merge,
  index: number,
  layer: LayerRef,
  sink: Sink,
  superseded: Superseded | undefined,
  context: Context,
  task: Task,
  volume: Volume,
): Promise<void> {
  const room = () => sink.flush();
  await readLayer(layer, merge.layer(index, layer.label, superseded), context, task, room, volume);
  const missed = merge.endLayer();
  if (missed.size > 0) await readLayer(layer, merge.again(missed, layer.label), context, task, room, volume);
}

/** Takes in why an attempt had to stop, or throws it on. */
async function learn(error: unknown, lessons: Lessons, image: SourceImage, context: Context): Promise<void> {
  if (error instanceof RootDiffers) {
    lessons.root = error.root;
    return;
  }
  if (!(error instanceof RepeatedName) || lessons.superseded.has(error.layer)) throw error;
  const layer = image.layers[error.layer];
  if (layer === undefined) throw error;
  const task = layerTask(layer, context);
  lessons.superseded.set(error.layer, await indexLayer(layer, context, task));
  task.done();
}

const layerTask = (layer: LayerRef, context: Context): Task =>
  context.progress.task(`unpack ${layer.digest ?? layer.label}`, `unpack ${layer.label}`, layer.size);
