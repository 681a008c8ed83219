/** Many subhosts on one bridge: all boot, reach each other and stop; nothing stays, and none takes longer for the others. */
import { join } from "node:path";
import { say } from "../crash/bed.ts";
import { emptyBox } from "../support/boxes.ts";
import { cabledHost } from "../support/cabled-host.ts";
import { busyboxRoot } from "../support/images.ts";
import { makeSubhost } from "../support/subhosts.ts";
import type { Counts } from "./main.ts";

/** By how much a value grows a step: least squares. */
function slopeOf(values: readonly number[]): number {
  const middle = (values.length - 1) / 2;
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const spread = values.reduce((sum, _, at) => sum + (at - middle) ** 2, 0);
  return values.reduce((sum, value, at) => sum + (at - middle) * (value - mean), 0) / spread;
}

/** `count` of them, as root; at most 250 have an address. */
export async function oneBridge(count: number): Promise<Counts> {
  const box = await emptyBox("root");
  const base = join(box.scratch, "base");
  await busyboxRoot(base);
  const host = await cabledHost(box);
  const problems: string[] = [];
  const times: number[] = [];
  const names = Array.from({ length: count }, (_, at) => `s${at}`);
  const addressOf = (at: number) => `10.9.0.${(at % count) + 2}`;
  try {
    for (const [at, name] of names.entries()) {
      const lines = [
        `LOWER=${base}`,
        "START=none",
        "CABLES=br7=",
        `ADDRESS=${addressOf(at)}/24`,
        "HOST_ADDRESS=10.9.0.1/24",
      ];
      const begin = performance.now();
      const { status, stderr } = await host.rootling("boot", makeSubhost(box, name, lines).conf);
      times.push(performance.now() - begin);
      if (status !== 0) problems.push(`${name} does not boot: ${stderr.trim()}`);
    }
    for (const [at, name] of names.entries()) {
      const ping = `ip netns exec ${name} busybox ping -c 1 -W 2 ${addressOf(at + 1)}`;
      const { status } = await host.command(["sh", "-c", ping]);
      if (status !== 0) problems.push(`${name} does not reach its neighbour`);
    }
    const stopped = await host.rootling("stop", "--timeout", "1", ...names);
    if (stopped.status !== 0) problems.push(`stop ended with ${stopped.status}: ${stopped.stderr.trim()}`);
    if (!(await host.isClean())) problems.push("something stays in the host's network");
  } finally {
    await host.end();
    await box.remove();
  }
  for (const problem of problems) say(`  ${problem}`);
  const mean = times.reduce((sum, time) => sum + time, 0) / times.length;
  say(`  ${mean.toFixed(0)} ms a boot, and ${slopeOf(times).toFixed(2)} ms more for each that runs`);
  return { points: count, ran: times.length, bad: problems.length };
}
