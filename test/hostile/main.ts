/**
 * Unpacks at least 10,000 hostile or broken archives as root and as an ordinary user; see archives.ts for their kinds.
 *
 * usage: test/hostile/main.ts [--seed N] [--count N] [--only INDEX] [--user KIND] [--jobs N]
 */
import { parseArgs } from "node:util";
import { userKinds } from "../support/users.ts";
import { sweep } from "./sweep.ts";

const { values } = parseArgs({
  options: {
    seed: { type: "string" },
    count: { type: "string", default: "10000" },
    only: { type: "string" },
    user: { type: "string" },
    jobs: { type: "string", default: "2" },
  },
});
const say = (line: string) => void process.stdout.write(`${line}\n`);
const seed = Number(values.seed ?? Math.floor(Math.random() * 1e9));
const only = values.only === undefined ? undefined : Number(values.only);
const range = only === undefined ? { from: 0, to: Number(values.count) } : { from: only, to: only + 1 };

say(`seed ${seed}`);
let bad = 0;
for (const kind of userKinds.filter((one) => one !== "subids" && (values.user ?? one) === one)) {
  const begin = performance.now();
  const result = await sweep({ kind, seed, ...range, jobs: only === undefined ? Number(values.jobs) : 1 });
  for (const problem of result.problems) say(problem);
  bad += result.problems.length;
  const codes = Object.entries(result.codes).map(([code, count]) => `${code} ${count}`);
  const seconds = ((performance.now() - begin) / 1000).toFixed(0);
  say(
    `as ${kind}: ${result.ran} archives, ${codes.join(", ")}; most memory ${result.peak} MB, slowest ${result.slowest} ms; ` +
      `${result.problems.length} problems (${seconds} s)`,
  );
}
if (bad > 0) say(`again: npm run test:hostile -- --seed ${seed} --only INDEX`);
process.exitCode = bad === 0 ? 0 : 1;
