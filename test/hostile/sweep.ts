/** Runs hostile archives in processes of their own, a batch a process, and tells what went wrong. */

import { spawn } from "node:child_process";
import { chmodSync, chownSync, cpSync, mkdirSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { checkout } from "../support/cli.ts";
import { makeTemp } from "../support/temp.ts";
import { makeUser, type TestUser, type UserKind } from "../support/users.ts";

export interface SweepOptions {
  kind: UserKind;
  seed: number;
  from: number;
  to: number;
  jobs: number;
}

export interface SweepResult {
  ran: number;
  codes: Record<string, number>;
  /** Bytes that a process had at most, in MB. */
  peak: number;
  slowest: number;
  problems: string[];
}

interface Report {
  begins?: number;
  index: number;
  kind: string;
  code: string;
  problems: string[];
  milliseconds: number;
  rss: number;
}

/** Set by Ctrl-C: the archives that are unpacked are the last ones, and all is cleared. */
const stop = { asked: false };
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => (stop.asked = true));

const BATCH = 250;
/** No archive takes longer: milliseconds. */
const PATIENCE = 30_000;
/** MB that a process may have. */
const MEMORY = 600;

/** The sources and a Node where every user may read them, and no edit changes them. */
export function copySources(directory: string): { worker: string; node: string } {
  const disk = `dist/disk-${process.arch}`;
  for (const name of ["src", "test/support", "test/hostile", "package.json", disk]) {
    cpSync(join(checkout, name), join(directory, name), { recursive: true });
  }
  const node = join(directory, "node");
  cpSync(process.execPath, node);
  return { worker: join(directory, "test/hostile/worker.ts"), node };
}

/** What must not change, and room to work beside it. */
function makePlace(user: TestUser, name: string): string {
  const directory = join(user.home, name);
  const outside = join(directory, "outside");
  for (const path of [
    directory,
    outside,
    join(outside, "directory"),
    join(directory, "work"),
    join(directory, "store"),
  ]) {
    mkdirSync(path, { mode: 0o755 });
  }
  writeFileSync(join(outside, "canary"), "alive");
  writeFileSync(join(outside, "secret"), "secret");
  chmodSync(join(outside, "secret"), 0o600);
  writeFileSync(join(outside, "directory/inside"), "inside");
  symlinkSync("canary", join(outside, "link"));
  for (const path of ["outside/canary", "outside/secret", "outside/directory/inside", "outside/directory", "outside"]) {
    utimesSync(join(directory, path), 1_500_000_000, 1_500_000_000);
  }
  for (const path of ["", "work", "store", "outside", "outside/canary", "outside/secret", "outside/directory"]) {
    chownSync(join(directory, path), user.uid, user.gid);
  }
  return directory;
}

/** Runs one batch; a process that dies or hangs is a problem, and the batch goes on after that archive. */
async function runBatch(
  user: TestUser,
  words: readonly string[],
  from: number,
  to: number,
  result: SweepResult,
): Promise<void> {
  for (let next = from; next < to && !stop.asked; ) {
    const [file = "", ...args] = user.words([...words, String(next), String(to)]);
    const child = spawn(file, args, {
      env: { ...user.env, TMPDIR: user.home },
      cwd: user.home,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let errors = "";
    child.stderr.on("data", (chunk: Buffer) => (errors = (errors + chunk.toString()).slice(-2000)));
    const ended = new Promise<string>((resolve) =>
      child.on("close", (status, signal) => resolve(signal ?? String(status))),
    );
    let current = next;
    let over = true;
    let timer: NodeJS.Timeout | undefined;
    for await (const line of createInterface({ input: child.stdout })) {
      clearTimeout(timer);
      const report = JSON.parse(line) as Report;
      if (report.begins !== undefined) {
        current = report.begins;
        over = false;
        timer = setTimeout(() => child.kill("SIGKILL"), PATIENCE);
        continue;
      }
      over = true;
      result.ran++;
      result.codes[report.code] = (result.codes[report.code] ?? 0) + 1;
      result.peak = Math.max(result.peak, report.rss);
      result.slowest = Math.max(result.slowest, report.milliseconds);
      for (const problem of report.problems)
        result.problems.push(`archive ${report.index} (${report.kind}): ${problem}`);
    }
    clearTimeout(timer);
    const end = await ended;
    if (end !== "0" || !over) result.problems.push(`archive ${current}: the process ended with ${end}: ${errors}`);
    next = current + 1;
  }
}

export async function sweep(options: SweepOptions): Promise<SweepResult> {
  const { kind, seed, from, to, jobs } = options;
  const result: SweepResult = { ran: 0, codes: {}, peak: 0, slowest: 0, problems: [] };
  const temp = makeTemp();
  const { user, remove } = await makeUser(kind);
  try {
    const { worker, node } = copySources(temp.path);
    let begin = from;
    const work = async (job: number) => {
      const directory = makePlace(user, `job-${job}`);
      while (begin < to && !stop.asked) {
        const start = begin;
        begin = Math.min(to, start + BATCH);
        await runBatch(user, [node, worker, directory, String(seed)], start, begin, result);
      }
    };
    await Promise.all(Array.from({ length: jobs }, (_, job) => work(job)));
  } finally {
    await remove();
    await temp.remove();
  }
  if (result.peak > MEMORY) result.problems.push(`a process had ${result.peak} MB`);
  if (result.ran !== to - from) result.problems.push(`${result.ran} of ${to - from} archives ran to their end`);
  return result;
}
