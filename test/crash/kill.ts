/**
 * Kills rootling's whole tree of processes at every system call that changes state on disk, mounts or processes, one
 * run a call, and looks at what is left: no image listed that is not whole, no repair by hand, no leavings.
 *
 * usage: test/crash/kill.ts [--only SCENARIO] [--user KIND] [--jobs N]
 *
 * How many points a run has is not fixed, since threads take turns as they like. So there is no list of points: run N
 * is killed at its N-th, for N = 1, 2, 3…, until runs come to their end before it. A run that ends too early for a
 * point that exists is done again.
 */

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { chown } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { copyPackage } from "../support/cli.ts";
import { makeTemp } from "../support/temp.ts";
import { makeUser, type TestUser, type UserKind, userKinds } from "../support/users.ts";
import {
  clear,
  compile,
  type Place,
  placeIn,
  problemsOfContainers,
  problemsOfListed,
  problemsOfNextImport,
  type Reference,
  referenceOf,
  runAt,
  say,
  stop,
  writeSource,
} from "./bed.ts";

interface Scenario {
  /** Commands that run whole before. */
  before: readonly (readonly string[])[];
  /** The command that is killed. */
  words: readonly string[];
  /** What else must hold after the kill. */
  also?: (place: Place, reference: Reference) => Promise<string[]>;
}

const progress = ["--progress", "none"];

/** A squashfs file of the uninterrupted import, by user: SOURCE_DATE_EPOCH makes the same bytes. */
const squashfs = new Map<UserKind, string>();

const hashOf = (path: string) => createHash("sha256").update(readFileSync(path)).digest("hex");

function scenarios(source: string): Record<string, Scenario> {
  const create = ["create", source, "--name", "web", ...progress];
  const file = (place: Place) => ["import", source, "-o", join(place.directory, "out.squashfs"), ...progress];
  return {
    import: { before: [], words: ["import", source, "--name", "box", ...progress] },
    create: {
      before: [],
      words: create,
      also: async (place, { rootling }) => {
        const present = existsSync(join(place.data, "containers/web"));
        const { status, stderr } = await runAt(place, [...rootling, ...create]);
        const right = present ? stderr.includes("[E_EXISTS]") : status === 0;
        return right ? [] : [`create, when the container was ${present ? "" : "not "}there: ${status}, ${stderr}`];
      },
    },
    remove: {
      before: [
        ["import", source, "--name", "box", ...progress],
        ["create", "box", "--name", "web"],
      ],
      words: ["remove", "web", "image:box"],
      also: async (place, { rootling }) => {
        // Whatever is still listed can be removed.
        for (const [name, path] of [
          ["web", "containers/web"],
          ["image:box", "refs/box.json"],
        ] as const) {
          if (!existsSync(join(place.data, path))) continue;
          const { status, stderr } = await runAt(place, [...rootling, "remove", name]);
          if (status !== 0) return [`remove ${name}: ${stderr}`];
        }
        return [];
      },
    },
    file: {
      before: [],
      words: ["import", source, "-o", "OUTPUT", ...progress],
      also: async (place, { rootling }) => {
        const output = join(place.directory, "out.squashfs");
        const whole = squashfs.get(place.user.kind);
        if (existsSync(output) && hashOf(output) !== whole) return ["the output is there, and not whole"];
        const { status, stderr } = await runAt(place, [...rootling, ...file(place), "--force"]);
        return status === 0 && hashOf(output) === whole ? [] : [`the next import into the file: ${status}, ${stderr}`];
      },
    },
  };
}

/** So many runs in a row have to end before their point, until there is none any more. */
const BEYOND = 4;
/** A point below one that was reached is tried so often. */
const TRIES = 20;

interface Sweep {
  stepper: string;
  user: TestUser;
  source: string;
  reference: Reference;
  scenario: Scenario;
}

async function prepare({ user, scenario, reference }: Sweep, name: string): Promise<Place> {
  const place = placeIn(user, join(user.home, name));
  await clear(place.directory);
  mkdirSync(place.directory, { mode: 0o700 });
  await chown(place.directory, user.uid, user.gid);
  for (const words of scenario.before) {
    const { status, stderr } = await runAt(place, [...reference.rootling, ...words]);
    if (status !== 0) throw new Error(`${words.join(" ")}: ${stderr}`);
  }
  return place;
}

/** Kills at point `n` and looks. `reached` is false where the run ended before. */
async function tryPoint(sweep: Sweep, n: number): Promise<{ reached: boolean; call: string; problems: string[] }> {
  const { stepper, reference, scenario, source } = sweep;
  const place = await prepare(sweep, `point-${n}`);
  const result = join(place.directory, "result");
  const words = scenario.words.map((word) => (word === "OUTPUT" ? join(place.directory, "out.squashfs") : word));
  const killed = await runAt(place, [...reference.rootling, ...words], [stepper, result, "kill", String(n)]);
  if (killed.status !== 0) throw new Error(`the stepper failed: ${killed.stderr}`);
  const [what = "", , call = ""] = readFileSync(result, "utf8").trim().split(" ");
  if (what !== "killed") {
    await clear(place.directory);
    const problems = call === "0" ? [] : [`the run ended with ${call}: ${killed.stderr}`];
    return { reached: false, call: "", problems };
  }
  const { problems } = await problemsOfListed(place, reference);
  problems.push(...problemsOfContainers(place));
  problems.push(...((await scenario.also?.(place, reference)) ?? []));
  problems.push(...(await problemsOfNextImport(place, reference, source)));
  problems.push(...problemsOfContainers(place));
  await clear(place.directory);
  return { reached: true, call, problems };
}

async function sweepAll(sweep: Sweep, jobs: number): Promise<{ points: number; ran: number; failed: number }> {
  const reached = new Set<number>();
  const early: number[] = [];
  let next = 1;
  let beyond = 0;
  let failed = 0;
  const attempt = async (n: number) => {
    const { reached: was, call, problems } = await tryPoint(sweep, n);
    for (const problem of problems) say(`  point ${n} (${call}): ${problem}`);
    if (problems.length > 0) failed++;
    if (was) reached.add(n);
    return was;
  };
  const worker = async () => {
    while (beyond < BEYOND && !stop.asked) {
      const n = next++;
      if (await attempt(n)) beyond = 0;
      else {
        beyond++;
        early.push(n);
      }
    }
  };
  await Promise.all(Array.from({ length: jobs }, worker));
  const points = Math.max(0, ...reached);
  for (const n of early.filter((point) => point < points)) {
    for (let i = 0; i < TRIES && !reached.has(n); i++) await attempt(n);
  }
  return { points, ran: reached.size, failed };
}

async function main(): Promise<boolean> {
  const { values } = parseArgs({
    options: { only: { type: "string" }, user: { type: "string" }, jobs: { type: "string", default: "2" } },
  });
  const temp = makeTemp();
  const stepper = join(temp.path, "stepper");
  await compile("test/support/stepper.c", stepper);
  const source = writeSource(join(temp.path, "layout"));
  const rootling = [join(copyPackage(), "bin/rootling")];
  const total = { points: 0, ran: 0, failed: 0 };
  const begin = performance.now();
  try {
    for (const kind of userKinds.filter((one) => one !== "subids" && (values.user ?? one) === one)) {
      const { user, remove } = await makeUser(kind);
      try {
        const whole = placeIn(user, join(user.home, "reference"));
        const reference = await referenceOf(whole, rootling, source);
        const output = join(user.home, "reference.squashfs");
        await runAt(whole, [...rootling, "import", source, "-o", output]);
        squashfs.set(kind, hashOf(output));
        for (const [name, scenario] of Object.entries(scenarios(source))) {
          if ((values.only ?? name) !== name || stop.asked) continue;
          const start = performance.now();
          const result = await sweepAll({ stepper, user, source, reference, scenario }, Number(values.jobs));
          for (const key of ["points", "ran", "failed"] as const) total[key] += result[key];
          const seconds = ((performance.now() - start) / 1000).toFixed(0);
          say(`${name} as ${kind}: points: ${result.points}, ran: ${result.ran}, bad: ${result.failed} (${seconds} s)`);
        }
      } finally {
        await remove();
      }
    }
  } finally {
    await temp.remove();
  }
  const seconds = ((performance.now() - begin) / 1000).toFixed(0);
  say(`points: ${total.points}, ran: ${total.ran}, bad: ${total.failed} (${seconds} s)`);
  return !stop.asked && total.points > 0 && total.points === total.ran && total.failed === 0;
}

process.exitCode = (await main()) ? 0 : 1;
