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
  /**
   * Begins a task. `id` is stable for machines (a digest, a path): a task that begins anew takes the place of an
   * unfinished one. `label` is what a person reads.
   */
  task(id: string, label: string, total?: number): Task;
  /**
   * Tasks of so many bytes are going to begin: what the whole amounts to is known before its parts are at work. `ids` are
   * theirs.
   */
  expect(bytes: number, ids?: readonly string[]): void;
  /** Says something in between: one line, escaped already. It stays above what is drawn. */
  say(line: string): void;
  /** Shows nothing until the function that it returns is called, as while somebody types a password. */
  pause(): () => void;
  /** Clears what is drawn, so that other output can follow. Idempotent. */
  close(): void;
}

/** Made when there is something to show: most starts have nothing, and a terminal's streams are not for nothing. */
export function lazyProgress(make: () => Progress): Progress {
  let made: Progress | undefined;
  const needed = () => (made ??= make());
  return {
    task: (...words) => needed().task(...words),
    expect: (...words) => needed().expect(...words),
    say: (line) => needed().say(line),
    pause: () => needed().pause(),
    close: () => made?.close(),
  };
}

/** Reports nothing. */
export const silentProgress: Progress = {
  task: () => ({ advance() {}, setTotal() {}, done() {} }),
  expect() {},
  say() {},
  pause: () => () => {},
  close() {},
};
