/** What every long-running function gets from its caller: how to report, and when to stop. */
import { Failure } from "./errors.ts";
import type { Progress } from "./progress.ts";
import type { Settings } from "./settings.ts";

export interface Context {
  readonly settings: Settings;
  /** Aborted by Ctrl-C, or by the program that uses the library. */
  readonly signal: AbortSignal;
  readonly progress: Progress;
  /** Says something that the user should know but that does not stop the work. One line, without full stop. */
  warn(message: string): void;
}

/** Throws E_INTERRUPTED once `signal` is aborted. */
export function throwIfAborted(signal: AbortSignal): void {
  if (signal.aborted) throw new Failure("E_INTERRUPTED", "interrupted", { exitStatus: 130 });
}
