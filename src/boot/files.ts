/** Carries out a plan that ends with op `pack` or `unpack`, as a child whose streams are at hand. */
import { writeFileSync } from "node:fs";
import type { Context } from "../base/context.ts";
import { Failure, fileFailure } from "../base/errors.ts";
import { type Running, type RunOptions, run } from "../base/process.ts";
import { check } from "../plan/check.ts";
import { findExecutor } from "../plan/launch.ts";
import { type Op, op, type Plan } from "../plan/plan.ts";
import { fromRecord, toWire } from "../plan/wire.ts";
import { gatherExecFacts } from "./exec-facts.ts";
import { explain } from "./explain.ts";
import { gatherFacts, type Places } from "./facts.ts";
import type { ExecIntent, Intent } from "./intent.ts";
import { lowerFiles, lowerFilesOf } from "./lower-files.ts";

/** Writes a file or directory of the root to standard output; with `list` everything but content. `origin`: who asked. */
export const packing = (origin: string, path: string, list: boolean): Op =>
  op("pack", origin, path, list ? "list" : "");

/** Makes what comes on standard input, as `name` in the directory `path`, or as `path`. */
export const unpacking = (origin: string, path: string, name: string, owners: boolean): Op =>
  op("unpack", origin, path, name, owners ? "owners" : "");

/** The plan in a root of its own. */
export const planFiles = (intent: Intent, places: Places, work: Op): Plan =>
  check(lowerFiles(intent, gatherFacts(intent, places), work));

/** The plan in a container that runs. */
export const planFilesOf = (target: ExecIntent["target"], work: Op): Plan =>
  check(lowerFilesOf(target, gatherExecFacts(target), process.geteuid?.() ?? 0, work));

/** Hands the record of a failed step to standard error, from where it is read here. */
const HAND_OVER = ["/bin/sh", "-c", "exec cat >&2"];

/** Starts it. `finished` rejects with what failed, in words. */
export async function runFiles(
  context: Context,
  plan: Plan,
  wire: string,
  streams: Pick<RunOptions, "stdin" | "stdout">,
): Promise<Running> {
  const executor = await findExecutor(context.settings.CACHE_PATH);
  try {
    writeFileSync(wire, toWire(plan, HAND_OVER), { mode: 0o600, flag: "wx" });
  } catch (error) {
    throw fileFailure(error, "writing the plan", wire);
  }
  let said = "";
  const options = { ...streams, signal: context.signal, onStderr: (text: string) => (said += text) };
  const running = run(executor, [wire], options);
  const finished = running.finished.catch((error: unknown) => {
    const record = fromRecord(Buffer.from(said));
    throw record === undefined || !(error instanceof Failure) ? error : explain(record);
  });
  finished.catch(() => {});
  return { ...running, finished };
}
