/** Plans as the command makes them, carried out as tests change them: what the executor does of itself. */
import { chownSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { findExecutor } from "../../src/plan/launch.ts";
import type { Op, Plan } from "../../src/plan/plan.ts";
import { toWire } from "../../src/plan/wire.ts";
import type { Box } from "./boxes.ts";
import { type CommandOptions, command, type Outcome } from "./command.ts";

/** The plan of `rootling WORDS`; a start that was carried out before has made the directories that it names. */
export async function planOf(box: Box, [name = "", ...words]: readonly string[]): Promise<Plan> {
  return JSON.parse(await box.must([name, "--dry-run", "--json", ...words])) as Plan;
}

let wires = 0;

/** Carries out the plan as the user. `caller`: a program, with its arguments, that becomes the executor. */
export async function carryOutPlan(
  box: Box,
  plan: Plan,
  change: (ops: readonly Op[]) => readonly Op[] = (ops) => ops,
  { caller = [], ...options }: CommandOptions & { caller?: readonly string[] } = {},
): Promise<Outcome> {
  const { user, scratch } = box;
  const wire = join(scratch, `wire-${++wires}`);
  writeFileSync(wire, toWire({ ...plan, ops: change(plan.ops) }, []), { mode: 0o600 });
  chownSync(wire, user.uid, user.gid);
  try {
    return await user.run([...caller, await findExecutor("/nonexistent"), wire], options);
  } finally {
    // The executor cannot: the directory is not the user's.
    await command(["rm", "-f", wire]);
  }
}
