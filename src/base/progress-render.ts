/** How progress is shown: bars on a terminal, lines elsewhere, JSON lines for programs. Never silent for long. */
import type { Progress, Task } from "./progress.ts";
import { silentProgress } from "./progress.ts";
import { type TaskState, Tasks } from "./progress-tasks.ts";
import { escapeText, formatBytes } from "./text.ts";

export type ProgressMode = "auto" | "tty" | "plain" | "json" | "none";

/** Where progress goes: standard error, or a test's own. */
export interface ProgressStream {
  write(text: string): unknown;
  isTTY?: boolean;
  columns?: number;
}

/** Bars are drawn at most this often, in milliseconds. */
const FRAME = 80;
/** Without a terminal something is said at least this often, in milliseconds. */
const HEARTBEAT = 1500;
/** For programs, in milliseconds. */
const EVENTS = 500;
/** Bars that are shown at once; the one for the whole counts the others. */
const BARS = 8;

/** Progress in the given mode; `auto` is bars on a terminal and lines elsewhere. NO_COLOR and TERM=dumb are honoured. */
export function createProgress(
  mode: ProgressMode,
  stream: ProgressStream,
  env: Readonly<Record<string, string | undefined>> = process.env,
): Progress {
  const capable = stream.isTTY === true && env.TERM !== "dumb";
  const chosen = mode === "auto" ? (capable ? "tty" : "plain") : mode;
  if (chosen === "none") return { ...silentProgress, say: (line) => void stream.write(`${line}\n`) };
  if (chosen === "json") return new JsonProgress(stream);
  return chosen === "tty" ? new TerminalProgress(stream, !env.NO_COLOR) : new PlainProgress(stream);
}

/** What all renderers share: tasks, and a clock that beats from the first of them to the end. */
abstract class Renderer implements Progress {
  protected readonly tasks = new Tasks();
  protected readonly stream: ProgressStream;
  readonly #interval: number;
  #timer: NodeJS.Timeout | undefined;
  #paused = false;

  constructor(stream: ProgressStream, interval: number) {
    this.stream = stream;
    this.#interval = interval;
  }

  /** Regularly, unless paused. */
  protected abstract beat(): void;
  protected abstract begun(state: TaskState): void;
  protected abstract ended(state: TaskState, note: string | undefined): void;
  abstract say(line: string): void;
  /** Takes away what is drawn. */
  protected clear(): void {}

  task(id: string, label: string, total?: number): Task {
    this.#start();
    const state = this.tasks.begin(id, escapeText(label), total);
    this.begun(state);
    return {
      advance: (amount) => {
        state.done += amount;
      },
      setTotal: (size) => this.tasks.resize(state, size),
      done: (note) => {
        if (this.tasks.end(state)) this.ended(state, note);
      },
    };
  }

  expect(bytes: number): void {
    this.tasks.expect(bytes);
  }

  pause(): () => void {
    this.close();
    this.#paused = true;
    return () => {
      this.#paused = false;
      if (this.tasks.active.size > 0) this.#start();
    };
  }

  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.clear();
  }

  /** Without keeping the process alive. */
  #start(): void {
    if (!this.#paused) this.#timer ??= setInterval(() => this.beat(), this.#interval).unref();
  }
}

const amount = (state: TaskState): string => {
  if (state.total !== undefined) return `${formatBytes(state.done)} of ${formatBytes(state.total)}`;
  return state.done > 0 ? formatBytes(state.done) : `${Math.floor(state.seconds)} s`;
};

class PlainProgress extends Renderer {
  /** What has no size is often over at once: it is told once it takes long. */
  readonly #told = new Set<TaskState>();

  constructor(stream: ProgressStream) {
    super(stream, HEARTBEAT);
  }

  say(line: string): void {
    this.stream.write(`${line}\n`);
  }

  protected begun(state: TaskState): void {
    if (state.total === undefined) return;
    this.#told.add(state);
    this.say(state.label);
  }

  protected ended(state: TaskState, note: string | undefined): void {
    if (!this.#told.delete(state)) return;
    const size = state.done === 0 ? "" : ` (${formatBytes(state.done)})`;
    this.say(`${state.label}: done${note === undefined ? size : `: ${escapeText(note)}`}`);
  }

  protected beat(): void {
    const shown = [...this.tasks.active].slice(0, BARS);
    for (const state of shown) this.#told.add(state);
    this.say(shown.map((state) => `${state.label}: ${amount(state)}`).join("\n") || "still working");
  }
}

class JsonProgress extends Renderer {
  constructor(stream: ProgressStream) {
    super(stream, EVENTS);
  }

  say(message: string): void {
    this.#write({ event: "message", message });
  }

  protected begun(state: TaskState): void {
    this.#about("start", state);
  }

  protected ended(state: TaskState, note: string | undefined): void {
    this.#about("end", state, note === undefined ? {} : { note });
  }

  protected beat(): void {
    if (this.tasks.active.size === 0) this.#write({ event: "alive" });
    for (const state of this.tasks.active) this.#about("progress", state);
  }

  #about(event: string, { id, label, done, total }: TaskState, extra: object = {}): void {
    this.#write({ event, id, label, done, total: total ?? null, ...extra });
  }

  #write(line: object): void {
    this.stream.write(`${JSON.stringify(line)}\n`);
  }
}

class TerminalProgress extends Renderer {
  readonly #color: boolean;
  #drawn = 0;

  constructor(stream: ProgressStream, color: boolean) {
    super(stream, FRAME);
    this.#color = color;
  }

  /** Above the bars, which are drawn again at the next beat. */
  say(line: string): void {
    this.clear();
    this.stream.write(`${line}\n`);
  }

  protected begun(): void {}

  protected ended(): void {}

  protected override clear(): void {
    if (this.#drawn > 0) this.stream.write(`\r\x1b[${this.#drawn}A\x1b[J`);
    this.#drawn = 0;
  }

  protected beat(): void {
    const { active } = this.tasks;
    const width = Math.max((this.stream.columns || 80) - 1, 10);
    const bars = [...active].slice(0, BARS).map(partOf);
    if (active.size > 0) bars.push(this.#whole());
    const figures = Math.max(...bars.map((bar) => bar.figures.length));
    const lines = bars.map((bar) => draw(bar, width, figures, this.#color));
    // One write a frame, so that nothing flickers.
    const back = this.#drawn > 0 ? `\r\x1b[${this.#drawn}A` : "";
    if (lines.length + this.#drawn > 0) {
      this.stream.write(`${back}${lines.map((line) => `\x1b[2K${line}\n`).join("")}\x1b[J`);
    }
    this.#drawn = lines.length;
  }

  #whole(): Bar {
    const { done, total, seconds, finished, active } = this.tasks;
    const others = active.size > BARS ? `, ${active.size - BARS} more at work` : "";
    const label = `in all, ${finished} of ${finished + active.size} steps done${others}`;
    if (total === 0) return { label, share: undefined, seconds, figures: `${Math.floor(seconds)} s` };
    const share = Math.min(done / total, 1);
    return { label, share, seconds, figures: `${Math.floor(100 * share)} %, ${Math.floor(seconds)} s` };
  }
}

interface Bar {
  label: string;
  figures: string;
  /** From 0 to 1; undefined where it is unknown. */
  share: number | undefined;
  /** Since it began. */
  seconds: number;
}

const partOf = (state: TaskState): Bar => ({
  label: state.label,
  figures: amount(state),
  share: state.total === undefined ? undefined : state.total === 0 ? 1 : Math.min(state.done / state.total, 1),
  seconds: state.seconds,
});

/** Cells of the block that moves where no share is known, and how many it moves in a second. */
const BLOCK = 4;
const SPEED = 12;

/** A line of at most `width` characters. The bars of several begin and end alike if they leave the same `space`. */
function draw({ label, figures, share, seconds }: Bar, width: number, space: number, color: boolean): string {
  const room = width - space - 1;
  const labelWidth = Math.min(44, Math.max(8, Math.floor(room * 0.6)));
  const shown = label.slice(0, labelWidth).padEnd(labelWidth);
  const cells = Math.min(30, room - labelWidth - 3);
  if (cells < 5) return `${shown} ${figures}`.slice(0, width);
  // There and back again.
  const turn = Math.floor(seconds * SPEED) % (2 * (cells - BLOCK));
  const start = share === undefined ? Math.min(turn, 2 * (cells - BLOCK) - turn) : 0;
  const filled = share === undefined ? BLOCK : Math.round(share * cells);
  const full = "=".repeat(filled);
  const [before, after] = [" ".repeat(start), " ".repeat(cells - start - filled)];
  return `${shown} [${before}${color ? `\x1b[36m${full}\x1b[39m` : full}${after}] ${figures}`;
}
