/** A plan as the executor reads it: NUL-separated fields (executor/wire.c). */
import { EXIT_FAILURE } from "../base/errors.ts";
import type { Plan } from "./plan.ts";

const VERSION = 2;

/**
 * The bytes of the wire file. `explain` is the command that puts a failure into words, `status` the exit status of one,
 * but for a command that cannot be executed.
 */
export function toWire(plan: Plan, explain: readonly string[], status = EXIT_FAILURE): Buffer {
  const head = [VERSION, plan.topology, status, explain.length].map(String);
  const fields = ["rootling-wire", ...head, ...explain, String(plan.ops.length)];
  for (const op of plan.ops) fields.push(op.verb, op.origin, String(op.fields.length), ...op.fields);
  return Buffer.from(`${fields.join("\0")}\0`, "utf8");
}

/** What the executor writes about a failed step. */
export interface StepFailure {
  index: number;
  verb: string;
  /** errno as a number; 0 where no system call failed. */
  errno: number;
  /** The system call. */
  call: string;
  /** What the kernel added in words. */
  detail: string;
  origin: string;
  fields: readonly string[];
}

/** Reads the record that the executor hands to `rootling explain`; undefined if it is not one. */
export function fromRecord(bytes: Buffer): StepFailure | undefined {
  const [index, verb, errno, call, detail, origin, ...fields] = bytes.toString("utf8").split("\0");
  if (index === undefined || verb === undefined || errno === undefined || call === undefined) return undefined;
  if (detail === undefined || origin === undefined || fields.pop() !== "") return undefined;
  return { index: Number(index), verb, errno: Number(errno), call, detail: detail.trim(), origin, fields };
}
