/** The blob cache: downloaded blobs by digest, verified when they come and again when they are used. */
import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { throwIfAborted } from "../base/context.ts";
import { errnoOf, Failure, fileFailure } from "../base/errors.ts";
import { makePrivateDirectory, temporaryName, writeFileSafely } from "../base/files.ts";
import type { Layout } from "./layout.ts";
import { lock } from "./lock.ts";

/** What is written at a time. */
const WRITE_BYTES = 1 << 20;

interface BlobInfo {
  digest: string;
  size: number;
}

export class Blobs {
  readonly #layout: Layout;

  constructor(layout: Layout) {
    this.#layout = layout;
    makePrivateDirectory(layout.blobs);
    makePrivateDirectory(layout.locks);
  }

  /** A small blob, if it is there and whole. */
  async read(digest: string, limit: number): Promise<Buffer | undefined> {
    const path = this.#path(digest);
    try {
      if ((await stat(path)).size > limit) return undefined;
      const bytes = await readFile(path);
      return digestIs(createHash("sha256").update(bytes), digest) ? bytes : undefined;
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return undefined;
      throw fileFailure(error, "reading the blob cache", path);
    }
  }

  /** Keeps a small blob whose digest was verified. */
  async write(digest: string, bytes: Buffer): Promise<void> {
    await writeFileSafely(this.#path(digest), bytes);
  }

  /** See BlobCache of the image side. One that is there but damaged is downloaded anew. */
  async obtain(
    blob: BlobInfo,
    download: () => Promise<AsyncIterable<Buffer>>,
    signal: AbortSignal,
    report: (bytes: number) => void,
  ): Promise<{ path: string; cached: boolean }> {
    const path = this.#path(blob.digest);
    const held = await lock(join(this.#layout.locks, `blob-${hexOf(blob.digest)}`), signal, () => {});
    try {
      if (await isWhole(path, blob, signal)) return { path, cached: true };
      await this.#clearLeavings(blob.digest);
      await this.#download(path, blob, await download(), signal, report);
      return { path, cached: false };
    } finally {
      held.release();
    }
  }

  async #download(
    path: string,
    blob: BlobInfo,
    chunks: AsyncIterable<Buffer>,
    signal: AbortSignal,
    report: (bytes: number) => void,
  ): Promise<void> {
    const temporary = temporaryName(path);
    let handle: FileHandle | undefined;
    try {
      handle = await open(temporary, "wx", 0o600);
      await receive(handle, blob, chunks, signal, report);
      await handle.close();
      handle = undefined;
      // No fsync: a blob is not believed but verified, so one that a power cut has damaged is downloaded again.
      await rename(temporary, path);
    } catch (error) {
      await handle?.close().catch(() => {});
      await rm(temporary, { force: true }).catch(() => {});
      throw error instanceof Failure ? error : fileFailure(error, "writing to the blob cache", path);
    }
  }

  /** Half a download of a process that died. As the lock is ours, it is nobody's. */
  async #clearLeavings(digest: string): Promise<void> {
    const prefix = `${hexOf(digest)}.`;
    for (const name of await readdir(this.#layout.blobs)) {
      if (name.startsWith(prefix)) await rm(join(this.#layout.blobs, name), { force: true });
    }
  }

  #path(digest: string): string {
    return join(this.#layout.blobs, hexOf(digest));
  }
}

function hexOf(digest: string): string {
  const hex = /^sha256:([0-9a-f]{64})$/.exec(digest)?.[1];
  if (hex === undefined) throw new Failure("E_INTERNAL", "a digest that was not checked");
  return hex;
}

const digestIs = (hash: Hash, digest: string): boolean => `sha256:${hash.digest("hex")}` === digest;

async function isWhole(path: string, blob: BlobInfo, signal: AbortSignal): Promise<boolean> {
  const size = await stat(path).then(
    (found) => found.size,
    () => undefined,
  );
  if (size !== blob.size) return false;
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path, { highWaterMark: WRITE_BYTES })) {
    throwIfAborted(signal);
    hash.update(chunk as Buffer);
  }
  return digestIs(hash, blob.digest);
}

async function receive(
  handle: FileHandle,
  blob: BlobInfo,
  chunks: AsyncIterable<Buffer>,
  signal: AbortSignal,
  report: (bytes: number) => void,
): Promise<void> {
  const hash = createHash("sha256");
  let size = 0;
  let parts: Buffer[] = [];
  let collected = 0;
  const flush = async () => {
    if (parts.length > 0) await handle.writev(parts);
    parts = [];
    collected = 0;
  };
  for await (const chunk of chunks) {
    throwIfAborted(signal);
    size += chunk.length;
    if (size > blob.size) throw damaged(blob, "more bytes came than were promised");
    hash.update(chunk);
    parts.push(chunk);
    collected += chunk.length;
    report(chunk.length);
    if (collected >= WRITE_BYTES) await flush();
  }
  await flush();
  if (size !== blob.size) throw damaged(blob, `${size} bytes came instead of the promised ${blob.size}`);
  if (!digestIs(hash, blob.digest)) throw damaged(blob, "the bytes that came do not have the promised digest");
}

function damaged(blob: BlobInfo, what: string): Failure {
  return new Failure("E_DIGEST", what, {
    where: `blob ${blob.digest}`,
    mend: "try again; if it stays, the image is damaged in the registry",
  });
}
