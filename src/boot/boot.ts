/** The boot side, step by step: intent and host become facts, facts a plan, the plan is checked and carried out. */
import { type Context, throwIfAborted } from "../base/context.ts";
import { mark, marksSoFar } from "../base/marks.ts";
import { readSubordinateIds } from "../base/subids.ts";
import { check } from "../plan/check.ts";
import { findExecutor, handOver } from "../plan/launch.ts";
import type { Plan } from "../plan/plan.ts";
import { type ExecFacts, gatherExecFacts } from "./exec-facts.ts";
import { gatherFacts, type Places } from "./facts.ts";
import { type IdMap, resolveMap, wantsSubordinate } from "./id-map.ts";
import type { ExecIntent, Intent } from "./intent.ts";
import { lower, lowerExec } from "./lower.ts";

/** The id map that is meant, for this caller on this host. Throws E_SUBUID. */
export function mapOf({ value, origin }: Intent["idMap"]): IdMap {
  const [uid, gid] = [process.geteuid?.() ?? 0, process.getegid?.() ?? 0];
  const subordinate = wantsSubordinate(value) ? { subordinate: readSubordinateIds(uid) } : {};
  return resolveMap(value, { uid, gid, ...subordinate }, origin);
}

/** The plan of a start; nothing is changed. */
export function planStart(intent: Intent, places: Places): Plan {
  const facts = gatherFacts(intent, places);
  return check(lower(intent, facts));
}

/** The plan of `exec`; nothing is changed. */
export function planExec(intent: ExecIntent): Plan {
  const facts: ExecFacts = gatherExecFacts(intent.target);
  return check(lowerExec(intent, facts));
}

/** Carries a plan out: this process becomes the executor. `wire`: a path for the plan on its way. */
export async function carryOut(context: Context, plan: Plan, wire: string): Promise<never> {
  mark("hand over");
  const executor = await findExecutor(context.settings.CACHE_PATH);
  for (const remark of plan.remarks) context.warn(remark);
  context.progress.close();
  await listenNoMore(context);
  return handOver(withMarks(plan), executor, wire);
}

/** Where a picture of the time is asked for, it gets the moments of this process. */
const withMarks = (plan: Plan): Plan => ({
  ...plan,
  ops: plan.ops.map((op) => (op.verb === "timeline" ? { ...op, fields: [...op.fields, ...marksSoFar()] } : op)),
});

/** Signals that arrived until here were turned into an abort; from here on they end the process, as they should. */
async function listenNoMore(context: Context): Promise<void> {
  if (process.listenerCount("SIGTERM") === 0) return;
  await new Promise((go) => setImmediate(go));
  throwIfAborted(context.signal);
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.removeAllListeners(signal);
}
