/**
 * Every point of a command. How many there are is not fixed, since threads take turns as they like. So there is no list
 * of points: run N is stopped at its N-th, for N = 1, 2, 3…, until runs come to their end before it. A run that ends too
 * early for a point that exists is done again.
 */
import { stop } from "./bed.ts";

/** So many runs in a row have to end before their point, until there is none any more. */
const BEYOND = 4;
/** A point below one that was reached is tried so often. */
const TRIES = 20;

/** Calls `attempt` for each point, `jobs` at a time; it says whether its run came so far. */
export async function tryAllPoints(
  jobs: number,
  attempt: (n: number) => Promise<boolean>,
): Promise<{ points: number; ran: number }> {
  const reached = new Set<number>();
  const early: number[] = [];
  let next = 1;
  let beyond = 0;
  const tryPoint = async (n: number) => {
    const was = await attempt(n);
    if (was) reached.add(n);
    return was;
  };
  const worker = async () => {
    while (beyond < BEYOND && !stop.asked) {
      const n = next++;
      if (await tryPoint(n)) beyond = 0;
      else {
        beyond++;
        early.push(n);
      }
    }
  };
  await Promise.all(Array.from({ length: jobs }, worker));
  const points = Math.max(0, ...reached);
  for (const n of early.filter((point) => point < points)) {
    for (let i = 0; i < TRIES && !reached.has(n) && !stop.asked; i++) await tryPoint(n);
  }
  return { points, ran: reached.size };
}
