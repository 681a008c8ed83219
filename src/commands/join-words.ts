/** `container:NAME` and `pid:PID` of the flags that join namespaces: from the word to a process inside. */
import { Failure } from "../base/errors.ts";
import type { Intent, JoinWish } from "../boot/intent.ts";
import { joinWishes, type RunningProcess } from "../boot/join-facts.ts";
import { getContainer } from "../store/containers.ts";
import type { Layout } from "../store/layout.ts";
import { runsOfPid } from "./find-run.ts";

/** Throws E_NOT_FOUND for a container that does not exist or run, E_USAGE for one that runs more than once. */
export function containersToJoin(layout: Layout, intent: Intent): Partial<Record<JoinWish, RunningProcess>> {
  const found: Partial<Record<JoinWish, RunningProcess>> = {};
  for (const [wish, origin] of joinWishes(intent)) {
    const name = /^container:(.*)$/s.exec(wish)?.[1];
    if (name === undefined) {
      // The pid that `rootling list` shows may be that of the monitor, which is outside.
      const [run] = runsOfPid(layout, wish.replace(/^pid:/, ""));
      if (run !== undefined) found[wish] = run.inside;
      continue;
    }
    const [run, another] = getContainer(layout, name).runs;
    if (run === undefined) {
      throw new Failure("E_NOT_FOUND", `the container ${name} does not run`, {
        where: origin,
        mend: `start it with \`rootling start ${name}\``,
      });
    }
    if (another !== undefined) {
      throw new Failure("E_USAGE", `${name} was started more than once`, {
        where: origin,
        mend: `give one of its processes: ${origin}=pid:${run.inside.pid}`,
      });
    }
    found[wish] = run.inside;
  }
  return found;
}
