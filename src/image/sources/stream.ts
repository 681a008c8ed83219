/** Sources that are one stream of a tar, without manifest: its bytes are the image's identity. */
import { createHash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { throwIfAborted } from "../../base/context.ts";
import { Failure } from "../../base/errors.ts";
import { decompress } from "../decompress.ts";
import { cleanPath } from "../names.ts";
import { TarReader } from "../tar-read.ts";
import type { Digest, Entry, SourceImage } from "../types.ts";
import { readRange, spool } from "./files.ts";
import type { OpenContext } from "./source.ts";

export interface Stream {
  name: string;
  /** A short name for progress and errors. */
  label: string;
  /** Bytes, where known. */
  size?: number;
  root?: Entry;
  /** What is known of the image from elsewhere. */
  about?: Pick<SourceImage, "config" | "run" | "platform">;
  /** The stored bytes from the beginning. */
  open(): AsyncIterable<Buffer>;
  /** How often `open` gives the same bytes: always; or each time what there is by then; or only once. */
  again: "same" | "anew" | "never";
  close?(): Promise<void>;
}

/**
 * The image of a stream. Where it is to be read once, that is all that happens, and its digest is known at the end.
 * Otherwise its digest is taken first; a stream that does not come again as it was is kept in a temporary file.
 */
export async function openStream(stream: Stream, context: OpenContext): Promise<SourceImage> {
  let digest: Digest | undefined;
  let opened = 0;
  let kept: { handle: FileHandle; size: number } | undefined;
  const bytes = (): AsyncIterable<Buffer> => {
    if (kept !== undefined) return readRange(kept.handle, 0, kept.size, stream.label);
    if (opened++ > 0 && stream.again === "never") throw cannotRepeat(stream.label);
    return stream.open();
  };
  const hashed = async function* () {
    const hash = createHash("sha256");
    for await (const chunk of bytes()) {
      hash.update(chunk);
      yield chunk;
    }
    const found = `sha256:${hash.digest("hex")}` as Digest;
    if (digest !== undefined && digest !== found && (kept !== undefined || stream.again !== "anew")) {
      throw changed(stream.label);
    }
    digest = found;
  };
  const close = async () => {
    await kept?.handle.close();
    await stream.close?.();
  };
  try {
    if (!context.once) {
      const task = context.progress.task(`read ${stream.label}`, `read ${stream.label}`, stream.size);
      const reading = counted(hashed(), context, task.advance.bind(task));
      if (stream.again === "same") for await (const _ of reading);
      else kept = await spool(reading, context);
      task.done();
    }
  } catch (error) {
    await close();
    throw error;
  }
  const size = kept?.size ?? stream.size;
  return {
    get digest() {
      if (digest !== undefined) return digest;
      throw new Failure("E_LAYER", "more bytes follow the end of the compressed archive", { where: stream.label });
    },
    name: stream.name,
    ...(stream.root === undefined ? {} : { root: stream.root }),
    run: {},
    platform: context.platform,
    ...stream.about,
    layers: [{ label: stream.label, ...(size === undefined ? {} : { size }), open: async () => hashed() }],
    close,
  };
}

async function* counted(
  chunks: AsyncIterable<Buffer>,
  context: OpenContext,
  report: (bytes: number) => void,
): AsyncGenerator<Buffer> {
  for await (const chunk of chunks) {
    throwIfAborted(context.signal);
    report(chunk.length);
    yield chunk;
  }
}

const changed = (where: string): Failure =>
  new Failure("E_DIGEST", "it changed while it was read", { where, mend: "try again once nobody writes to it" });

const cannotRepeat = (where: string): Failure =>
  new Failure("E_SOURCE", "the archive gives a name twice and has to be read again, which this source cannot be", {
    where,
    mend: "save it to a file first, and name that",
  });

/** Enough for what comes before the root's entry: a global PAX header, its own, and the few names of /dev. */
export const START_BYTES = 64 << 10;

/**
 * The image of a stream that is there once. What it begins with is read now: whoever makes it has begun, and a sink
 * that needs the root's entry first has it.
 */
export async function openOnce(
  stream: Pick<Stream, "name" | "label" | "about" | "close">,
  chunks: AsyncIterable<Buffer>,
  context: OpenContext,
): Promise<SourceImage> {
  const iterator = chunks[Symbol.asyncIterator]();
  // A pipe gives as little at a time as its writer pleases.
  const parts: Buffer[] = [];
  for (let size = 0; size < START_BYTES; ) {
    const next = await iterator.next();
    if (next.done) break;
    parts.push(next.value);
    size += next.value.length;
  }
  const start = Buffer.concat(parts);
  const root = await rootAtStart(start.subarray(0, START_BYTES), stream.label);
  const open = async function* () {
    if (start.length > 0) yield start;
    for (let next = await iterator.next(); !next.done; next = await iterator.next()) yield next.value;
  };
  return openStream({ ...stream, ...(root === undefined ? {} : { root }), open, again: "never" }, context);
}

/**
 * The root's entry, if it is among the first in an archive that begins with `start`: so it is in what `tar -c .` makes.
 * A sink that needs it first would otherwise have to start anew.
 */
export async function rootAtStart(start: Buffer, where: string): Promise<Entry | undefined> {
  let root: Entry | undefined;
  const handler = {
    entry: (entry: Entry) => {
      if (root === undefined && entry.kind === "directory" && isRoot(entry, where)) root = entry;
      return false;
    },
    data: () => {},
    end: () => {},
  };
  const reader = new TarReader(where, handler);
  try {
    for await (const chunk of decompress(only(start), where)) {
      reader.write(chunk.subarray(0, START_BYTES));
      break;
    }
  } catch {
    // The archive is cut here, or damaged: whoever reads it as a whole will say so.
  }
  return root;
}

function isRoot(entry: Entry, where: string): boolean {
  try {
    return cleanPath(entry.path, where) === "";
  } catch {
    return false;
  }
}

async function* only(chunk: Buffer): AsyncGenerator<Buffer> {
  yield chunk;
}
