/** `rootling doctor`: tries what containers need, and says how to mend what does not work. */
import { Failure } from "../base/errors.ts";
import { escapeText } from "../base/text.ts";
import { type Cli, newCommand, showJson } from "./cli.ts";
import { checks, type Entry } from "./doctor-checks.ts";
import { type Finding, hostOf } from "./doctor-finding.ts";

/** What is printed of a check; a stable form (docs/doctor.md). */
interface Result extends Finding {
  readonly id: string;
}

export const define = (cli: Cli) =>
  newCommand("doctor", "Try what this host offers. Exit status 1 if something needed does not work.", [
    "rootling doctor",
    "rootling doctor --json",
  ])
    .option("--json", "as JSON")
    .action(async ({ json }: { json?: boolean }) => {
      const results = await examineAll(cli);
      if (results.some(({ state }) => state === "failed")) cli.setStatus(1);
      cli.print(json ? showJson(results) : results.map(format).join("\n"));
    });

const format = ({ id, state, reason, mend }: Result): string =>
  `${state.padEnd(7)}  ${id}: ${escapeText(reason)}${mend === undefined ? "" : `\n         mend: ${escapeText(mend)}`}`;

/** All checks in order. What needs a check that failed is skipped: its words would lead astray. */
async function examineAll(cli: Cli): Promise<Result[]> {
  const host = hostOf(cli);
  const results: Result[] = [];
  const broken = new Set<string>();
  for (const [id, { needs, examine }] of Object.entries<Entry>(checks)) {
    const missing = needs?.find((need) => broken.has(need));
    const finding: Finding =
      missing === undefined
        ? await Promise.try(examine, host).catch(fromFailure)
        : { state: "skipped", reason: `not tried, since ${missing} does not work` };
    if (finding.state === "failed" || finding.state === "skipped") broken.add(id);
    results.push({ id, ...finding });
  }
  return results;
}

function fromFailure(error: unknown): Finding {
  if (!(error instanceof Failure)) throw error;
  return { state: "failed", reason: error.what, ...(error.mend === undefined ? {} : { mend: error.mend }) };
}
