/** What was asked for and takes its time: the page goes on, and shows what is being done and what went wrong. */
import { setTimeout as sleep } from "node:timers/promises";
import { Failure } from "../base/errors.ts";

/** Milliseconds that an answer waits for what was asked. */
const PATIENCE = 3000;
/** Complaints that are kept; each is shown once. */
const KEPT = 20;

export const sayFailure = (error: unknown): string =>
  error instanceof Failure ? [`${error.what} [${error.code}]`, error.mend].filter(Boolean).join("; ") : String(error);

export class Works {
  readonly #doing = new Set<string>();
  #complaints: string[] = [];

  /** Resolves when `work` is done, or when that takes long; what goes wrong becomes a notice. Never rejects. */
  async begin(about: string, work: () => Promise<void>): Promise<void> {
    if (this.#doing.has(about)) return;
    this.#doing.add(about);
    const done = work()
      .catch((error: unknown) => {
        this.#complaints = [...this.#complaints, `${about}: ${sayFailure(error)}`].slice(-KEPT);
      })
      .finally(() => this.#doing.delete(about));
    await Promise.race([done, sleep(PATIENCE, undefined, { ref: false })]);
  }

  /** What is to be shown now. */
  take(): string[] {
    const complaints = this.#complaints;
    this.#complaints = [];
    return [...[...this.#doing].map((about) => `${about} …`), ...complaints];
  }
}
