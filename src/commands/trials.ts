/** Trials of this host, in the directories of the store: for doctor, and where a container's form depends on one. */
import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makePrivateDirectory, removeTree } from "../base/files.ts";
import { ourselves, ownerName } from "../base/owner.ts";
import { type TrialName, tryIt } from "../boot/try.ts";
import { type Layout, runtimePaths } from "../store/layout.ts";

/** Tries one thing with the executor; resolves to undefined when it works, else to what went wrong. */
export async function tryHere(name: TrialName, executor: string, layout: Layout): Promise<string | undefined> {
  const { stage, wires } = runtimePaths(layout);
  for (const path of [stage, wires, layout.temporary]) makePrivateDirectory(path);
  const wire = join(wires, ownerName(ourselves()));
  const upper = join(layout.temporary, `${ownerName(ourselves())}.${name}`);
  mkdirSync(upper, { mode: 0o700 });
  const trial = { executor, uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0, stage, wire };
  // What resists is cleared by whoever comes next: the trial is what was asked for.
  return tryIt(name, trial, upper).finally(() => removeTree(upper).catch(() => {}));
}

/** The same, but what has worked on the store's file system since the machine booted is not tried again. */
export async function worksHere(name: TrialName, executor: string, layout: Layout): Promise<boolean> {
  const { trials } = runtimePaths(layout);
  for (const path of [trials, layout.temporary]) makePrivateDirectory(path);
  const mark = join(trials, `${name}.${statSync(layout.temporary).dev}`);
  const { boot } = ourselves();
  try {
    if (readFileSync(mark, "utf8") === boot) return true;
  } catch {
    // Never tried.
  }
  if ((await tryHere(name, executor, layout)) !== undefined) return false;
  writeFileSync(mark, boot, { mode: 0o600 });
  return true;
}
