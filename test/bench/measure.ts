/** Runs a command under measure.c and brings the numbers together. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { command, must } from "../support/command.ts";

export interface Sample {
  /** Seconds. */
  wall: number;
  /** Seconds of all processes, user and system. */
  cpu: number;
  /** Bytes: resident set of the largest process. */
  memory: number;
}

/** Compiles the measuring program into `directory`; returns its path. */
export async function buildMeasure(directory: string): Promise<string> {
  const program = join(directory, "measure");
  await must(["musl-gcc", "-static", "-O1", "-o", program, join(import.meta.dirname, "measure.c")]);
  return program;
}

/**
 * Runs a shell command and measures it. `hidden` wraps the whole in what is not measured: a mount namespace that
 * some programs need.
 */
export async function measure(
  program: string,
  words: readonly string[],
  out: string,
  env: Readonly<Record<string, string>>,
  hidden: readonly string[] = [],
): Promise<Sample> {
  const outcome = await command([...hidden, program, out, ...words], { env: { ...env }, timeout: 900_000 });
  if (outcome.status !== 0) {
    throw new Error(
      `${words.join(" ")}: ${outcome.signal ?? `status ${outcome.status}`}\n${outcome.stderr.slice(-2000)}`,
    );
  }
  const { wall, user, system, memory } = JSON.parse(readFileSync(out, "utf8")) as Record<string, number>;
  return { wall: wall ?? 0, cpu: (user ?? 0) + (system ?? 0), memory: memory ?? 0 };
}

const middle = (values: readonly number[]): number => {
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length >> 1;
  const upper = sorted[half] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[half - 1] ?? Number.NaN) + upper) / 2;
};

export const median = (samples: readonly Sample[]): Sample => ({
  wall: middle(samples.map((sample) => sample.wall)),
  cpu: middle(samples.map((sample) => sample.cpu)),
  memory: middle(samples.map((sample) => sample.memory)),
});
