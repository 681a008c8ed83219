/** How long work is reported. The renderers live beside this interface; the work itself only knows tasks. */

/** One piece of work with a known or unknown size in bytes. */
export interface Task {
  /** `amount` more bytes (or other units) are done. */
  advance(amount: number): void;
  /** The size became known. */
  setTotal(total: number): void;
  /** Ended well; `note` replaces the size in the line, such as "in cache". */
  done(note?: string): void;
}

export interface Progress {
  /** Begins a task. `id` is stable for machines (a digest, a path); `label` is what a person reads. */
  task(id: string, label: string, total?: number): Task;
  /** Clears what is drawn, so that other output can follow. Idempotent. */
  close(): void;
}

/** Made when the first task begins: most starts have none, and a terminal's streams are not for nothing. */
export function lazyProgress(make: () => Progress): Progress {
  let made: Progress | undefined;
  return {
    task: (...words) => (made ??= make()).task(...words),
    close: () => made?.close(),
  };
}

/** Reports nothing. */
export const silentProgress: Progress = {
  task: () => ({ advance() {}, setTotal() {}, done() {} }),
  close() {},
};
