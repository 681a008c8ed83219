/** Starts of a root, and copies of a container, that is changed meanwhile: 10,000 swaps and more of each of its parts. */
import { say } from "../crash/bed.ts";
import { type CopyRace, copyRaces, raceCopies } from "../hostile/copy-races.ts";
import { compileSwapper, type RaceTarget, race, raceTargets } from "../hostile/races.ts";
import { busyboxBox } from "../support/boxes.ts";
import type { UserKind } from "../support/users.ts";
import type { Counts } from "./main.ts";

const SWAPS = 10_000;
const STARTS = 100;
/** Of a dozen copies each. */
const ROUNDS = 8;

/** A part for each of what is swapped. A point is a swap. */
export const races = (kind: UserKind): Record<string, () => Promise<Counts>> =>
  Object.fromEntries([
    ...raceTargets.map((target) => [`races for ${target}`, () => raceFor(kind, target)]),
    ...copyRaces.map((one) => [`races of copies, ${one.where}, ${one.trap}`, () => raceOfCopies(kind, one)]),
  ]);

async function raceFor(kind: UserKind, target: RaceTarget): Promise<Counts> {
  const box = await busyboxBox(kind);
  try {
    // What plans name exists once there was a start.
    await box.must(["run", "--isolate", "busybox", "true"]);
    const { starts, swaps, refused, wrong } = await race(box, await compileSwapper(box.scratch), target, STARTS, SWAPS);
    for (const what of wrong) say(`  ${what}`);
    say(`  ${starts} starts, ${refused} of them refused`);
    return { points: Math.max(swaps, SWAPS), ran: swaps, bad: wrong.length };
  } finally {
    await box.remove();
  }
}

async function raceOfCopies(kind: UserKind, one: CopyRace): Promise<Counts> {
  const box = await busyboxBox(kind);
  try {
    const swapper = await compileSwapper(box.scratch);
    const { copies, swaps, refused, wrong } = await raceCopies(box, swapper, one, ROUNDS, SWAPS);
    for (const what of wrong) say(`  ${what}`);
    say(`  ${copies} copies, ${refused} of them refused`);
    return { points: Math.max(swaps, SWAPS), ran: swaps, bad: wrong.length };
  } finally {
    await box.remove();
  }
}
