/** Which namespaces a container gets, and the id maps of its user namespace. Pure, like lower.ts. */
import { Failure } from "../base/errors.ts";
import { type Op, OURSELVES, op } from "../plan/plan.ts";
import type { Facts } from "./facts.ts";
import { type IdMap, mapOp } from "./id-map.ts";
import type { Intent } from "./intent.ts";

/** The ops that make the namespaces. Throws E_CONFLICT for wishes that contradict each other. */
export function namespaces(intent: Intent, facts: Facts, map: IdMap): Op[] {
  const list = map.kind === "none" ? ["mount"] : ["user", "mount"];
  const origins = new Set<string>();
  for (const kind of ["pid", "net", "ipc", "uts", "cgroup"] as const) {
    const wish = intent.namespaces[kind];
    if (kind === "uts" && intent.hostname && wish?.value === "host") {
      throw new Failure("E_CONFLICT", `a host name (${intent.hostname.origin}) needs a uts namespace of its own`, {
        where: wish.origin,
        mend: "leave out one of the two",
      });
    }
    const implied = kind === "uts" ? intent.hostname : undefined;
    if (wish?.value !== "private" && implied === undefined) continue;
    list.push(kind);
    origins.add((wish ?? implied)?.origin ?? OURSELVES);
  }
  const ops = [op("namespaces", [...origins].join(", ") || OURSELVES, list.join(","))];
  if (map.kind !== "none") ops.push(mapOp(map, facts.uid, intent.idMap.origin));
  return ops;
}
