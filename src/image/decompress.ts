/** Turns stored bytes into the tar, told by their first bytes: names and media types may lie. */
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip, createZstdDecompress } from "node:zlib";
import { errnoOf, Failure } from "../base/errors.ts";
import { requireProgram, run } from "../base/process.ts";

/** With Node's default of 16 KiB it takes twice as long. */
const CHUNK = 1 << 20;
/** Inflating goes on in another thread while this many bytes wait. */
const AHEAD = 2 * CHUNK;

export type Compression = "none" | "gzip" | "zstd" | "bzip2" | "xz";

const magics: readonly (readonly [string, Compression | "lz4"])[] = [
  ["1f8b", "gzip"],
  ["28b52ffd", "zstd"],
  ["425a68", "bzip2"],
  ["fd377a585a00", "xz"],
  ["04224d18", "lz4"],
];

const MAGIC_BYTES = Math.max(...magics.map(([hex]) => hex.length / 2));

/** The compression of bytes that begin with `start`. Throws E_LAYER for kinds that are not read. */
export function compressionOf(start: Buffer, where: string): Compression {
  const hex = start.subarray(0, 8).toString("hex");
  // RFC 8878: zstd streams may begin with a skippable frame, 0x184D2A50 to 0x184D2A5F.
  if (/^5.2a4d18/.test(hex)) return "zstd";
  const found = magics.find(([magic]) => hex.startsWith(magic))?.[1] ?? "none";
  if (found !== "lz4") return found;
  throw new Failure("E_LAYER", `compressed with ${found}, which is not supported`, {
    where,
    mend: "compress it with gzip, zstd, xz or bzip2, or not at all",
  });
}

/** The uncompressed bytes. Throws E_LAYER when the compressed ones are damaged or cut. */
export async function* decompress(stored: AsyncIterable<Buffer>, where: string): AsyncGenerator<Buffer> {
  const iterator = stored[Symbol.asyncIterator]();
  const start = await startOf(iterator);
  if (start.length === 0) return;
  const whole = (async function* () {
    try {
      yield start;
      for (let next = await iterator.next(); !next.done; next = await iterator.next()) yield next.value;
    } finally {
      await iterator.return?.();
    }
  })();
  const compression = compressionOf(start, where);
  if (compression === "none") {
    yield* whole;
    return;
  }
  yield* compression === "bzip2" || compression === "xz"
    ? filtered(whole, compression, where)
    : inflate(whole, compression, where);
}

/** The first chunk, with as many more as the longest magic number takes: a pipe gives what its writer wrote. */
async function startOf(chunks: AsyncIterator<Buffer>): Promise<Buffer> {
  let start: Buffer = Buffer.alloc(0);
  while (start.length < MAGIC_BYTES) {
    const next = await chunks.next();
    if (next.done) break;
    start = start.length === 0 ? next.value : Buffer.concat([start, next.value]);
  }
  return start;
}

/** What Node cannot inflate, the system's programs can. Their memory is limited: an xz header asks for any amount. */
const programs = {
  bzip2: { debianPackage: "bzip2", words: ["-dc"] },
  xz: { debianPackage: "xz-utils", words: ["-dc", "--memlimit-decompress=512MiB"] },
} as const;

async function* filtered(
  stored: AsyncIterable<Buffer>,
  compression: keyof typeof programs,
  where: string,
): AsyncGenerator<Buffer> {
  const { debianPackage, words } = programs[compression];
  const running = run(requireProgram(compression, debianPackage), words, { stdin: "pipe", stdout: "pipe" });
  const { stdin, stdout } = running.child;
  if (stdin === null || stdout === null) throw new Failure("E_INTERNAL", "a program without pipes");
  let inputError: unknown;
  const feeding = pipeline(Readable.from(stored, { objectMode: true, highWaterMark: 2 }), stdin).catch((error) => {
    // When the program ends first, its status says why.
    if (errnoOf(error) !== "EPIPE") inputError = error;
  });
  try {
    for await (const chunk of stdout) yield chunk as Buffer;
    await feeding;
    if (inputError !== undefined) throw inputError;
    await running.finished;
  } catch (error) {
    if (!(error instanceof Failure) || error.code !== "E_PROGRAM") throw error;
    throw new Failure("E_LAYER", `the ${compression} stream is damaged or cut: ${error.what}`, {
      where,
      mend: "try again; if it stays, the image is damaged where it is kept",
      cause: error,
    });
  } finally {
    await running.kill();
  }
}

async function* inflate(
  stored: AsyncIterable<Buffer>,
  compression: "gzip" | "zstd",
  where: string,
): AsyncGenerator<Buffer> {
  const options = { chunkSize: CHUNK, readableHighWaterMark: AHEAD };
  const inflater = compression === "gzip" ? createGunzip(options) : createZstdDecompress(options);
  const input = Readable.from(stored, { objectMode: true, highWaterMark: 2 });
  let inputError: unknown;
  input.on("error", (error) => {
    inputError = error;
    inflater.destroy(error);
  });
  input.pipe(inflater);
  try {
    for await (const chunk of inflater) yield chunk as Buffer;
  } catch (error) {
    if (inputError !== undefined) throw inputError;
    if (!/^(Z_|ZSTD_|ERR_|ERROR_)/.test(errnoOf(error) ?? String((error as { code?: unknown }).code))) throw error;
    throw new Failure("E_LAYER", `the ${compression} stream is damaged or cut: ${(error as Error).message}`, {
      where,
      mend: "try again; if it stays, the image is damaged where it is kept",
      cause: error,
    });
  } finally {
    input.destroy();
    inflater.destroy();
  }
}
