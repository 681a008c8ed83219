/** Local files as sources read them. */
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { Failure, fileFailure } from "../../base/errors.ts";

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
  throw new Failure("E_SOURCE", "not a regular file", { where: path, mend: "name a tar file, or oci:DIRECTORY" });
}

/** The bytes of a regular file, 1 MiB at a time. */
export async function* readChunks(path: string): AsyncGenerator<Buffer> {
  const { handle } = await openRegular(path);
  try {
    for (;;) {
      const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
      const { bytesRead } = await handle.read(buffer, 0, READ_BYTES, null);
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
    }
  } catch (error) {
    throw fileFailure(error, "reading the image", path);
  } finally {
    await handle.close();
  }
}

/** A whole small file. Throws E_LIMIT when it is larger than `limit` bytes. */
export async function readSmall(path: string, limit: number): Promise<Buffer> {
  const { handle, size } = await openRegular(path);
  try {
    if (size > limit) {
      throw new Failure("E_LIMIT", `a document of ${size} bytes where at most ${limit} are allowed`, { where: path });
    }
    return await handle.readFile();
  } catch (error) {
    throw fileFailure(error, "reading the image", path);
  } finally {
    await handle.close();
  }
}
