/** Progress of a push or commit in one line: bytes of what is known to come, as `{ status, value }`. */
import type { Progress } from "../base/progress.ts";
import { listeningProgress, type TaskNews } from "../base/progress-listen.ts";
import type { ProgressStatus } from "./progress-status.ts";

export class BytesStatus {
  /** What the work is given. */
  readonly progress: Progress = listeningProgress({
    task: (news) => this.#take(news),
    expect: (ids) => {
      this.#expected = new Map(ids.map((id) => [id, undefined]));
    },
  });
  readonly #tell: (status: ProgressStatus) => void;
  #expected = new Map<string, TaskNews | undefined>();
  #status: string;
  #value = 0;

  /** `status`: what is said before anything is known of the parts. */
  constructor(status: string, tell: (status: ProgressStatus) => void) {
    this.#status = status;
    this.#tell = tell;
    this.#say();
  }

  /** All is done. */
  finished(status: string): void {
    this.#status = status;
    this.#value = 100;
    this.#say();
  }

  #take(news: TaskNews): void {
    if (!this.#expected.has(news.id)) return;
    this.#expected.set(news.id, news);
    const all = [...this.#expected.values()];
    const part = (one: TaskNews | undefined): number => {
      if (one === undefined) return 0;
      return one.event === "end" ? 1 : one.total ? Math.min(1, one.done / one.total) : 0;
    };
    // Until all have begun not every size is known: then each part is as much as another.
    const known = all.every((one) => one?.total !== undefined);
    const whole = all.reduce((sum, one) => sum + (known ? (one?.total ?? 0) : 1), 0);
    const done = all.reduce((sum, one) => sum + part(one) * (known ? (one?.total ?? 0) : 1), 0);
    this.#status = news.label;
    this.#value = Math.max(this.#value, whole === 0 ? 0 : (100 * done) / whole);
    this.#say();
  }

  #say(): void {
    this.#tell({ status: this.#status, value: this.#value });
  }
}
