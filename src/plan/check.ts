/** Refuses plans that the executor could not carry out, before anything is done. */
import { Failure } from "../base/errors.ts";
import { type Op, type Plan, verbTable } from "./plan.ts";

const broken = (index: number, op: Op | undefined, what: string): Failure =>
  new Failure("E_PLAN", `step ${index}${op ? ` (${op.verb})` : ""} ${what}`, {
    ...(op === undefined ? {} : { where: op.origin }),
    mend: "this is a defect in rootling: please report it with the output of the same command and --dry-run",
  });

function checkOp(index: number, op: Op): void {
  const entry = verbTable[op.verb];
  if (entry === undefined) throw broken(index, op, "has a verb that does not exist");
  const named = entry.fields.length;
  const least = entry.repeats === "any" ? named - 1 : named;
  if (op.fields.length < least || (!entry.repeats && op.fields.length > named)) {
    throw broken(index, op, `has ${op.fields.length} fields, not ${named}`);
  }
  if (op.fields.some((field) => field.includes("\0"))) {
    throw new Failure("E_CONFLICT", `a value for ${op.verb} holds a NUL byte`, {
      where: op.origin,
      mend: "take the NUL byte out of it",
    });
  }
}

/** What somebody has to undo, or to stay for. */
const UNDONE: ReadonlySet<string> = new Set([
  ...["upper", "reaper", "services", "disk-file", "pasta", "cgroup", "cables"],
]);

/** What the inside ends with. */
const LAST: ReadonlySet<string> = new Set(["exec", "login", "machine", "pack", "unpack", "services", "end"]);

/** Throws E_PLAN for a plan that is not well formed; returns it otherwise. */
export function check(plan: Plan): Plan {
  plan.ops.forEach((op, index) => checkOp(index, op));
  const verbs = plan.ops.map((op) => op.verb);
  const first = verbs.findIndex((verb) => verbTable[verb].side === "inside");
  if (verbs[first] !== "namespaces" && verbs[first] !== "join") {
    throw broken(first, plan.ops[first], "comes before the namespaces");
  }
  if (verbs.findIndex((verb) => LAST.has(verb)) !== verbs.length - 1)
    throw broken(verbs.length - 1, plan.ops.at(-1), "is not exec, or exec comes earlier");
  const needsUndo = plan.ops.findIndex((op) => UNDONE.has(op.verb));
  if (plan.topology === "in-place" && needsUndo !== -1) {
    throw broken(needsUndo, plan.ops[needsUndo], "needs a monitor, which a plan in place does not have");
  }
  const needsDetached = plan.ops.findIndex(({ verb }) => ["log", "exit-status", "listen", "terminal"].includes(verb));
  if (plan.topology !== "detached" && needsDetached !== -1) {
    throw broken(needsDetached, plan.ops[needsDetached], "needs a detached monitor");
  }
  return plan;
}
