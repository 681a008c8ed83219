/**
 * What the fuzzer begins with: the golden plans as wires, and a dictionary of their words.
 *
 *     node seeds.ts DIRECTORY DICTIONARY
 */
import { globSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Plan, verbTable } from "../../src/plan/plan.ts";
import { toWire } from "../../src/plan/wire.ts";

const [directory, dictionary] = process.argv.slice(2);
if (directory === undefined || dictionary === undefined) throw new Error("usage: seeds.ts DIRECTORY DICTIONARY");

mkdirSync(directory, { recursive: true });
const cases = join(import.meta.dirname, "../boot/cases");
for (const file of globSync("*/plan.json", { cwd: cases })) {
  const plan = JSON.parse(readFileSync(join(cases, file), "utf8")) as Plan;
  writeFileSync(join(directory, file.replace("/", ".")), toWire(plan, ["/bin/node", "explain"]));
}
const words = ["rootling-wire", "in-place", "supervised", "detached", "65536", ...Object.keys(verbTable)];
writeFileSync(dictionary, words.map((word) => `"\\x00${word}\\x00"\n"${word}"\n`).join(""));
