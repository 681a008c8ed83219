/** The blob cache: downloaded blobs by digest, verified when they come and again when they are used. */
import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { throwIfAborted } from "../base/context.ts";
import { errnoOf, Failure, type FailureCode, fileFailure } from "../base/errors.ts";
import { makePrivateDirectory, writeFileSafely } from "../base/files.ts";
import type { Layout } from "./layout.ts";
import { lock } from "./lock.ts";

/** Ends the name of a blob that has arrived in part: the next download goes on from there. */
const HALF = ".half";

const halfOf = (path: string): string => `${path}${HALF}`;

/** Milliseconds after which nobody is expected to go on with a half: a week. */
const FORGOTTEN_AFTER = 7 * 24 * 3600 * 1000;

const isForgotten = (path: string): Promise<boolean> =>
  stat(path).then(
    ({ mtimeMs }) => Date.now() - mtimeMs > FORGOTTEN_AFTER,
    () => false,
  );

/** Failures after which what has arrived is still good. */
const KEEPS: ReadonlySet<FailureCode> = new Set(["E_NETWORK", "E_INTERRUPTED", "E_REGISTRY", "E_DENIED"]);

const isWorthKeeping = (error: unknown): boolean => error instanceof Failure && KEEPS.has(error.code);

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
    download: (offset: number) => Promise<AsyncIterable<Buffer>>,
    signal: AbortSignal,
    report: (bytes: number) => void,
  ): Promise<{ path: string; cached: boolean }> {
    const path = this.#path(blob.digest);
    const held = await lock(join(this.#layout.locks, `blob-${hexOf(blob.digest)}`), signal, () => {});
    try {
      if (await isWhole(path, blob, signal)) return { path, cached: true };
      await this.#clearLeavings(blob.digest);
      const half = halfOf(path);
      const found = await stat(half).then(
        ({ size }) => size,
        () => 0,
      );
      const begun = found < blob.size ? found : 0;
      try {
        await this.#download(path, blob, begun, download, signal, report);
      } catch (error) {
        // What an earlier process left may have been damaged since: the whole is fetched, once.
        if (begun === 0 || !(error instanceof Failure && error.code === "E_DIGEST")) throw error;
        await this.#download(path, blob, 0, download, signal, () => {});
      }
      return { path, cached: false };
    } finally {
      held.release();
    }
  }

  /** Downloads what follows the first `begun` bytes. As the lock is ours, nobody else has the half file. */
  async #download(
    path: string,
    blob: BlobInfo,
    begun: number,
    download: (offset: number) => Promise<AsyncIterable<Buffer>>,
    signal: AbortSignal,
    report: (bytes: number) => void,
  ): Promise<void> {
    const half = halfOf(path);
    let handle: FileHandle | undefined;
    try {
      const hash = createHash("sha256");
      if (begun > 0) await addFile(hash, half, signal);
      handle = await open(half, begun > 0 ? "a" : "w", 0o600);
      await receive({ handle, hash, begun }, blob, await download(begun), signal, report);
      await handle.close();
      handle = undefined;
      // No fsync: a blob is not believed but verified, so one that a power cut has damaged is downloaded again.
      await rename(half, path);
    } catch (error) {
      await handle?.close().catch(() => {});
      if (!isWorthKeeping(error)) await rm(half, { force: true }).catch(() => {});
      throw error instanceof Failure ? error : fileFailure(error, "writing to the blob cache", path);
    }
  }

  /** Files of processes that died before halves were kept; and halves that nobody has come back for. */
  async #clearLeavings(digest: string): Promise<void> {
    const prefix = `${hexOf(digest)}.`;
    for (const name of await readdir(this.#layout.blobs)) {
      const path = join(this.#layout.blobs, name);
      const leaving = name.endsWith(HALF) ? await isForgotten(path) : name.startsWith(prefix);
      if (leaving) await rm(path, { force: true });
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
  await addFile(hash, path, signal);
  return digestIs(hash, blob.digest);
}

async function addFile(hash: Hash, path: string, signal: AbortSignal): Promise<void> {
  for await (const chunk of createReadStream(path, { highWaterMark: WRITE_BYTES })) {
    throwIfAborted(signal);
    hash.update(chunk as Buffer);
  }
}

async function receive(
  { handle, hash, begun }: { handle: FileHandle; hash: Hash; begun: number },
  blob: BlobInfo,
  chunks: AsyncIterable<Buffer>,
  signal: AbortSignal,
  report: (bytes: number) => void,
): Promise<void> {
  let size = begun;
  let parts: Buffer[] = [];
  let collected = 0;
  const flush = async () => {
    if (parts.length > 0) {
      // One call may write less than all, as on a file system that is nearly full.
      const { bytesWritten } = await handle.writev(parts);
      if (bytesWritten < collected) await handle.writeFile(Buffer.concat(parts).subarray(bytesWritten));
    }
    parts = [];
    collected = 0;
  };
  try {
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
  } catch (error) {
    if (isWorthKeeping(error)) await flush();
    throw error;
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
