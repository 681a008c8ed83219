/** What the processes of containers take, as /proc says (proc(5)). */
import { readFileSync } from "node:fs";
import { survivors } from "../base/survivors.ts";
import type { Usage } from "./sight.ts";

/** sysconf(_SC_CLK_TCK), which Linux gives programs on every architecture that we run on. */
const TICKS_PER_SECOND = 100;
const PAGE = 4096;

interface Taken {
  readonly memory: number;
  readonly ticks: number;
}

/** Bytes of its own, and its share of what it shares; undefined where we may not look. */
function proportionalSize(pid: number): number | undefined {
  try {
    const size = /^Pss: +([0-9]+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "latin1"))?.[1];
    return size === undefined ? undefined : Number(size) * 1024;
  } catch {
    return undefined;
  }
}

/** Undefined for one that has ended. */
function takenBy(pid: number): Taken | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The second field, the command, may hold blanks and parentheses: the last `)` ends it.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    if (fields[0] === "Z" || fields[0] === "X") return undefined;
    // Its own time and that of children which it has waited for, in user and system mode: fields 14 to 17.
    const ticks = fields.slice(11, 15).reduce((sum, text) => sum + Number(text), 0);
    return { memory: proportionalSize(pid) ?? Number(fields[21]) * PAGE, ticks };
  } catch {
    return undefined;
  }
}

interface Look {
  /** Milliseconds, of a clock that only goes on. */
  readonly at: number;
  readonly ticks: number;
}

/** Measures by marks (base/survivors.ts), and remembers the last look, to tell what was taken since. */
export class Meter {
  #last = new Map<string, Look>();

  /** What each of these marks' processes take now. */
  measure(marks: readonly string[]): Map<string, Usage> {
    const alive = survivors();
    const looks = new Map<string, Look>();
    const found = new Map<string, Usage>();
    for (const mark of marks) {
      const taken = alive(mark).flatMap((pid) => takenBy(pid) ?? []);
      const ticks = taken.reduce((sum, one) => sum + one.ticks, 0);
      const [before, now] = [this.#last.get(mark), { at: performance.now(), ticks }];
      looks.set(mark, now);
      found.set(mark, {
        processes: taken.length,
        memory: taken.reduce((sum, one) => sum + one.memory, 0),
        cpuSeconds: ticks / TICKS_PER_SECOND,
        cpuShare: before === undefined ? undefined : shareOf(before, now),
      });
    }
    this.#last = looks;
    return found;
  }
}

/** Whose children ended unseen have taken their time with them: never less than nothing. */
const shareOf = (before: Look, now: Look): number =>
  Math.max(0, (now.ticks - before.ticks) / TICKS_PER_SECOND / Math.max(0.001, (now.at - before.at) / 1000));
