/** Starts and their ends, killed at every system call that changes state: nothing stays, the same name starts again. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { say } from "../crash/bed.ts";
import { tryAllPoints } from "../crash/points.ts";
import { type Box, busyboxBox } from "../support/boxes.ts";
import { type CabledHost, cabledHost } from "../support/cabled-host.ts";
import { rootlingWords } from "../support/cli.ts";
import { busyboxRoot } from "../support/images.ts";
import { makeSubhost } from "../support/subhosts.ts";
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
  /** On a host of its own, of whose network nothing may stay: as root only. */
  readonly cabled?: boolean;
  /** Lines of a subhost's configuration; CONF among the words is its path. */
  readonly subhost?: readonly string[];
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
  "kill start --cable": {
    words: ["start", "--cable", "br7=,address=10.9.0.2/24,host=10.9.0.1/24,nat", "--cable", "=", "box", "/bin/true"],
    cabled: true,
  },
  "kill boot": {
    words: ["boot", "CONF"],
    after: ["stop", "--timeout", "0.1", "sub"],
    running: true,
    cabled: true,
    // It ends by itself, so that one which was not killed comes to its end.
    subhost: ["INIT= echo sleep 2", "CABLES= br7= =", "ADDRESS= 10.9.0.2/24", "HOST_ADDRESS= 10.9.0.1/24"],
  },
  "kill stop of a subhost": {
    before: ["boot", "CONF"],
    words: ["stop", "--timeout", "0.1", "sub"],
    cabled: true,
    subhost: ["START= none", "CABLES= br7= =", "ADDRESS= 10.9.0.2/24", "HOST_ADDRESS= 10.9.0.1/24"],
  },
  "kill run": { words: ["run", "--root", "busybox", "/bin/true"] },
};

interface Place {
  readonly box: Box;
  /** What is there after the commands were left alone. */
  readonly whole: readonly string[];
  readonly scenario: Scenario;
  readonly host?: CabledHost;
  /** The words that run others there. */
  there(words: readonly string[]): string[];
}

/** Runs the scenario's commands to their end, and one that looks. What went wrong. */
async function runWhole(
  { box, host, there }: Omit<Place, "whole" | "scenario">,
  scenario: Scenario,
): Promise<string[]> {
  const { before, words, after } = scenario;
  for (const one of [before, words, after]) {
    if (one === undefined) continue;
    const { status, signal, stderr } = await box.user.run(there(rootlingWords(...one)));
    if (status !== 0) return [`${one.join(" ")} ended with ${signal ?? status}: ${stderr.trim()}`];
  }
  const listed = await box.run(["list", "--json"]);
  if (listed.status !== 0) return [`list ended with ${listed.status}: ${listed.stderr.trim()}`];
  const running = (JSON.parse(listed.stdout) as { state: string; name: string }[]).filter(
    ({ state }) => state === "running",
  );
  const stays = host !== undefined && !(await host.isClean()) ? ["something stays in the host's network"] : [];
  return [...running.map(({ name }) => `${name} is said to run`), ...stays];
}

/** Makes the subhost, and puts its configuration among the words. */
async function withSubhost(box: Box, scenario: Scenario): Promise<Scenario> {
  if (scenario.subhost === undefined) return scenario;
  const base = join(box.scratch, "base");
  await busyboxRoot(base);
  const { conf } = makeSubhost(box, "sub", [`LOWER= ${base}`, ...scenario.subhost]);
  const filled = (words: readonly string[]) => words.map((word) => (word === "CONF" ? conf : word));
  const { before, words } = scenario;
  return { ...scenario, words: filled(words), ...(before === undefined ? {} : { before: filled(before) }) };
}

async function makePlace(kind: UserKind, asked: Scenario): Promise<Place> {
  const box = await busyboxBox(kind);
  const scenario = await withSubhost(box, asked);
  const host = scenario.cabled ? await cabledHost(box) : undefined;
  const place = {
    box,
    ...(host === undefined ? {} : { host }),
    there: host?.there ?? ((words: readonly string[]) => [...words]),
  };
  const problems = [...(await runWhole(place, scenario)), ...(await runWhole(place, scenario))];
  if (problems.length > 0) throw new Error(problems.join("; "));
  return { ...place, scenario, whole: namesOf(box) };
}

async function sweep(kind: UserKind, stepper: string, jobs: number, asked: Scenario): Promise<Counts> {
  const places = await Promise.all(Array.from({ length: jobs }, () => makePlace(kind, asked)));
  const idle = [...places];
  let bad = 0;
  const attempt = async (n: number): Promise<boolean> => {
    const place = idle.pop();
    if (place === undefined) throw new Error("more attempts than places");
    const { box, whole, there, scenario } = place;
    const words = scenario.killed ?? scenario.words;
    const result = join(box.user.home, "result");
    try {
      if (scenario.before !== undefined) {
        const begun = await box.user.run(there(rootlingWords(...scenario.before)));
        if (begun.status !== 0) throw new Error(`${scenario.before.join(" ")}: ${begun.stderr.trim()}`);
      }
      const killed = await box.user.run(there([stepper, result, "kill", String(n), ...rootlingWords(...words)]));
      if (killed.status !== 0) throw new Error(`the stepper failed: ${killed.stderr}`);
      const [what, , call] = readFileSync(result, "utf8").trim().split(" ");
      // A monitor whose starter was killed may have got on, and what a killed stop was to end may still run.
      const end = scenario.after ?? scenario.words;
      if (scenario.running || scenario.before !== undefined) await box.user.run(there(rootlingWords(...end)));
      const problems = await runWhole(place, scenario);
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
    for (const { box, host } of places) {
      await host?.end();
      await box.remove();
    }
  }
}

export const killSweeps = (kind: UserKind, stepper: string, jobs: number): Record<string, () => Promise<Counts>> =>
  Object.fromEntries(
    Object.entries(SCENARIOS)
      .filter(([, { cabled }]) => !cabled || kind === "root")
      .map(([name, scenario]) => [name, () => sweep(kind, stepper, jobs, scenario)]),
  );
