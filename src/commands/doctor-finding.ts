/** What a check of `rootling doctor` is given, and what it finds. */
import type { Settings } from "../base/settings.ts";
import type { TrialName } from "../boot/try.ts";
import { findExecutor } from "../plan/launch.ts";
import type { Cli } from "./cli.ts";
import { tryHere } from "./trials.ts";

export interface Finding {
  /**
   * ok; warning: something is slower or not offered; failed: containers cannot be made or started; skipped: not tried,
   * since what it needs does not work.
   */
  readonly state: "ok" | "warning" | "failed" | "skipped";
  readonly reason: string;
  /** What to do, exactly. */
  readonly mend?: string;
}

export interface Host {
  readonly settings: Settings;
  readonly uid: number;
  /** Tries it once; what went wrong, or undefined. */
  trial(name: TrialName): Promise<string | undefined>;
}

export const ok = (reason: string): Finding => ({ state: "ok", reason });
export const warning = (reason: string, mend: string): Finding => ({ state: "warning", reason, mend });
export const failure = (reason: string, mend: string): Finding => ({ state: "failed", reason, mend });

export function hostOf(cli: Cli): Host {
  const { settings } = cli.context("none");
  const tried = new Map<TrialName, Promise<string | undefined>>();
  const attempt = async (name: TrialName) => tryHere(name, await findExecutor(settings.CACHE_PATH), cli.layout);
  return {
    settings,
    uid: process.geteuid?.() ?? 0,
    trial: (name) => {
      const result = tried.get(name) ?? attempt(name);
      tried.set(name, result);
      return result;
    },
  };
}
