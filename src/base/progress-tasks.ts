/** The tasks of one piece of long work, and what they amount to together. */

export interface TaskState {
  readonly id: string;
  readonly label: string;
  done: number;
  total: number | undefined;
  /** Seconds since it began. */
  readonly seconds: number;
}

const secondsSince = (start: number): number => (performance.now() - start) / 1000;

export class Tasks {
  /** In the order in which they began. */
  readonly active = new Set<TaskState>();
  /** How many ended. */
  finished = 0;
  readonly #start = performance.now();
  /** Bytes of the tasks that began and have a size. */
  #begun = 0;
  /** Bytes of those that ended. */
  #ended = 0;
  /** Bytes that were told of, of tasks that have not begun. */
  #ahead = 0;

  begin(id: string, label: string, total: number | undefined): TaskState {
    for (const other of this.active) if (other.id === id) this.#forget(other);
    const start = performance.now();
    const state: TaskState = {
      id,
      label,
      done: 0,
      total: undefined,
      get seconds() {
        return secondsSince(start);
      },
    };
    this.active.add(state);
    if (total !== undefined) this.resize(state, total);
    return state;
  }

  /** The size of a task became known. */
  resize(state: TaskState, total: number): void {
    this.#begun += total - (state.total ?? 0);
    if (state.total === undefined) this.#ahead = Math.max(0, this.#ahead - total);
    state.total = total;
  }

  /** False if it had ended already, or another took its place. */
  end(state: TaskState): boolean {
    if (!this.active.delete(state)) return false;
    this.finished++;
    this.#ended += state.total ?? 0;
    return true;
  }

  expect(bytes: number): void {
    this.#ahead += bytes;
  }

  /** Bytes that are done, of the tasks that have a size. */
  get done(): number {
    let done = this.#ended;
    for (const { done: part, total } of this.active) done += Math.min(part, total ?? 0);
    return done;
  }

  /** Bytes in all, as far as they are known; 0 if nothing is. */
  get total(): number {
    return this.#begun + this.#ahead;
  }

  get seconds(): number {
    return secondsSince(this.#start);
  }

  /** A task that failed and begins anew: its bytes are to be done once more. */
  #forget(state: TaskState): void {
    this.active.delete(state);
    this.#begun -= state.total ?? 0;
  }
}
