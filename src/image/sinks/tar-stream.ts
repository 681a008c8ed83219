/** Entries as a tar stream into a program's standard input, or into a file. */
import type { Writable } from "node:stream";
import { Failure } from "../../base/errors.ts";
import type { Running } from "../../base/process.ts";
import { encodeEntry, tarFormat } from "../tar-write.ts";
import type { ArchiveFormat, Entry } from "../types.ts";
import type { EntrySink } from "./sink.ts";

/** So many bytes may wait for the program before its input has to catch up. */
const WAITING = 4 << 20;

export class TarStream implements EntrySink {
  readonly #finished: Promise<void>;
  readonly #input: Writable;
  readonly #format: ArchiveFormat;
  #parts: Buffer[] = [];
  #size = 0;
  #failed = false;

  /** `finished` settles when all that was written to `input` is where it belongs, or cannot be. */
  constructor(input: Writable, finished: Promise<void>, format: ArchiveFormat = tarFormat) {
    this.#format = format;
    this.#finished = finished;
    this.#input = input;
    // Whoever read went away: why, its end tells.
    this.#input.on("error", () => (this.#failed = true));
    finished.catch(() => (this.#failed = true));
  }

  entry(entry: Entry): void {
    this.#parts.push(this.#format.encode(entry));
    this.#size = entry.size;
  }

  /** A record that no tar has, by its typeflag, for a reader of ours. Content follows it as it does an entry. */
  record(entry: Entry, type: string): void {
    this.#parts.push(encodeEntry(entry, type));
    this.#size = entry.size;
  }

  data(slice: Buffer): void {
    this.#parts.push(slice);
  }

  end(): void {
    const padding = this.#format.padding(this.#size);
    if (padding !== undefined) this.#parts.push(padding);
    this.#size = 0;
  }

  /** Writes what was collected, in one system call where the kernel takes it. */
  flush(): Promise<void> | undefined {
    if (this.#failed) return this.#failure();
    this.#input.cork();
    for (const part of this.#parts) this.#input.write(part);
    this.#input.uncork();
    this.#parts = [];
    return this.#input.writableLength > WAITING ? this.#drained() : undefined;
  }

  /** Ends the archive and waits for the program's good end. Before that, everything must have been verified. */
  async commit(): Promise<void> {
    await this.flush();
    this.#input.end(this.#format.end());
    await this.#finished;
  }

  async #drained(): Promise<void> {
    await new Promise<void>((resolve) => {
      const settle = () => {
        for (const event of ["drain", "error", "close"]) this.#input.off(event, settle);
        resolve();
      };
      for (const event of ["drain", "error", "close"]) this.#input.on(event, settle);
    });
    if (this.#failed) await this.#failure();
  }

  async #failure(): Promise<void> {
    await this.#finished;
    throw new Failure("E_PROGRAM", "a program stopped reading before the end");
  }
}

/** A tar stream that a program reads. */
export function tarStreamInto({ child, finished }: Running): TarStream {
  if (child.stdin === null) throw new Failure("E_INTERNAL", "a program without standard input");
  return new TarStream(child.stdin, finished);
}
