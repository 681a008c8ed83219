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

/** The Failure of an abort. Its reason may be the exit status, which tells the signal; else that of Ctrl-C. */
export const interruption = ({ reason }: AbortSignal): Failure =>
  new Failure("E_INTERRUPTED", "interrupted", { exitStatus: typeof reason === "number" ? reason : 130 });

/** Throws E_INTERRUPTED once `signal` is aborted. */
export function throwIfAborted(signal: AbortSignal): void {
  if (signal.aborted) throw interruption(signal);
}
