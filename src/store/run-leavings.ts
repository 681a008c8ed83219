/** What killed starts have left outside the store: programs that connect networks, and cgroups. */
import { readFileSync, rmdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { startTime, stateOfName } from "../base/owner.ts";
import { run } from "../base/process.ts";
import { findExecutor } from "../plan/launch.ts";
import { clearDiskFiles } from "./disk-files.ts";
import type { Layout } from "./layout.ts";
import { runtimePaths } from "./layout.ts";

/** Names of a directory whose owners are dead. */
type Dead = (directory: string) => string[];

const read = (path: string): string => {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return "";
  }
};

const end = (pid: number): void => {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended.
  }
};

/** Ends the programs, each named by pid and start time, so that no other process is taken for one. */
function clearNetworks(directory: string, dead: Dead): void {
  for (const name of dead(directory)) {
    const path = join(directory, name);
    const [pid = "", start] = read(path).split(" ");
    if (start !== undefined && startTime(Number(pid)) === start) end(Number(pid));
    rmSync(path, { force: true });
  }
}

const TRIES = 50;

/** True once it is gone. What still lives in it belongs to a container whose monitor is dead. */
async function removeCgroup(directory: string): Promise<boolean> {
  for (let tries = 0; tries < TRIES; tries++) {
    try {
      rmdirSync(directory);
      return true;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "EBUSY") return code === "ENOENT";
    }
    for (const pid of read(join(directory, "cgroup.procs")).split("\n").filter(Boolean)) end(Number(pid));
    await process.getBuiltinModule("node:timers/promises").setTimeout(10);
  }
  return false;
}

async function clearCgroups(directory: string, dead: Dead): Promise<void> {
  for (const name of dead(directory)) {
    const path = join(directory, name);
    const cgroup = read(path);
    // Only what is named as its dead owner would have named it.
    const owner = /\/rootling-([^/]+)$/.exec(cgroup)?.[1] ?? "";
    const ours = name.startsWith(owner) && stateOfName(owner) === "dead";
    if (!ours || (await removeCgroup(cgroup))) rmSync(path, { force: true });
  }
}

/** By the executor, as it does at the end of a container. What resists is tried again by the next command. */
async function clearCables(layout: Layout, directory: string, dead: Dead): Promise<void> {
  for (const name of dead(directory)) {
    const executor = await findExecutor(layout.executors);
    await run(executor, ["--clear-cables", join(directory, name)]).finished.catch(() => {});
  }
}

export async function clearRunLeavings(layout: Layout, dead: Dead): Promise<void> {
  const { networks, cgroups, cables } = runtimePaths(layout);
  await clearCables(layout, cables, dead);
  clearNetworks(networks, dead);
  await clearDiskFiles(layout, dead);
  await clearCgroups(cgroups, dead);
}
