/** Starts and their ends, killed at every system call that changes state: nothing stays, the same name starts again. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { say } from "../crash/bed.ts";
import { tryAllPoints } from "../crash/points.ts";
import { type Box, busyboxBox } from "../support/boxes.ts";
import { rootlingWords } from "../support/cli.ts";
import type { UserKind } from "../support/users.ts";
import type { Counts } from "./main.ts";
import { differences, namesOf } from "./store.ts";

interface Scenario {
  /** The command that is killed, and that has to succeed afterwards. */
  readonly words: readonly string[];
  /** What is killed instead: one that comes to its end where it is not. */
  readonly killed?: readonly string[];
  /** Commands before each, and after each that was not killed. */
  readonly before?: readonly string[];
  readonly after?: readonly string[];
  /** What the kill has left running, if anything, is ended before the commands run again. */
  readonly running?: boolean;
}

const SCENARIOS: Readonly<Record<string, Scenario>> = {
  "kill start": { words: ["start", "box", "/bin/true"] },
  "kill start --rw": { words: ["start", "--rw", "--root", "box", "/bin/true"] },
  "kill start --pid": { words: ["start", "--rw", "--pid", "--ipc", "--uts", "box", "/bin/true"] },
  "kill start --detach": {
    words: ["start", "--detach", "--rw", "--pid", "box", "sleep", "1000"],
    killed: ["start", "--detach", "--rw", "--pid", "box", "sleep", "2"],
    after: ["stop", "--timeout", "0.1", "box"],
    running: true,
  },
  "kill stop": {
    before: ["start", "--detach", "--rw", "box", "sleep", "1000"],
    words: ["stop", "--timeout", "0.1", "box"],
  },
  "kill run": { words: ["run", "--root", "busybox", "/bin/true"] },
};

interface Place {
  readonly box: Box;
  /** What is there after the commands were left alone. */
  readonly whole: readonly string[];
}

/** Runs the scenario's commands to their end, and one that looks. What went wrong. */
async function runWhole(box: Box, { before, words, after }: Scenario): Promise<string[]> {
  for (const one of [before, words, after]) {
    if (one === undefined) continue;
    const { status, signal, stderr } = await box.run(one);
    if (status !== 0) return [`${one.join(" ")} ended with ${signal ?? status}: ${stderr.trim()}`];
  }
  const listed = await box.run(["list", "--json"]);
  if (listed.status !== 0) return [`list ended with ${listed.status}: ${listed.stderr.trim()}`];
  const running = (JSON.parse(listed.stdout) as { state: string; name: string }[]).filter(
    ({ state }) => state === "running",
  );
  return running.map(({ name }) => `${name} is said to run`);
}

async function makePlace(kind: UserKind, scenario: Scenario): Promise<Place> {
  const box = await busyboxBox(kind);
  const problems = [...(await runWhole(box, scenario)), ...(await runWhole(box, scenario))];
  if (problems.length > 0) throw new Error(problems.join("; "));
  return { box, whole: namesOf(box) };
}

async function sweep(kind: UserKind, stepper: string, jobs: number, scenario: Scenario): Promise<Counts> {
  const places = await Promise.all(Array.from({ length: jobs }, () => makePlace(kind, scenario)));
  const idle = [...places];
  let bad = 0;
  const attempt = async (n: number): Promise<boolean> => {
    const place = idle.pop();
    if (place === undefined) throw new Error("more attempts than places");
    const { box, whole } = place;
    const words = scenario.killed ?? scenario.words;
    const result = join(box.user.home, "result");
    try {
      if (scenario.before !== undefined) await box.must(scenario.before);
      const killed = await box.user.run([stepper, result, "kill", String(n), ...rootlingWords(...words)]);
      if (killed.status !== 0) throw new Error(`the stepper failed: ${killed.stderr}`);
      const [what, , call] = readFileSync(result, "utf8").trim().split(" ");
      // A monitor whose starter was killed may have got on, and what a killed stop was to end may still run.
      if (scenario.running || scenario.before !== undefined) await box.run(["stop", "--timeout", "0.1", "box"]);
      const problems = await runWhole(box, scenario);
      problems.push(...differences(whole, namesOf(box)));
      for (const problem of problems) say(`  point ${n} (${what === "killed" ? call : "not reached"}): ${problem}`);
      if (problems.length > 0) bad++;
      return what === "killed";
    } finally {
      idle.push(place);
    }
  };
  try {
    return { ...(await tryAllPoints(jobs, attempt)), bad };
  } finally {
    for (const { box } of places) await box.remove();
  }
}

export const killSweeps = (kind: UserKind, stepper: string, jobs: number): Record<string, () => Promise<Counts>> =>
  Object.fromEntries(
    Object.entries(SCENARIOS).map(([name, scenario]) => [name, () => sweep(kind, stepper, jobs, scenario)]),
  );
