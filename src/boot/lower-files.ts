/**
 * Plans that carry files out of a container or into it, or list them: the root of a start, without anything of the
 * image's being executed; or the namespaces of one that runs. Pure, like lower.ts.
 */
import { type Op, OURSELVES, op, type Plan } from "../plan/plan.ts";
import type { ExecFacts } from "./exec-facts.ts";
import type { Facts } from "./facts.ts";
import type { ExecIntent, Intent } from "./intent.ts";
import { lender } from "./lower-lend.ts";
import { identity, namespaces } from "./lower-namespaces.ts";
import { lowerRoot } from "./lower-root.ts";

/** `work`: op `pack` or `unpack`, which ends the plan. */
export function lowerFiles(asked: Intent, facts: Facts, work: Op): Plan {
  const who = identity(asked, facts);
  const { intent, map } = who;
  const lent = lender(facts.uid === 0 && map.kind === "many");
  const root = lowerRoot(intent, facts, map, lent);
  const { early } = namespaces(who, facts);
  const ops: Op[] = [
    ...root.undo,
    ...early,
    ...lent.ops,
    op("propagation", OURSELVES, "/", "slave"),
    ...root.ops,
    op("pivot", OURSELVES),
    work,
  ];
  return { version: 1, topology: root.undo.length > 0 ? "supervised" : "in-place", ops, remarks: [] };
}

/** An intent of nothing but a root. */
export const rootOnly = (root: Intent["root"], writes: Intent["writes"], idMap: Intent["idMap"]): Intent => ({
  root,
  writes,
  idMap,
  namespaces: {},
  devices: { value: "fresh", origin: OURSELVES },
  mounts: [],
  environment: [],
  command: { value: [], origin: OURSELVES },
  workdir: { value: "/", origin: OURSELVES },
});

/** The same in a container that runs. */
export function lowerFilesOf(
  { pid, start, origin }: ExecIntent["target"],
  facts: ExecFacts,
  uid: number,
  work: Op,
): Plan {
  const { joins, map } = facts;
  // Real root is nobody in a user namespace that it has not become somebody in.
  const ids = map.kind === "many" && map.uids.every(({ outside }) => outside !== 0) && uid === 0;
  const ops = [
    op("join", origin, String(pid), start, joins.join(",")),
    ...(ids ? [op("take-ids", OURSELVES, "0", "0")] : []),
    work,
  ];
  return { version: 1, topology: joins.includes("pid") ? "supervised" : "in-place", ops, remarks: [] };
}
