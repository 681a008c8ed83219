/**
 * Kills rootling's whole tree of processes at every system call that changes state on disk, mounts or processes, one
 * run a call, and looks at what is left: no image listed that is not whole, no repair by hand, no leavings.
 *
 * usage: test/crash/kill.ts [--only SCENARIO] [--user KIND] [--jobs N]
 */

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { chown } from "node:fs/promises";
import { join } from "node:path";
import type { UserKind } from "../support/users.ts";
import {
  type Bed,
  clear,
  type Place,
  placeIn,
  problemsOfContainers,
  problemsOfListed,
  problemsOfNextImport,
  type Reference,
  runAt,
  say,
  withBeds,
} from "./bed.ts";
import { tryAllPoints } from "./points.ts";

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

function scenarios(source: string, donor: string): Record<string, Scenario> {
  const create = ["create", source, "--name", "web", ...progress];
  const file = (place: Place) => ["import", source, "-o", join(place.directory, "out.squashfs"), ...progress];
  return {
    import: { before: [], words: ["import", source, "--name", "box", ...progress] },
    next: {
      before: [["import", donor, "--name", "donor", ...progress]],
      words: ["import", source, "--name", "box", ...progress],
    },
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

async function prepare({ user, reference }: Bed, scenario: Scenario, name: string): Promise<Place> {
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
async function tryPoint(
  bed: Bed,
  scenario: Scenario,
  n: number,
): Promise<{ reached: boolean; call: string; problems: string[] }> {
  const { stepper, reference, source } = bed;
  const place = await prepare(bed, scenario, `point-${n}`);
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

async function sweep(bed: Bed, scenario: Scenario, jobs: number) {
  let bad = 0;
  const { points, ran } = await tryAllPoints(jobs, async (n) => {
    const { reached, call, problems } = await tryPoint(bed, scenario, n);
    for (const problem of problems) say(`  point ${n} (${call}): ${problem}`);
    if (problems.length > 0) bad++;
    return reached;
  });
  return { points, ran, bad };
}

process.exitCode = await withBeds("kill", async (bed, values) => {
  const { user, reference, source, donor } = bed;
  const output = join(user.home, "reference.squashfs");
  const whole = placeIn(user, join(user.home, "reference"));
  await runAt(whole, [...reference.rootling, "import", source, "-o", output]);
  squashfs.set(user.kind, hashOf(output));
  return Object.fromEntries(
    Object.entries(scenarios(source, donor)).map(([name, scenario]) => [
      name,
      () => sweep(bed, scenario, Number(values.jobs)),
    ]),
  );
});
