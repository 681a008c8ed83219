/** Ends what runs: asks it, and kills it once its time is up. */
import { throwIfAborted } from "../base/context.ts";
import { Failure } from "../base/errors.ts";
import { stateOfName } from "../base/owner.ts";
import { sendSignal, signalNumber, waitUntil } from "../base/signals.ts";
import { survivors } from "../base/survivors.ts";
import type { Run } from "../store/runs.ts";

const KILL = 9;
const TERM = 15;
/** Milliseconds in which the kernel should have ended what was killed. */
const LAST_PATIENCE = 30_000;

/** The number of the signal that the run is asked to end with. A name that an image made up is none: SIGTERM. */
export const stopSignalOf = ({ stopSignal }: Run): number => signalNumber(stopSignal ?? "") ?? TERM;

const isOver = (run: Run): boolean => stateOfName(run.owner) !== "alive" && survivors()(run.mark).length === 0;

/**
 * Sends `signal` to what was started, waits, and after `patience` milliseconds kills what is inside: the monitor lives
 * until it has undone what it did. Throws E_BUSY if it does not even end then. Whoever aborts it wants no killing: what
 * was asked is left to end or not.
 */
export async function endRun(run: Run, signal: number, patience: number, abort: AbortSignal): Promise<void> {
  const asked = stateOfName(run.owner) === "alive" ? [run.pid] : survivors()(run.mark);
  for (const pid of signal === KILL ? [] : asked) sendSignal(pid, signal);
  if (signal !== KILL && (await waitUntil(() => isOver(run), patience, abort))) return;
  throwIfAborted(abort);
  const kill = () => {
    if (stateOfName(run.owner) === "alive") sendSignal(run.inside.pid, KILL);
    // Also processes that have left their parent, where there is no pid namespace to end with its first process.
    for (const pid of survivors()(run.mark)) sendSignal(pid, KILL);
    return isOver(run);
  };
  if (await waitUntil(kill, LAST_PATIENCE, abort)) return;
  throwIfAborted(abort);
  throw new Failure("E_BUSY", `process ${run.pid} does not end`, {
    mend: "it may wait for a disk or the network: see the system log, and try again",
  });
}
