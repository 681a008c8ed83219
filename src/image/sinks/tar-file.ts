/** A tar in a file, compressed or not, with the digests of both. */
import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { type Duplex, PassThrough, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { constants, createGzip, createZstdCompress } from "node:zlib";
import { fromText } from "../../base/bytes.ts";
import { throwIfAborted } from "../../base/context.ts";
import { Failure, fileFailure } from "../../base/errors.ts";
import type { ArchiveFormat, Digest, Entry } from "../types.ts";
import type { EntrySink } from "./sink.ts";
import { TarStream } from "./tar-stream.ts";

/** How a tar is compressed. */
export interface TarCompression {
  name: "none" | "gzip" | "zstd";
  level: number;
}

const levels = { none: undefined, gzip: [1, 9, 6], zstd: [1, 22, 3] } as const;

/** The compression that `NAME` or `NAME:LEVEL` stands for. Throws E_USAGE. */
export function parseTarCompression(comp: string): TarCompression {
  const [, name = "", level] = /^(none|gzip|zstd)(?::([0-9]{1,2}))?$/.exec(comp) ?? [];
  const range = levels[name as TarCompression["name"]];
  const number = level === undefined ? (range?.[2] ?? 0) : Number(level);
  const fits = range === undefined ? name === "none" && level === undefined : number >= range[0] && number <= range[1];
  if (fits) return { name: name as TarCompression["name"], level: number };
  throw new Failure("E_USAGE", "not a compression that a tar has here", {
    where: "--comp",
    mend: "use gzip:1 to gzip:9, zstd:1 to zstd:22, or none",
  });
}

function compressor({ name, level }: TarCompression): Duplex {
  if (name === "none") return new PassThrough();
  if (name === "gzip") return createGzip({ level, chunkSize: 1 << 18 });
  return createZstdCompress({ chunkSize: 1 << 18, params: { [constants.ZSTD_c_compressionLevel]: level } });
}

/** What was written. */
export interface TarFileResult {
  /** Of the file. */
  digest: Digest;
  size: number;
  /** Of the tar in it. */
  diffId: Digest;
}

export class TarFile implements EntrySink {
  readonly #stream: TarStream;
  readonly #stop = new AbortController();
  readonly #writing: Promise<TarFileResult>;
  /**
   * Written last: what other layers add to a directory comes after its entry, and would change the time that an
   * unpacker gave it, or be refused where the directory is read-only.
   */
  readonly #directories: Entry[] = [];

  /** Fills the file `path`, which must exist and be empty; with a format, with an archive of another kind than tar. */
  constructor(path: string, compression: TarCompression, format?: ArchiveFormat) {
    const input = new PassThrough({ highWaterMark: 1 << 20 });
    this.#writing = writeTarFile(path, input, compression, this.#stop.signal);
    this.#stream = new TarStream(
      input,
      this.#writing.then(() => {}),
      format,
    );
  }

  entry(entry: Entry): void {
    if (entry.kind === "directory") this.#directories.push(entry);
    else this.#stream.entry(entry);
  }

  data(slice: Buffer): void {
    this.#stream.data(slice);
  }

  /** Ends the last entry; for a directory there is nothing to end. */
  end(): void {
    this.#stream.end();
  }

  flush(): Promise<void> | undefined {
    return this.#stream.flush();
  }

  /** Ends the archive with the root's entry; the file is durable then. */
  async commit(root: Entry): Promise<TarFileResult> {
    // Sorted, parents come before what is in them.
    const directories = this.#directories.sort((a, b) => (a.path < b.path ? -1 : 1));
    for (const entry of [{ ...root, path: fromText(".") }, ...directories]) {
      this.#stream.entry(entry);
      this.#stream.end();
    }
    await this.#stream.commit();
    return this.#writing;
  }

  /** Stops writing. Never rejects. */
  async abort(): Promise<void> {
    this.#stop.abort();
    await this.#writing.catch(() => {});
  }
}

/** Writes a tar, compressed, into the file `path`, which must exist and be empty; the file is durable then. */
export async function writeTarFile(
  path: string,
  input: AsyncIterable<Buffer>,
  compression: TarCompression,
  signal: AbortSignal,
): Promise<TarFileResult> {
  const inside = createHash("sha256");
  const outside = createHash("sha256");
  let size = 0;
  try {
    const before = observed((chunk) => inside.update(chunk));
    const after = observed((chunk) => {
      outside.update(chunk);
      size += chunk.length;
    });
    // `flush`: fsync(2) before the file is closed.
    const output = createWriteStream(path, { flags: "r+", flush: true, highWaterMark: 1 << 20 });
    await pipeline(input, before, compressor(compression), after, output, { signal });
  } catch (error) {
    throwIfAborted(signal);
    throw fileFailure(error, "writing the archive", path);
  }
  return {
    digest: `sha256:${outside.digest("hex")}` as Digest,
    size,
    diffId: `sha256:${inside.digest("hex")}` as Digest,
  };
}

const observed = (see: (chunk: Buffer) => void): Transform =>
  new Transform({
    highWaterMark: 1 << 20,
    transform: (chunk: Buffer, _, done) => {
      see(chunk);
      done(null, chunk);
    },
  });
