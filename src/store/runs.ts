/**
 * Records of what runs: one file a start, named after its owner. A sandbox in place has no monitor that could remove
 * its record, so the dead are recognised by their names, and cleared by the next command that looks.
 */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { errnoOf, fileFailure } from "../base/errors.ts";
import { type Owner, ownerName, startTime, stateOfName } from "../base/owner.ts";
import { markOfName, survivors } from "../base/survivors.ts";
import { KEPT_OF_THE_DEAD, namesIn } from "./leavings.ts";

export interface RunRecord {
  format: 1;
  /** Name of the container; absent for `run`. */
  container?: string;
  /** What it was started from, for people. */
  image: string;
  /** ISO 8601 time. */
  started: string;
  writable: boolean;
  command: readonly string[];
  /** `NAME=value` lines that `exec` gives to further processes. */
  environment: readonly string[];
  workdir: string;
  user: string;
  /** Further processes are confined as the first one is. */
  isolate?: true;
  seccomp?: "strict" | "compat" | "strict,compat" | "none";
  /** What asks the payload to end: a name or number; absent: SIGTERM. */
  stopSignal?: string;
  detached?: boolean;
  /** Further processes have what a subhost's have. */
  subhost?: true;
  /** It has a terminal of its own. */
  terminal?: boolean;
}

export interface Run extends RunRecord {
  /** The name of its owner, as the names of its files begin. */
  owner: string;
  /** By which the processes inside are found: base/survivors.ts. */
  mark: string;
  /**
   * The process that was started: the payload itself in place, its monitor when supervised. Where that has ended and
   * others inside live on, one of them.
   */
  pid: number;
  /** A process inside, whose namespaces are the container's. */
  inside: { pid: number; start: string };
}

export interface RunPlace {
  /** The record's file. */
  record: string;
  /** Where the executor writes the pid inside, when supervised. */
  pid: string;
}

/** The files of this owner's run below `directory`. */
export function placeOfRun(directory: string, owner: Owner): RunPlace {
  const path = join(directory, ownerName(owner));
  return { record: `${path}.json`, pid: `${path}.pid` };
}

export function writeRun(place: RunPlace, record: RunRecord): void {
  const directory = dirname(place.record);
  if (namesIn(directory).length >= KEPT_OF_THE_DEAD) listRuns(directory);
  try {
    writeFileSync(place.record, JSON.stringify(record), { mode: 0o600 });
  } catch (error) {
    throw fileFailure(error, "recording the start", place.record);
  }
}

/** `survivor`: a process inside, where the owner has ended. */
const readRun = (directory: string, name: string, survivor: number | undefined): Run | undefined => {
  const path = join(directory, name);
  const record = JSON.parse(readFileSync(path, "utf8")) as RunRecord;
  const pid = survivor ?? Number.parseInt(name, 10);
  let inside = pid;
  try {
    if (survivor === undefined) inside = Number.parseInt(readFileSync(path.replace(/\.json$/, ".pid"), "utf8"), 10);
  } catch (error) {
    if (errnoOf(error) !== "ENOENT") throw error;
  }
  const start = startTime(inside);
  if (start === undefined) return undefined;
  return { ...record, owner: name.replace(/\.json$/, ""), mark: markOfName(name), pid, inside: { pid: inside, start } };
};

/** What runs of a directory of records; clears the records of the dead whom nothing inside survives. */
export function listRuns(directory: string): Run[] {
  const runs: Run[] = [];
  const alive = survivors();
  for (const name of namesIn(directory)) {
    const state = stateOfName(name);
    const [survivor] = state === "dead" ? alive(markOfName(name)) : [];
    if (state === "dead" && survivor === undefined) rmSync(join(directory, name), { force: true });
    if ((state !== "alive" && survivor === undefined) || !name.endsWith(".json")) continue;
    try {
      const run = readRun(directory, name, survivor);
      if (run !== undefined) runs.push(run);
    } catch (error) {
      // It ended, or has not finished writing its record: it is not listed yet or no longer.
      if (!(error instanceof SyntaxError) && errnoOf(error) !== "ENOENT")
        throw fileFailure(error, "reading a record", name);
    }
  }
  return runs;
}
