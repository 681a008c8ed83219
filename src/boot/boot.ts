/** The boot side, step by step: intent and host become facts, facts a plan, the plan is checked and carried out. */
import { type Context, throwIfAborted } from "../base/context.ts";
import { mark, marksSoFar } from "../base/marks.ts";
import { readSubordinateIds } from "../base/subids.ts";
import { check } from "../plan/check.ts";
import { becomeClient, beginMonitor, findExecutor, handOver, type Monitor } from "../plan/launch.ts";
import type { Plan } from "../plan/plan.ts";
import { type ExecFacts, gatherExecFacts } from "./exec-facts.ts";
import { gatherFacts, type Places, windowSize } from "./facts.ts";
import { type IdMap, resolveMap, wantsSubordinate } from "./id-map.ts";
import type { ExecIntent, Intent } from "./intent.ts";
import { lower, lowerExec } from "./lower.ts";
import { lowerShare } from "./lower-subhost.ts";

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

/** The plan of `exec`; nothing is changed. `socket`: a path, not there yet, for clients of a terminal. */
export function planExec(intent: ExecIntent, socket: string): Plan {
  const facts: ExecFacts = gatherExecFacts(intent.target);
  const window = intent.terminal === undefined ? undefined : windowSize();
  return check(lowerExec(intent, { ...facts, socket, ...(window === undefined ? {} : { window }) }));
}

/** The plan of `share`; nothing is changed. `hidden`: what no mount may show. */
export const planShare = (target: ExecIntent["target"], path: string, hidden: Places["hidden"]): Plan =>
  check(lowerShare(target, gatherExecFacts(target), path, hidden));

/** A detached plan's monitor: it waits for its plan, so that records can name it as their owner before it begins. */
export const startMonitor = async ({ settings }: Context): Promise<Monitor> =>
  beginMonitor(await findExecutor(settings.CACHE_PATH));

/**
 * Carries a detached plan out, by its monitor. Resolves to undefined once the payload runs, else to the exit status of a
 * failure that has been put into words.
 */
export async function carryOutBeside(
  context: Context,
  plan: Plan,
  wire: string,
  monitor: Monitor,
): Promise<number | undefined> {
  mark("hand over");
  for (const remark of plan.remarks) context.warn(remark);
  context.progress.close();
  const stop = () => monitor.kill();
  context.signal.addEventListener("abort", stop, { once: true });
  throwIfAborted(context.signal);
  const status = await monitor.begin(withMarks(plan), wire);
  context.signal.removeEventListener("abort", stop);
  throwIfAborted(context.signal);
  return status;
}

/**
 * This process becomes a client of a payload's terminal. `keys`: the bytes that detach it. A starter's end hangs the
 * terminal up, a guest's does not.
 */
export async function showTerminal(
  context: Context,
  socket: string,
  keys: Uint8Array,
  role: "starter" | "guest",
): Promise<never> {
  const executor = await findExecutor(context.settings.CACHE_PATH);
  await leaveSignals(context);
  return becomeClient(executor, socket, keys, role);
}

/** Signals that arrived until here were turned into an abort; from here on they end the process, as they should. */
async function leaveSignals(context: Context): Promise<void> {
  if (process.listenerCount("SIGTERM") === 0) return;
  await new Promise((go) => setImmediate(go));
  throwIfAborted(context.signal);
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.removeAllListeners(signal);
}

/** Carries a plan out: this process becomes the executor. `wire`: a path for the plan on its way. */
export async function carryOut(context: Context, plan: Plan, wire: string): Promise<never> {
  mark("hand over");
  const executor = await findExecutor(context.settings.CACHE_PATH);
  for (const remark of plan.remarks) context.warn(remark);
  context.progress.close();
  await leaveSignals(context);
  return handOver(withMarks(plan), executor, wire);
}

/** Where a picture of the time is asked for, it gets the moments of this process. */
const withMarks = (plan: Plan): Plan => ({
  ...plan,
  ops: plan.ops.map((op) => (op.verb === "timeline" ? { ...op, fields: [...op.fields, ...marksSoFar()] } : op)),
});
