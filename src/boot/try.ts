/** Small plans that try what containers need, carried out by the executor for `doctor`. */
import { writeFileSync } from "node:fs";
import { Failure } from "../base/errors.ts";
import { run } from "../base/process.ts";
import { type Op, OURSELVES, op, type Plan } from "../plan/plan.ts";
import { toWire } from "../plan/wire.ts";

/** What is needed to try something on this host. */
export interface Trial {
  readonly executor: string;
  readonly uid: number;
  readonly gid: number;
  /** An empty directory of ours. */
  readonly stage: string;
  /** A path for the plan on its way. */
  readonly wire: string;
}

export type TrialName = "user-namespace" | "overlay" | "overlay-removal" | "pid-namespace";

/** Programs of the host that end at once. */
const TRUE = ["/usr/bin/env", "true"];

const namespaces = (trial: Trial, ...more: string[]): Op[] => {
  const list = [...(trial.uid === 0 ? [] : ["user"]), "mount", ...more].join(",");
  const map = op("id-map", OURSELVES, `${trial.uid} ${trial.uid} 1`, `${trial.gid} ${trial.gid} 1`, "deny");
  return [
    op("namespaces", OURSELVES, list),
    ...(trial.uid === 0 ? [] : [map]),
    op("propagation", OURSELVES, "/", "slave"),
  ];
};

const makeDirectory = (path: string): Op => op("make-directory", OURSELVES, path, "755");

/** An overlay whose lower, upper and work directories lie in `base`. */
const overlayIn = (trial: Trial, base: string, target: string): Op[] => [
  ...["lower", "lower/dir", "lower/dir/inner", "upper", "work", target].map((name) => makeDirectory(`${base}/${name}`)),
  op(
    "overlay",
    OURSELVES,
    `${base}/${target}`,
    trial.uid === 0 ? "" : "userxattr",
    `${base}/upper`,
    `${base}/work`,
    `${base}/lower`,
  ),
];

/** `upper`: the directory in which the store keeps what containers change. */
function opsOf(name: TrialName, trial: Trial, upper: string): Op[] {
  const tmpfs = op("mount", OURSELVES, "tmpfs", "rootling", trial.stage, "nosuid,nodev", "mode=755", "none");
  const exec = op("exec", OURSELVES, ...TRUE);
  switch (name) {
    case "user-namespace":
      return [...namespaces(trial), tmpfs, exec];
    case "overlay":
      return [...namespaces(trial), tmpfs, ...overlayIn(trial, trial.stage, "root"), exec];
    case "overlay-removal":
      // A directory that lost what was in it is removed by way of an opaque one, which an xattr makes: not every file
      // system below can hold it.
      return [
        ...namespaces(trial),
        ...overlayIn(trial, upper, "root"),
        op("exec", OURSELVES, "/usr/bin/env", "rm", "-r", `${upper}/root/dir`),
      ];
    case "pid-namespace":
      return [
        ...namespaces(trial, "pid"),
        tmpfs,
        op("mount", OURSELVES, "proc", "proc", trial.stage, "", "", "none"),
        exec,
      ];
  }
}

/** Tries it; resolves to undefined when it works, else to what the executor or the program said. */
export async function tryIt(name: TrialName, trial: Trial, upper: string): Promise<string | undefined> {
  const plan: Plan = {
    version: 1,
    topology: name === "pid-namespace" ? "supervised" : "in-place",
    ops: opsOf(name, trial, upper),
    remarks: [],
  };
  writeFileSync(trial.wire, toWire(plan, []), { mode: 0o600 });
  try {
    await run(trial.executor, [trial.wire]).finished;
    return undefined;
  } catch (error) {
    return error instanceof Failure ? error.what.replace(/^.*?failed with status [0-9]+: /, "") : String(error);
  }
}
