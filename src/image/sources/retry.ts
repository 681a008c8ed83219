/** Trying again: exponential back-off with jitter, or what the server asks for in Retry-After, within limits. */
import { setTimeout as sleep } from "node:timers/promises";
import { type Context, throwIfAborted } from "../../base/context.ts";
import { Failure } from "../../base/errors.ts";
import { Passing } from "./network-failures.ts";

const FIRST_PAUSE = 0.5;

export class Retries {
  readonly #context: Context;

  constructor(context: Context) {
    this.#context = context;
  }

  /** Does `attempt` until it ends well or fails for good. */
  async run<T>(attempt: () => Promise<T>, signal: AbortSignal): Promise<T> {
    for (let tried = 0; ; tried++) {
      try {
        return await attempt();
      } catch (error) {
        await this.pause(error, tried, signal);
      }
    }
  }

  /** Waits before the next try, or throws `error` where none makes sense. `tried`: how many there were already. */
  async pause(error: unknown, tried: number, signal: AbortSignal): Promise<void> {
    if (!(error instanceof Passing)) throw error;
    const { TRANSFER_RETRIES, RETRY_WAIT } = this.#context.settings;
    // A host that never answered is most often misspelt or switched off: one more try is enough.
    if (tried >= (error.reached ? TRANSFER_RETRIES : Math.min(1, TRANSFER_RETRIES))) throw final(error);
    if (error.after !== undefined && error.after > RETRY_WAIT) throw longWait(error, error.after);
    const pause = error.after ?? Math.min(RETRY_WAIT, FIRST_PAUSE * 2 ** tried) * (0.5 + Math.random() / 2);
    this.#context.warn(`${error.what} (${error.where}); next try in ${pause.toFixed(1)} s`);
    await sleep(pause * 1000, undefined, { signal }).catch(() => throwIfAborted(signal));
  }
}

/** The same as a failure for good: what waits outside does not try again what was tried inside. */
function final({ code, what, where, mend, cause }: Passing): Failure {
  return new Failure(code, what, {
    ...(where === undefined ? {} : { where }),
    ...(mend === undefined ? {} : { mend }),
    cause,
  });
}

function longWait({ code, what, where }: Passing, seconds: number): Failure {
  return new Failure(code, `${what}, and asks to wait ${seconds} seconds`, {
    ...(where === undefined ? {} : { where }),
    mend: "try again then, or log in: registries often allow more to users that they know (see also ROOTLING_RETRY_WAIT)",
  });
}

/** Retry-After as seconds from now: a number, or a date (RFC 9110, 10.2.3). Nonsense counts as absent. */
export function retryAfter(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^[0-9]{1,9}$/.test(text.trim())) return Number(text);
  const date = Date.parse(text);
  return Number.isNaN(date) ? undefined : Math.max(0, Math.ceil((date - Date.now()) / 1000));
}
