/** Signals by the names and numbers that people and images give, and the end of processes. */
import { constants } from "node:os";
import { errnoOf, Failure } from "./errors.ts";

/** A number, or a name with or without SIG; SIGRTMIN+n and SIGRTMAX-n as of signal(7). Undefined for other texts. */
export function signalNumber(text: string): number | undefined {
  if (/^[0-9]{1,2}$/.test(text)) return Number(text) >= 1 && Number(text) <= 64 ? Number(text) : undefined;
  const name = text.toUpperCase().replace(/^(SIG)?/, "SIG");
  const [, base, sign, offset = "0"] = /^SIGRT(MIN|MAX)(?:([+-])([0-9]{1,2}))?$/.exec(name) ?? [];
  if (base !== undefined) {
    // As glibc numbers them: it keeps 32 and 33 for itself.
    const number = (base === "MIN" ? 34 : 64) + (sign === "-" ? -1 : 1) * Number(offset);
    return number >= 34 && number <= 64 ? number : undefined;
  }
  return (constants.signals as Record<string, number>)[name];
}

/** What people call a signal; the real-time ones have numbers only. */
export const signalName = (number: number): string =>
  Object.entries(constants.signals).find(([, value]) => value === number)?.[0] ?? `signal ${number}`;

/** Sends a signal; a process that has ended needs none. Throws E_DENIED where it belongs to somebody else. */
export function sendSignal(pid: number, signal: number): void {
  try {
    process.kill(pid, signal);
  } catch (cause) {
    if (errnoOf(cause) === "ESRCH") return;
    throw new Failure("E_DENIED", `process ${pid} cannot be sent a signal`, {
      cause,
      mend: "only its owner and root may end it",
    });
  }
}

/** Waits until `over` says so, at most so many milliseconds; false if the time was up. */
export async function waitUntil(over: () => boolean, milliseconds: number, signal: AbortSignal): Promise<boolean> {
  const end = performance.now() + milliseconds;
  for (let pause = 5; !over(); pause = Math.min(pause * 1.5, 100)) {
    if (performance.now() >= end || signal.aborted) return over();
    await process.getBuiltinModule("node:timers/promises").setTimeout(pause);
  }
  return true;
}
