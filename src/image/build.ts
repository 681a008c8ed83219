/** The image side's spine: source → layers (top first) → entries → merge → sink. */
import { type ByteString, fromText } from "../base/bytes.ts";
import { type Context, throwIfAborted } from "../base/context.ts";
import type { Task } from "../base/progress.ts";
import { indexLayer } from "./index-layer.ts";
import { newVolume, readLayer, type Volume } from "./layer.ts";
import { ListingWriter, readListing } from "./listing.ts";
import { Merge, RepeatedName, type Superseded } from "./merge.ts";
import { type OpenSink, RootDiffers, type Sink, TooSmall } from "./sinks/sink.ts";
import type { TarHandler } from "./tar-read.ts";
import { unpackId } from "./task-ids.ts";
import type { Digest, Entry, LayerRef, SourceImage } from "./types.ts";

/** What an attempt has taught the next one. */
interface Lessons {
  root: Entry | undefined;
  readonly superseded: Map<number, Superseded>;
  /** Not there, or found to be of no help. */
  donor: Donor | undefined;
}

/** A merged tree of another image, whose files become this one's where both have the same layer. */
export interface Donor {
  /** Absolute path. */
  readonly tree: string;
  /** The listing of a layer that the donor has too; undefined for others. Its digest is verified. */
  listing(diffId: Digest): Promise<Buffer | undefined>;
}

export interface BuildOptions {
  readonly donor?: Donor | undefined;
  /** Gets the listing of each layer that has a DiffID. What an attempt that failed gave is void. */
  keep?(diffId: Digest, listing: { readonly bytes: Buffer; readonly digest: Digest }): Promise<void>;
}

export interface BuildResult {
  digest: Digest;
  /** Bytes of content in the tree. */
  size: number;
}

/** One attempt at an image. */
interface Attempt {
  readonly image: SourceImage;
  readonly sink: Sink;
  readonly merge: Merge;
  readonly lessons: Lessons;
  readonly options: BuildOptions;
  readonly context: Context;
  readonly volume: Volume;
}

/**
 * Writes the merged tree of `image` to a sink. Either the sink is committed, all bytes verified, or nothing is left.
 * Rarely an attempt finds that it should have known something in the beginning; the next one knows it.
 */
export async function buildImage(
  image: SourceImage,
  openSink: OpenSink,
  context: Context,
  options: BuildOptions = {},
): Promise<BuildResult> {
  const lessons: Lessons = { root: image.root, superseded: new Map(), donor: options.donor };
  for (;;) {
    const sink = await openSink(image, lessons.root);
    const warn = (message: string) => context.warn(message);
    const merge = new Merge(sink, { maxEntries: context.settings.MAX_ENTRIES, warn });
    try {
      const size = await attempt({ image, sink, merge, lessons, options, context, volume: newVolume() });
      return { size, digest: image.digest };
    } catch (error) {
      await sink.abort();
      throwIfAborted(context.signal);
      await learn(error, lessons, image, context);
    }
  }
}

async function attempt(one: Attempt): Promise<number> {
  const { image, sink, merge, context } = one;
  const listings = await listingsOf(one);
  const read = image.layers.filter((_, index) => !listings.has(index));
  image.expect?.(read);
  context.progress.expect(
    read.reduce((sum, { size = 0 }) => sum + size, 0),
    read.map(unpackId),
  );
  for (const [index, layer] of [...image.layers.entries()].reverse()) {
    const listing = listings.get(index);
    if (listing === undefined) await mergeLayer(one, index, layer);
    else await mergeListed(one, index, layer, listing);
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

/** By their index, the listings of layers that the donor has. Of a layer that comes twice, the upper one's. */
async function listingsOf({ image, sink, lessons }: Attempt): Promise<Map<number, Buffer>> {
  const found = new Map<number, Buffer>();
  const seen = new Set<Digest>();
  if (lessons.donor === undefined || sink.reuse === undefined) return found;
  for (const [index, { diffId }] of [...image.layers.entries()].reverse()) {
    if (diffId === undefined || seen.has(diffId)) continue;
    seen.add(diffId);
    const listing = await lessons.donor.listing(diffId);
    if (listing !== undefined) found.set(index, listing);
  }
  return found;
}

async function mergeLayer({ merge, sink, lessons, options, context, volume }: Attempt, index: number, layer: LayerRef) {
  const task = layerTask(layer, context);
  const room = () => sink.flush();
  const writer = options.keep === undefined || layer.diffId === undefined ? undefined : new ListingWriter();
  const handler = merge.layer(index, layer.label, lessons.superseded.get(index), writer);
  await readLayer(layer, handler, context, task, room, volume);
  await endLayer(merge, layer, (again) => readLayer(layer, again, context, task, room, volume));
  if (layer.diffId !== undefined && writer !== undefined) await options.keep?.(layer.diffId, writer.finish());
  task.done();
}

/** The same of a layer that the donor has: its files are reused, and only if some are not there is it read. */
async function mergeListed(one: Attempt, index: number, layer: LayerRef, listing: Buffer) {
  const { merge, sink, lessons, options, context, volume } = one;
  const room = () => sink.flush();
  const writer = new ListingWriter();
  const tree = `${fromText(lessons.donor?.tree ?? "")}/`;
  const reuse = (file: Entry, name: ByteString) => sink.reuse?.(file, `${tree}${name}` as ByteString);
  const take = merge.listed(index, layer.label, lessons.superseded.get(index), writer, reuse);
  let count = 0;
  for (const listed of readListing(listing)) {
    take(listed);
    if (++count % ROOM_AFTER !== 0) continue;
    throwIfAborted(context.signal);
    await room();
  }
  await endLayer(merge, layer, async (again) => {
    const task = layerTask(layer, context);
    await readLayer(layer, again, context, task, room, volume);
    task.done();
  });
  if (layer.diffId !== undefined) await options.keep?.(layer.diffId, writer.finish());
}

/** Entries of a listing, after which the sink is asked for room. */
export const ROOM_AFTER = 1024;

async function endLayer(merge: Merge, layer: LayerRef, read: (handler: TarHandler) => Promise<void>): Promise<void> {
  const missed = merge.endLayer();
  if (missed.size > 0) await read(merge.again(missed, layer.label));
}

/** Takes in why an attempt had to stop, or throws it on. */
async function learn(error: unknown, lessons: Lessons, image: SourceImage, context: Context): Promise<void> {
  if (error instanceof RootDiffers) {
    lessons.root = error.root;
    return;
  }
  if (error instanceof TooSmall) return;
  if (lessons.donor !== undefined && !(error instanceof RepeatedName)) {
    // Whatever it was, a file that takes no more links or a donor that somebody damaged: without it nothing is lost.
    lessons.donor = undefined;
    return;
  }
  if (!(error instanceof RepeatedName) || lessons.superseded.has(error.layer)) throw error;
  const layer = image.layers[error.layer];
  if (layer === undefined) throw error;
  const task = layerTask(layer, context);
  lessons.superseded.set(error.layer, await indexLayer(layer, context, task));
  task.done();
}

/** The task of reading a layer. */
export const layerTask = (layer: LayerRef, context: Context): Task =>
  context.progress.task(unpackId(layer), `unpack ${layer.label}`, layer.size);
