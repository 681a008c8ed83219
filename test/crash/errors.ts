/**
 * Full and failing disks: at every call of an import that changes files, that call alone or it and all later ones
 * report ENOSPC or EIO (by the stepper), and file systems of every size and number of inodes, up to one that
 * suffices. Each run ends with success or with a clear Failure; the store stays intact, and the next try succeeds.
 *
 * usage: test/crash/errors.ts [--only SCENARIO|sizes] [--user KIND] [--jobs N]
 */
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { chown } from "node:fs/promises";
import { constants } from "node:os";
import { join } from "node:path";
import { command, must, type Outcome } from "../support/command.ts";
import type { TestUser } from "../support/users.ts";
import {
  type Bed,
  clear,
  leavingsIn,
  type Place,
  placeIn,
  problemsOfContainers,
  problemsOfListed,
  problemsOfNextImport,
  type Reference,
  runAt,
  say,
  stop,
  withBeds,
} from "./bed.ts";
import { tryAllPoints } from "./points.ts";

const progress = ["--progress", "none"];

/** Commands, the last of which meets the error. */
const scenarios = ({
  source,
  donor,
}: Pick<Bed, "source" | "donor">): Record<string, readonly (readonly string[])[]> => {
  const store = ["import", source, "--name", "box", ...progress];
  return {
    import: [store],
    next: [["import", donor, "--name", "donor", ...progress], store],
    create: [["create", source, "--name", "web", ...progress]],
    remove: [store, ["create", "box", "--name", "web"], ["remove", "web", "image:box"]],
    file: [["import", source, "-o", "OUTPUT", ...progress]],
  };
};

const modes = [
  { mode: "fail", error: "ENOSPC" },
  { mode: "fail", error: "EIO" },
  { mode: "full", error: "ENOSPC" },
] as const;

async function makePlace(user: TestUser, name: string): Promise<Place> {
  const place = placeIn(user, join(user.home, name));
  await clear(place.directory);
  mkdirSync(place.directory, { mode: 0o700 });
  await chown(place.directory, user.uid, user.gid);
  return place;
}

const CODES = /\[E_(SPACE|IO)\]/;

/** How a command may end when a disk is full or fails. */
function problemsOfEnd({ status, signal, stderr }: Pick<Outcome, "status" | "signal" | "stderr">): string[] {
  if (status === 0) return [];
  if (status !== 125 || signal !== null) return [`it ended with ${signal ?? status}: ${stderr}`];
  const clear = CODES.test(stderr) && stderr.includes("mend: ") && !stderr.includes("defect");
  return clear ? [] : [`the failure is not clear: ${stderr}`];
}

async function problemsAfter(place: Place, reference: Reference, source: string): Promise<string[]> {
  const { problems } = await problemsOfListed(place, reference);
  problems.push(...problemsOfContainers(place));
  problems.push(...(await problemsOfNextImport(place, reference, source)));
  return problems;
}

async function sweepScenario(bed: Bed, name: string, jobs: number) {
  const { user, stepper, source, reference } = bed;
  const total = { points: 0, ran: 0, bad: 0 };
  const commands = scenarios(bed)[name] ?? [];
  for (const { mode, error } of modes) {
    const { points, ran } = await tryAllPoints(jobs, async (n) => {
      const place = await makePlace(user, `error-${n}`);
      const output = join(place.directory, "out.squashfs");
      const result = join(place.directory, "result");
      const errno = constants.errno[error];
      const lines = commands.map((words) => words.map((word) => (word === "OUTPUT" ? output : word)));
      for (const words of lines.slice(0, -1)) await runAt(place, [...reference.rootling, ...words]);
      const run = [...reference.rootling, ...(lines.at(-1) ?? [])];
      const outcome = await runAt(place, run, [stepper, result, mode, String(n), String(errno)]);
      const [what, , call = "", status] = readFileSync(result, "utf8").trim().split(" ");
      if (what !== "failed") {
        await clear(place.directory);
        return false;
      }
      const problems = problemsOfEnd({ ...outcome, status: Number(status) });
      // What could not be removed because removing failed stays.
      const removes = ["unlink", "unlinkat", "rmdir", "rename"].includes(call);
      if (existsSync(output) && status !== "0" && !removes && call !== "fsync") problems.push("an output is left");
      problems.push(...(await problemsAfter(place, reference, source)));
      for (const problem of problems) say(`  ${name}, ${mode} ${n} ${error} (${call}): ${problem}`);
      if (problems.length > 0) total.bad++;
      await clear(place.directory);
      return true;
    });
    total.points += points;
    total.ran += ran;
  }
  return total;
}

/** A file system that grows until the import succeeds; `option` is tmpfs's. */
async function sweepSizes(bed: Bed, option: "size" | "nr_inodes", step: number) {
  const total = { points: 0, ran: 0, bad: 0 };
  const { user, source, reference } = bed;
  const [words = []] = scenarios(bed).create ?? [];
  for (let amount = step; !stop.asked; amount += step) {
    const place = await makePlace(user, `size-${amount}`);
    await must(["mount", "-t", "tmpfs", "-o", `${option}=${amount},mode=755`, "none", place.directory]);
    try {
      await chown(place.directory, user.uid, user.gid);
      const outcome = await runAt(place, [...reference.rootling, ...words]);
      total.points++;
      total.ran++;
      const problems = problemsOfEnd(outcome);
      problems.push(...(await problemsOfListed(place, reference)).problems);
      if (outcome.status !== 0) problems.push(...leavingsIn(place).map((path) => `left on the full disk: ${path}`));
      await must(["mount", "-o", "remount,size=64M,nr_inodes=10000", place.directory]);
      problems.push(...(await problemsAfter(place, reference, source)));
      for (const problem of problems) say(`  tmpfs of ${option}=${amount}: ${problem}`);
      if (problems.length > 0) total.bad++;
      if (outcome.status === 0) break;
    } finally {
      await command(["umount", "--lazy", place.directory]);
    }
  }
  return total;
}

process.exitCode = await withBeds("errors", async (bed, values) => {
  const sweeps: Awaited<ReturnType<Parameters<typeof withBeds>[1]>> = {};
  for (const name of Object.keys(scenarios(bed))) sweeps[name] = () => sweepScenario(bed, name, Number(values.jobs));
  // Only root mounts; the store on it is the user's all the same.
  if (process.getuid?.() === 0) {
    sweeps.sizes = () => sweepSizes(bed, "size", 16384);
    sweeps.inodes = () => sweepSizes(bed, "nr_inodes", 1);
  }
  return sweeps;
});
