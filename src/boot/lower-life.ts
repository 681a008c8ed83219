/** How long a container lives and who watches: a detached monitor's ops, and a terminal of the payload's own. Pure. */
import { Failure } from "../base/errors.ts";
import { type Op, OURSELVES, op } from "../plan/plan.ts";
import type { Facts, Places } from "./facts.ts";
import type { ExecIntent, Intent } from "./intent.ts";

type Lifecycle = Pick<Intent, "detached" | "terminal">;

/** A monitor of its own, that is no job of the caller's: it goes on when they go. */
export const isDetached = ({ detached, terminal }: Lifecycle): boolean =>
  detached !== undefined || terminal !== undefined;

/** What the monitor opens before anything else, and undoes last. */
export function monitorOps({ detached, terminal }: Lifecycle, places: Pick<Places, "life" | "socket">): Op[] {
  const { life, socket } = places;
  if (detached !== undefined && life === undefined) {
    throw new Failure("E_CONFLICT", "there is no place for the log of this start", {
      where: detached.origin,
      mend: "make a container of it with `rootling create`",
    });
  }
  return [
    ...(detached !== undefined && life !== undefined
      ? [op("exit-status", detached.origin, life.exit), op("log", detached.origin, life.log, life.olderLog)]
      : []),
    ...(terminal !== undefined && socket !== undefined ? [op("listen", terminal.origin, socket)] : []),
  ];
}

/** Puts the terminal among the steps to the payload: opened once it is its user, whose it is to be. */
export const withTerminal = ({ terminal }: Pick<ExecIntent, "terminal">, window: Facts["window"], ops: Op[]): Op[] =>
  terminal === undefined
    ? ops
    : ops.flatMap((one) =>
        one.verb === "user"
          ? [one, op("terminal", terminal.origin, String(window?.rows ?? 0), String(window?.columns ?? 0))]
          : [one],
      );

/** The mark by which a container's mounts are told from others: base/survivors.ts. */
export const markOf = ({ places }: Pick<Facts, "places">): string => places.mark ?? OURSELVES;
