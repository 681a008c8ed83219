/** Devices beside those of every container, and the programs of the host that go with them. Pure, like lower.ts. */
import { Failure } from "../base/errors.ts";
import { type Op, OURSELVES, op } from "../plan/plan.ts";
import type { Facts } from "./facts.ts";
import type { Intent, Node } from "./intent.ts";
import type { Lender } from "./lower-lend.ts";

/** After the system's own mounts, and after what a start by files brings: that may be another /dev. */
export const lowerNodes = (intent: Intent, facts: Facts): Op[] =>
  (intent.nodes ?? []).map((node) => {
    refuseTarget(node, intent);
    const { path, type, major, minor } = facts.nodes?.[node.hostPath] ?? { path: node.hostPath, type: "c" };
    return op("device", node.origin, path, node.path, `${major}`, `${minor}`, ...(type === "b" ? ["block"] : []));
  });

function refuseTarget({ hostPath, path, origin }: Node, { devices, startup }: Intent): void {
  const kernel = ["/proc", "/sys"].find((place) => path === place || path.startsWith(`${place}/`));
  // A name that is missing would be made in the host's own /dev.
  const shared = (devices.value === "host" || startup !== undefined) && path.startsWith("/dev/") && path !== hostPath;
  if (kernel === undefined && !shared) return;
  throw new Failure("E_CONFLICT", `the device ${hostPath} cannot be shown as ${path}`, {
    where: origin,
    mend: shared ? "/dev is the host's there: leave it at its own path" : "choose a path in /dev",
  });
}

/** What hooks know of the container they work on: the state, of which the executor adds the pid, and config.json. */
const VERSION = "1.0.2";

/**
 * Hooks of the OCI runtime specification that finish the root: on standard input they get the state, whose bundle has a
 * config.json that names the root. After all mounts, and before the root is entered.
 */
export function lowerRuntimeHooks({ runtimeHooks = [] }: Intent, { places }: Facts, lent: Lender): Op[] {
  const [first] = runtimeHooks;
  if (first === undefined) return [];
  if (lent.lends) {
    throw new Failure("E_CONFLICT", "hooks of devices are not possible where root maps ids", {
      where: first.origin,
      mend: "leave out --map, or do it as an ordinary user",
    });
  }
  const config = { ociVersion: VERSION, root: { path: `${places.stage}/root` }, process: { args: [] }, linux: {} };
  const state = { ociVersion: VERSION, id: "rootling", status: "creating", bundle: places.stage };
  return [
    op("file", OURSELVES, `${places.stage}/config.json`, "600", JSON.stringify(config)),
    ...runtimeHooks.map(({ path, args, env, timeout, origin }) =>
      op(
        "runtime-hook",
        origin,
        `${JSON.stringify(state).slice(0, -1)},"pid":`,
        "}",
        `${timeout}`,
        path,
        `${args.length}`,
        ...args,
        ...env,
      ),
    ),
  ];
}

/** A process that nobody gives a group to has those of its user. */
export const groupRemarks = ({ deviceGroups }: Intent, facts: Facts): string[] => {
  const missing = [...new Set(deviceGroups)].filter((group) => facts.uid !== 0 && !facts.groups?.includes(group));
  return missing.map((group) => `a device is for the group ${group}, in which you are not: opening it may fail`);
};
