/**
 * npm run test:long: what takes too long for npm test. Starts killed at every point, crowds of starts, thousands of
 * cycles that leave nothing.
 *
 * usage: test/long/main.ts [--only PART] [--user KIND] [--jobs N] [--cycles N] [--starts N] [--subhosts N]
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { compile, type Sweep, sayAll, saySweep, stop } from "../crash/bed.ts";
import { makeTemp } from "../support/temp.ts";
import { type UserKind, userKinds } from "../support/users.ts";
import { oneBridge } from "./bridge.ts";
import { manyStarts, oneName } from "./crowd.ts";
import { cycles } from "./cycles.ts";
import { killSweeps } from "./kill.ts";
import { races } from "./races.ts";

const { values } = parseArgs({
  options: {
    only: { type: "string" },
    user: { type: "string" },
    jobs: { type: "string", default: "2" },
    cycles: { type: "string", default: "2500" },
    starts: { type: "string", default: "1000" },
    subhosts: { type: "string", default: "50" },
  },
});

/** How many of how many ran, and how many of them went wrong. */
export type Counts = Pick<Sweep, "points" | "ran" | "bad">;

const partsOf = (kind: UserKind, stepper: string): Record<string, () => Promise<Counts>> => ({
  ...killSweeps(kind, stepper, Number(values.jobs)),
  "many starts": () => manyStarts(kind, Number(values.starts)),
  "one name": () => oneName(kind),
  ...(kind === "root" ? { bridge: () => oneBridge(Number(values.subhosts)) } : {}),
  cycles: () => cycles(kind, Number(values.cycles)),
  ...races(kind),
});

async function main(): Promise<boolean> {
  const temp = makeTemp();
  const sweeps: Sweep[] = [];
  try {
    const stepper = join(temp.path, "stepper");
    await compile("test/support/stepper.c", stepper);
    for (const kind of userKinds.filter((one) => one !== "subids" && (values.user ?? one) === one)) {
      for (const [name, run] of Object.entries(partsOf(kind, stepper))) {
        if (!name.startsWith(values.only ?? "") || stop.asked) continue;
        const begin = performance.now();
        const sweep = { name, kind, ...(await run()), seconds: (performance.now() - begin) / 1000 };
        sweeps.push(sweep);
        saySweep(sweep);
      }
    }
  } finally {
    await temp.remove();
  }
  return sayAll("long", sweeps);
}

process.exitCode = (await main()) ? 0 : 1;
