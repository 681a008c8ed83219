/** Small plans that try what containers need, carried out by the executor for `doctor`. */
import { writeFileSync } from "node:fs";
import { Failure } from "../base/errors.ts";
import { run } from "../base/process.ts";
import { readSubordinateIds } from "../base/subids.ts";
import { type Op, OURSELVES, op, type Plan } from "../plan/plan.ts";
import { toWire } from "../plan/wire.ts";
import { mapOp, resolveMap } from "./id-map.ts";

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

export type TrialName =
  | "user-namespace"
  | "overlay"
  | "overlay-removal"
  | "pid-namespace"
  | "terminals"
  | "subordinate-ids";

/** Programs of the host that end at once. */
const TRUE = ["/usr/bin/env", "true"];

const oneId = ({ uid, gid }: Trial): Op => op("id-map", OURSELVES, `${uid} ${uid} 1`, `${gid} ${gid} 1`, "deny");

/** New namespaces with the map that `map` writes; without one those that the caller gets by default. */
const namespaces = (trial: Trial, more: readonly string[] = [], map?: Op): Op[] => {
  const written = map ?? (trial.uid === 0 ? undefined : oneId(trial));
  const list = [...(written === undefined ? [] : ["user"]), "mount", ...more].join(",");
  return [
    op("namespaces", OURSELVES, list),
    ...(written === undefined ? [] : [written]),
    op("propagation", OURSELVES, "/", "slave"),
  ];
};

const makeDirectory = (path: string): Op => op("make-directory", OURSELVES, path, "755");

/** An overlay whose lower, upper and work directories lie in `base`. */
const overlayIn = (base: string, target: string): Op[] => [
  ...["lower", "lower/dir", "lower/dir/inner", "upper", "work", target].map((name) => makeDirectory(`${base}/${name}`)),
  op("overlay", OURSELVES, `${base}/${target}`, "userxattr", `${base}/upper`, `${base}/work`, `${base}/lower`),
];

const subordinateMap = ({ uid, gid }: Trial): Op =>
  mapOp(resolveMap("subids", { uid, gid, subordinate: readSubordinateIds(uid) }, OURSELVES), uid, OURSELVES);

/** `upper`: the directory in which the store keeps what containers change. */
function opsOf(name: TrialName, trial: Trial, upper: string): Op[] {
  const tmpfs = op("mount", OURSELVES, "tmpfs", "rootling", trial.stage, "nosuid,nodev", "mode=755", "none");
  const mount = (type: string, data: string) => op("mount", OURSELVES, type, type, trial.stage, "", data, "none");
  const exec = op("exec", OURSELVES, ...TRUE);
  switch (name) {
    case "user-namespace":
      return [...namespaces(trial, [], oneId(trial)), tmpfs, exec];
    case "overlay":
      return [...namespaces(trial), tmpfs, ...overlayIn(trial.stage, "root"), exec];
    case "overlay-removal":
      // A directory that lost what was in it is removed by way of an opaque one, which an xattr makes: not every file
      // system below can hold it.
      return [
        ...namespaces(trial),
        ...overlayIn(upper, "root"),
        op("exec", OURSELVES, "/usr/bin/env", "rm", "-r", `${upper}/root/dir`),
      ];
    case "pid-namespace":
      return [...namespaces(trial, ["pid"]), tmpfs, mount("proc", ""), exec];
    case "terminals":
      return [...namespaces(trial), mount("devpts", "newinstance,ptmxmode=0666,mode=620"), exec];
    case "subordinate-ids":
      return [...namespaces(trial, [], subordinateMap(trial)), exec];
  }
}

/**
 * Tries it; resolves to undefined when it works, else to what the executor or the program said. Throws E_SUBUID or
 * E_PROGRAM where the caller has no subordinate ids to try.
 */
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
    return error instanceof Failure
      ? error.what.replace(/^.*?failed with status [0-9]+: (rootling: )?/, "")
      : String(error);
  }
}
