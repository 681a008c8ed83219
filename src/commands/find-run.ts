/** Finds what runs by the words that people give: a container's name, or a pid that `rootling list` shows. */
import { Failure } from "../base/errors.ts";
import { type Container, listContainers } from "../store/containers.ts";
import { type Layout, runtimePaths } from "../store/layout.ts";
import { listRuns, type Run } from "../store/runs.ts";

export interface Found {
  /** A container of that name exists. */
  readonly container: boolean;
  readonly runs: readonly Run[];
}

/** All runs of a container's name, or the one of a pid. */
export function findRuns(layout: Layout, name: string): Found {
  const containers = listContainers(layout);
  // A subhost is also found by its configuration, which is all that service files know of it.
  const named = containers.find((container) => container.name === name || container.subhost?.conf === name);
  if (named !== undefined) return { container: true, runs: named.runs };
  return { container: false, runs: runsOf(layout, containers, name) };
}

/** The runs of a pid, that of the process inside or of the one that was started; none or one. */
export const runsOfPid = (layout: Layout, pid: string): readonly Run[] => runsOf(layout, listContainers(layout), pid);

const runsOf = (layout: Layout, containers: readonly Container[], name: string): readonly Run[] =>
  [...containers.flatMap(({ runs }) => runs), ...listRuns(runtimePaths(layout).runs)].filter(
    ({ pid, inside }) => name === String(pid) || name === String(inside.pid),
  );

export const nothingRuns = (name: string, { container }: Found): Failure =>
  new Failure("E_NOT_FOUND", container ? `the container ${name} does not run` : `nothing named ${name} runs`, {
    mend: container
      ? `start it with \`rootling start ${name}\`, a subhost with \`rootling boot\``
      : "see `rootling list` for what runs",
  });

/** The one run that is meant; undefined if there is none. Throws E_USAGE where a name means several. */
export function onlyRun(name: string, { runs }: Found): Run | undefined {
  const [run, another] = runs;
  if (another === undefined) return run;
  throw new Failure("E_USAGE", `${name} was started more than once`, {
    mend: `give a pid: ${runs.map(({ pid }) => pid).join(", ")}`,
  });
}
