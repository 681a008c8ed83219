/** An OCI image layout that is being written: a directory, or a tar of one (image-spec, image-layout.md). */
import { createWriteStream } from "node:fs";
import { mkdir, open, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { finished } from "node:stream/promises";
import { fromText } from "../../base/bytes.ts";
import { nameBeside } from "../../base/destination.ts";
import { fileFailure } from "../../base/errors.ts";
import { moveIntoPlace, removeTree, syncDirectory, syncFile } from "../../base/files.ts";
import { digestHex } from "../digest.ts";
import { type Document, indexOf } from "../oci-documents.ts";
import { readChunks } from "../sources/files.ts";
import type { BlobInfo, Digest, Entry } from "../types.ts";
import { TarStream } from "./tar-stream.ts";

export interface LayoutOptions {
  output: string;
  form: "directory" | "archive";
  force: boolean;
}

/** Either `commit` or `abort` ends it; after `abort` nothing of it is left. */
export interface LayoutOutput {
  /** A private directory of this output: for files that become blobs. */
  readonly scratch: string;
  /** A blob whose bytes are verified by whoever gives them. One that is there already is not read. */
  blob(blob: BlobInfo, content: () => Promise<AsyncIterable<Buffer>>): Promise<void>;
  /** A file of `scratch` becomes a blob. */
  adopt(blob: BlobInfo, file: string): Promise<void>;
  document(document: Document): Promise<void>;
  /** Makes the layout complete and durable under its final name: of one image, whose documents and blobs are there. */
  commit(manifest: Document, tag: string): Promise<void>;
  /** Never rejects. */
  abort(): Promise<void>;
}

const MARKER = '{"imageLayoutVersion":"1.0.0"}';
const BLOBS = "blobs/sha256";

const blobPath = (digest: Digest): string => `${BLOBS}/${digestHex(digest)}`;

/** Begins a layout. Throws E_EXISTS and what making a directory beside the output throws. */
export async function openLayoutOutput({ output, form, force }: LayoutOptions): Promise<LayoutOutput> {
  const directory = await nameBeside(output, form === "archive" ? "file" : "directory", force);
  try {
    await mkdir(directory, form === "archive" ? { mode: 0o700 } : {});
    const place = await (form === "archive" ? archiveIn(directory) : directoryIn(directory));
    return new Writing(directory, place, { output, form, force });
  } catch (error) {
    await removeTree(directory).catch(() => {});
    throw fileFailure(error, "making the image layout", output);
  }
}

/** Where the files of a layout go. */
interface Place {
  write(path: string, size: number, content: AsyncIterable<Buffer>): Promise<void>;
  adopt(path: string, size: number, file: string): Promise<void>;
  /** All was written: makes it durable. Returns what gets the final name. */
  finish(): Promise<string>;
  abort(): Promise<void>;
}

class Writing implements LayoutOutput {
  readonly scratch: string;
  readonly #place: Place;
  readonly #options: LayoutOptions;
  readonly #present = new Set<Digest>();

  constructor(directory: string, place: Place, options: LayoutOptions) {
    this.scratch = directory;
    this.#place = place;
    this.#options = options;
  }

  async blob(blob: BlobInfo, content: () => Promise<AsyncIterable<Buffer>>): Promise<void> {
    if (!this.#isNew(blob)) return;
    const chunks = await content();
    await this.#doing(() => this.#place.write(blobPath(blob.digest), blob.size, chunks));
  }

  async adopt(blob: BlobInfo, file: string): Promise<void> {
    await this.#doing(() =>
      this.#isNew(blob) ? this.#place.adopt(blobPath(blob.digest), blob.size, file) : rm(file, { force: true }),
    );
  }

  document(document: Document): Promise<void> {
    return this.blob(document, async () => only(document.bytes));
  }

  async commit(manifest: Document, tag: string): Promise<void> {
    const { output, force } = this.#options;
    const made = await this.#doing(async () => {
      const index = indexOf(manifest, tag).bytes;
      await this.#place.write("index.json", index.length, only(index));
      await this.#place.write("oci-layout", MARKER.length, only(Buffer.from(MARKER)));
      return this.#place.finish();
    });
    await moveIntoPlace(made, output, force);
    if (made !== this.scratch) await removeTree(this.scratch).catch(() => {});
  }

  async abort(): Promise<void> {
    await this.#place.abort();
    await removeTree(this.scratch).catch(() => {});
  }

  #isNew({ digest }: BlobInfo): boolean {
    if (this.#present.has(digest)) return false;
    this.#present.add(digest);
    return true;
  }

  async #doing<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw fileFailure(error, "writing the image layout", this.#options.output);
    }
  }
}

async function* only(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

async function directoryIn(directory: string): Promise<Place> {
  await mkdir(join(directory, BLOBS), { recursive: true });
  return {
    write: async (path, _, content) => {
      const file = join(directory, path);
      await writeFile(file, content, { flag: "wx" });
      await syncFile(file);
    },
    adopt: (path, _, file) => rename(file, join(directory, path)),
    finish: async () => {
      for (const path of [BLOBS, "blobs", "."]) await syncDirectory(join(directory, path));
      return directory;
    },
    abort: async () => {},
  };
}

/** The members have no times and no owners: the same image always gives the same bytes. */
const member = (path: string, kind: "file" | "directory", size: number): Entry => ({
  ...{ path: fromText(path), kind, size },
  ...{ mode: kind === "file" ? 0o644 : 0o755, uid: 0, gid: 0, mtime: 0 },
});

async function archiveIn(directory: string): Promise<Place> {
  const file = join(directory, "archive");
  await (await open(file, "wx", 0o644)).close();
  // `flush`: fsync(2) before the file is closed.
  const stream = createWriteStream(file, { flags: "r+", flush: true, highWaterMark: 1 << 20 });
  const tar = new TarStream(stream, finished(stream));
  const write: Place["write"] = async (path, size, content) => {
    tar.entry(member(path, "file", size));
    for await (const chunk of content) {
      tar.data(chunk);
      await tar.flush();
    }
    tar.end();
  };
  for (const path of ["blobs", BLOBS]) {
    tar.entry(member(path, "directory", 0));
    tar.end();
  }
  return {
    write,
    adopt: async (path, size, adopted) => {
      await write(path, size, readChunks(adopted));
      await rm(adopted);
    },
    finish: async () => {
      await tar.commit();
      return file;
    },
    abort: async () => {
      stream.destroy();
      await finished(stream).catch(() => {});
    },
  };
}
