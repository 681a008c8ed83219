/** Local files as sources read them. */
import { constants } from "node:fs";
import { type FileHandle, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { type Context, throwIfAborted } from "../../base/context.ts";
import { Failure, fileFailure } from "../../base/errors.ts";
import { clearTemporaries, temporaryName } from "../../base/files.ts";

const READ_BYTES = 1 << 20;

/** Opens a regular file: never a FIFO or device, which could block or never end. */
export async function openRegular(path: string): Promise<{ handle: FileHandle; size: number }> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const stat = await handle.stat();
    if (stat.isFile()) return { handle, size: stat.size };
  } catch (error) {
    await handle?.close();
    throw fileFailure(error, "reading the image", path);
  }
  await handle.close();
  throw new Failure("E_SOURCE", "not a regular file", {
    where: path,
    mend: "name a tar file, or oci:DIRECTORY or dir:DIRECTORY",
  });
}

/** The bytes of a regular file, 1 MiB at a time. */
export async function* readChunks(path: string): AsyncGenerator<Buffer> {
  const { handle, size } = await openRegular(path);
  try {
    yield* readRange(handle, 0, Math.max(size, 0), path);
  } finally {
    await handle.close();
  }
}

/** A part of an open file, 1 MiB at a time. What is missing of it is for the reader's check of size and digest. */
export async function* readRange(
  handle: FileHandle,
  offset: number,
  size: number,
  where: string,
): AsyncGenerator<Buffer> {
  for (let at = offset; at < offset + size; ) {
    const buffer = Buffer.allocUnsafeSlow(Math.min(READ_BYTES, offset + size - at));
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, at).catch((error: unknown) => {
      throw fileFailure(error, "reading the image", where);
    });
    if (bytesRead === 0) return;
    at += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

/** A whole small file. Throws E_LIMIT when it is larger than `limit` bytes. */
export async function readSmall(path: string, limit: number): Promise<Buffer> {
  const { handle, size } = await openRegular(path);
  try {
    refuseLarge(size, limit, path);
    return await handle.readFile();
  } catch (error) {
    throw fileFailure(error, "reading the image", path);
  } finally {
    await handle.close();
  }
}

/** Throws E_LIMIT for a document of more bytes than a sane one has. */
export function refuseLarge(size: number, limit: number, where: string): void {
  if (size <= limit) return;
  throw new Failure("E_LIMIT", `a document of ${size} bytes where at most ${limit} are allowed`, { where });
}

/** The first bytes of a file, at most `length`. */
export async function readStart(path: string, length: number): Promise<Buffer> {
  const { handle } = await openRegular(path);
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, 0);
    return buffer.subarray(0, bytesRead);
  } catch (error) {
    throw fileFailure(error, "reading the image", path);
  } finally {
    await handle.close();
  }
}

/** Linux, fs/squashfs/squashfs_fs.h: SQUASHFS_MAGIC, "hsqs". */
export const isSquashfs = async (file: string): Promise<boolean> =>
  (await readStart(file, 4)).toString("latin1") === "hsqs";

/** A name for a temporary file or directory; what dead processes left there is removed. */
export async function temporaryPath(context: Context): Promise<string> {
  const base = join(context.settings.TEMP_PATH, "rootling");
  await clearTemporaries(base);
  return temporaryName(base);
}

/** Keeps a stream in a file without a name, readable from any place. The handle is for the caller to close. */
export async function spool(
  chunks: AsyncIterable<Buffer>,
  context: Context,
): Promise<{ handle: FileHandle; size: number }> {
  const path = await temporaryPath(context);
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, "wx+", 0o600);
    // Nobody else can open it, and it goes with this process.
    await rm(path);
    let size = 0;
    for await (const chunk of chunks) {
      throwIfAborted(context.signal);
      await handle.appendFile(chunk);
      size += chunk.length;
    }
    return { handle, size };
  } catch (error) {
    await handle?.close();
    throw fileFailure(error, "keeping the image in a temporary file", path);
  }
}
