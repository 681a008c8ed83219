/** Moments of this process, for the picture of a start: each is where a phase begins. */
const marks: { readonly phase: string; readonly at: bigint }[] = [];

/** A phase begins. Nanoseconds of CLOCK_MONOTONIC, which other processes share. */
export const mark = (phase: string): void => void marks.push({ phase, at: process.hrtime.bigint() });

/** `NANOSECONDS PHASE` for each phase so far, the start of Node itself first. */
export function marksSoFar(): string[] {
  const start = process.hrtime.bigint() - BigInt(Math.round(performance.now() * 1e6));
  return [{ phase: "Node", at: start }, ...marks].map(({ phase, at }) => `${at} ${phase}`);
}
