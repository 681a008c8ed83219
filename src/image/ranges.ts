/** A blob that is read in parts, one after the other, and again from an earlier place where that has to be. */
import { Failure } from "../base/errors.ts";
import type { BlobInfo } from "./types.ts";

/** What can be opened as often as it has to be. */
interface Openable extends BlobInfo {
  open(): Promise<AsyncIterable<Buffer>>;
}

export class Ranges {
  readonly size: number;
  readonly #blob: Openable;
  #chunks: AsyncIterator<Buffer> | undefined;
  /** Where the next piece begins. */
  #at = 0;
  /** Counts the parts: a request that was given up may still wait for its next piece. */
  #turn = 0;
  /** What was read and not yet asked for. */
  #rest: Buffer = Buffer.alloc(0);

  constructor(blob: Openable) {
    this.#blob = blob;
    this.size = blob.size;
  }

  /** The bytes from `from` to `to`. `reach` is told where the reader is. Throws E_DIGEST where the blob ends before. */
  async *range(from: number, to: number, reach: (at: number) => void): AsyncGenerator<Buffer> {
    const turn = ++this.#turn;
    if (this.#chunks === undefined || this.#at > from) await this.#reopen();
    while (turn === this.#turn && this.#at < to) {
      const piece = await this.#next();
      if (turn !== this.#turn) return;
      const skipped = Math.min(piece.length, Math.max(0, from - this.#at));
      const end = Math.min(piece.length, to - this.#at);
      this.#rest = piece.subarray(end);
      this.#at += end;
      // A source verifies what it gave when it is asked for more: before the last piece is out of our hands.
      if (this.#at === this.size && this.#rest.length === 0) await this.#chunks?.next();
      if (turn !== this.#turn) return;
      if (skipped === end) continue;
      yield piece.subarray(skipped, end);
      reach(this.#at);
    }
  }

  async close(): Promise<void> {
    await this.#chunks?.return?.();
    this.#chunks = undefined;
  }

  async #reopen(): Promise<void> {
    await this.close();
    this.#chunks = (await this.#blob.open())[Symbol.asyncIterator]();
    this.#at = 0;
    this.#rest = Buffer.alloc(0);
  }

  async #next(): Promise<Buffer> {
    if (this.#rest.length > 0) return this.#rest;
    const next = await this.#chunks?.next();
    if (next !== undefined && !next.done) return next.value;
    throw new Failure("E_DIGEST", "a blob has fewer bytes than were promised", {
      where: this.#blob.digest,
      mend: "the image is damaged where it is kept; import it again",
    });
  }
}
