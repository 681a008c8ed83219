/** How progress is shown: bars on a terminal, lines elsewhere, JSON lines for programs. Never silent for long. */
import type { Progress, Task } from "./progress.ts";
import { silentProgress } from "./progress.ts";
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
const HEARTBEAT = 1900;
/** Bars that are shown at once; the line for the whole counts the others. */
const BARS = 8;

interface State {
  id: string;
  label: string;
  done: number;
  total: number | undefined;
  finished: boolean;
}

/** Progress in the given mode; `auto` is bars on a terminal and lines elsewhere. NO_COLOR and TERM=dumb are honoured. */
export function createProgress(
  mode: ProgressMode,
  stream: ProgressStream,
  env: Readonly<Record<string, string | undefined>> = process.env,
): Progress {
  const capable = stream.isTTY === true && env.TERM !== "dumb";
  const chosen = mode === "auto" ? (capable ? "tty" : "plain") : mode;
  if (chosen === "none") return silentProgress;
  if (chosen === "json") return jsonProgress(stream);
  return chosen === "tty" ? terminalProgress(stream, !env.NO_COLOR) : plainProgress(stream);
}

/** Calls `beat` regularly while there are tasks, without keeping the process alive. */
class Clock {
  readonly #interval: number;
  readonly #beat: () => void;
  #timer: NodeJS.Timeout | undefined;

  constructor(interval: number, beat: () => void) {
    this.#interval = interval;
    this.#beat = beat;
  }

  start(): void {
    this.#timer ??= setInterval(this.#beat, this.#interval).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}

/** What all renderers share: the states of their tasks. `changed` is told of beginnings and ends. */
class Tasks {
  readonly active = new Set<State>();
  finished = 0;

  begin(
    id: string,
    label: string,
    total: number | undefined,
    changed: (state: State, event: "start" | "end", note?: string) => void,
  ): Task {
    const state: State = { id, label: escapeText(label), done: 0, total, finished: false };
    this.active.add(state);
    changed(state, "start");
    return {
      advance: (amount) => {
        state.done += amount;
      },
      setTotal: (size) => {
        state.total = size;
      },
      done: (note) => {
        if (state.finished) return;
        state.finished = true;
        this.active.delete(state);
        this.finished++;
        changed(state, "end", note);
      },
    };
  }
}

const amount = (state: State): string =>
  state.total === undefined ? formatBytes(state.done) : `${formatBytes(state.done)} of ${formatBytes(state.total)}`;

const size = (state: State): string => (state.done === 0 ? "" : ` (${formatBytes(state.done)})`);

function plainProgress(stream: ProgressStream): Progress {
  const tasks = new Tasks();
  const clock = new Clock(HEARTBEAT, () => {
    const lines = [...tasks.active].map((state) => `${state.label}: ${amount(state)}\n`);
    stream.write(lines.slice(0, BARS).join("") || "still working\n");
  });
  return {
    task: (id, label, total) => {
      clock.start();
      return tasks.begin(id, label, total, (state, event, note) => {
        const ending = note === undefined ? size(state) : `: ${escapeText(note)}`;
        stream.write(event === "start" ? `${state.label}\n` : `${state.label}: done${ending}\n`);
      });
    },
    close: () => clock.stop(),
  };
}

function jsonProgress(stream: ProgressStream): Progress {
  const tasks = new Tasks();
  const write = (event: string, state: State, extra: object = {}) => {
    const { id, label, done, total } = state;
    stream.write(`${JSON.stringify({ event, id, label, done, total: total ?? null, ...extra })}\n`);
  };
  const clock = new Clock(HEARTBEAT / 4, () => {
    for (const state of tasks.active) write("progress", state);
  });
  return {
    task: (id, label, total) => {
      clock.start();
      return tasks.begin(id, label, total, (state, event, note) =>
        write(event, state, note === undefined ? {} : { note }),
      );
    },
    close: () => clock.stop(),
  };
}

function terminalProgress(stream: ProgressStream, color: boolean): Progress {
  const tasks = new Tasks();
  let drawn = 0;
  const clear = () => {
    if (drawn > 0) stream.write(`\r\x1b[${drawn}A\x1b[J`);
    drawn = 0;
  };
  const draw = () => {
    const width = Math.max((stream.columns || 80) - 1, 10);
    const lines = [...tasks.active].slice(0, BARS).map((state) => bar(state, width, color));
    if (tasks.active.size > 0) lines.push(whole(tasks, width));
    // One write a frame, so that nothing flickers.
    const back = drawn > 0 ? `\r\x1b[${drawn}A` : "";
    stream.write(`${back}${lines.map((line) => `\x1b[2K${line}\n`).join("")}\x1b[J`);
    drawn = lines.length;
  };
  const clock = new Clock(FRAME, draw);
  return {
    task: (id, label, total) => {
      clock.start();
      return tasks.begin(id, label, total, () => {});
    },
    close: () => {
      clock.stop();
      clear();
    },
  };
}

const share = (state: State): number => (state.total ? Math.min(state.done / state.total, 1) : 0);

function bar(state: State, width: number, color: boolean): string {
  const figures = ` ${amount(state)}`;
  const room = width - figures.length;
  const labelWidth = Math.min(44, Math.max(8, Math.floor(room * 0.6)));
  const label = state.label.slice(0, labelWidth).padEnd(labelWidth);
  const cells = Math.min(30, room - labelWidth - 3);
  if (cells < 5) return `${label}${figures}`.slice(0, width);
  const filled = Math.round(share(state) * cells);
  const full = "=".repeat(filled);
  return `${label} [${color ? `\x1b[36m${full}\x1b[39m` : full}${" ".repeat(cells - filled)}]${figures}`;
}

function whole(tasks: Tasks, width: number): string {
  let done = 0;
  for (const state of tasks.active) done += state.done;
  const count = tasks.finished + tasks.active.size;
  return `${tasks.finished} of ${count} steps done, ${formatBytes(done)} in progress`.slice(0, width);
}
