/** Progress for programs: what becomes of each task is told to a function, and nothing is drawn. */
import type { Progress, Task } from "./progress.ts";

/** What a task is at. */
export interface TaskNews {
  readonly event: "start" | "advance" | "end";
  /** Stable for machines: a digest, a path. */
  readonly id: string;
  readonly label: string;
  /** Bytes, or other units, that are done. */
  readonly done: number;
  /** The same of the whole, where it is known. */
  readonly total: number | undefined;
}

export interface Listener {
  /** Something became of a task: each piece of it, as it comes. */
  task(news: TaskNews): void;
  /** Tasks with these ids are going to begin. */
  expect(ids: readonly string[]): void;
}

/** Progress that is told to `listener`. */
export const listeningProgress = (listener: Listener): Progress => ({
  task: (id, label, size) => taskOf(id, label, size, (news) => listener.task(news)),
  expect: (_, ids = []) => listener.expect(ids),
  say() {},
  pause: () => () => {},
  close() {},
});

function taskOf(id: string, label: string, size: number | undefined, tell: (news: TaskNews) => void): Task {
  let done = 0;
  let total = size;
  let over = false;
  const news = (event: TaskNews["event"]) => tell({ event, id, label, done, total });
  news("start");
  return {
    advance: (amount) => {
      done += amount;
      news("advance");
    },
    setTotal: (known) => {
      total = known;
    },
    done: () => {
      if (!over) news("end");
      over = true;
    },
  };
}
