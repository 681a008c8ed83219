/**
 * Programs of the host as root of a user namespace: for files that belong to subordinate ids, which their user can
 * neither make nor remove from outside.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileFailure } from "../base/errors.ts";
import { makePrivateDirectory } from "../base/files.ts";
import { ourselves, ownerName } from "../base/owner.ts";
import { capture, type Enter } from "../base/process.ts";
import { readSubordinateIds, type Span } from "../base/subids.ts";
import { findExecutor } from "./launch.ts";
import { type Op, OURSELVES, op, type Plan } from "./plan.ts";
import { toWire } from "./wire.ts";

/** Where the executor is found or compiled, and where plans lie on their way to it. */
export interface EnterPlaces {
  readonly executors: string;
  readonly wires: string;
}

let entered = 0;

/** What runs programs in a new user namespace with the map that `map` writes, as root there. */
export async function enterBy(map: Op, places: EnterPlaces): Promise<Enter> {
  const executor = await findExecutor(places.executors);
  makePrivateDirectory(places.wires);
  return (words) => {
    const plan: Plan = {
      version: 1,
      topology: "in-place",
      ops: [
        op("namespaces", OURSELVES, "user"),
        map,
        op("take-ids", OURSELVES, "0", "0"),
        op("environment", OURSELVES, `PATH=${process.env.PATH ?? "/usr/bin:/bin"}`, "LC_ALL=C"),
        op("exec", OURSELVES, ...words),
      ],
      remarks: [],
    };
    const wire = join(places.wires, `${ownerName(ourselves())}.${++entered}`);
    try {
      writeFileSync(wire, toWire(plan, []), { mode: 0o600, flag: "wx" });
    } catch (error) {
      throw fileFailure(error, "writing the plan", wire);
    }
    return [executor, wire];
  };
}

/** Ids of the host, `outside`, and what `enterOwn` calls them. */
export interface OwnRange {
  readonly inside: number;
  readonly outside: number;
  readonly count: number;
}

/** The ids that an ordinary user may give to files. Undefined for root, and where there are no more than the user's own. */
export function ownIds(): { uids: OwnRange[]; gids: OwnRange[]; newuidmap: string; newgidmap: string } | undefined {
  const [uid, gid] = [process.geteuid?.() ?? 0, process.getegid?.() ?? 0];
  if (uid === 0) return undefined;
  const { uids, gids, newuidmap, newgidmap } = readSubordinateIds(uid);
  if (uids.length === 0 || gids.length === 0 || newuidmap === undefined || newgidmap === undefined) return undefined;
  return { uids: rangesOf(uid, uids), gids: rangesOf(gid, gids), newuidmap, newgidmap };
}

/** The caller as 0, and behind it all subordinate ids. */
function rangesOf(id: number, spans: readonly Span[]): OwnRange[] {
  const ranges = [{ inside: 0, outside: id, count: 1 }];
  let next = 1;
  for (const { start, count } of spans) {
    ranges.push({ inside: next, outside: start, count });
    next += count;
  }
  return ranges;
}

const linesOf = (ranges: readonly OwnRange[]): string =>
  ranges.map(({ inside, outside, count }) => `${inside} ${outside} ${count}`).join(",");

/**
 * What runs programs with power over everything that can be this user's: their own files, and those of all their
 * subordinate ids. Undefined where the user has none, or nothing writes the map.
 */
export async function enterOwn(places: EnterPlaces): Promise<Enter | undefined> {
  const own = ownIds();
  if (own === undefined) return undefined;
  const { uids, gids, newuidmap, newgidmap } = own;
  return enterBy(op("subordinate-map", OURSELVES, newuidmap, newgidmap, linesOf(uids), linesOf(gids)), places);
}

/** The same for a user of one id, whose own files may be closed to them: mount points have no permission at all. */
export async function enterAlone(places: EnterPlaces): Promise<Enter | undefined> {
  const [uid, gid] = [process.geteuid?.() ?? 0, process.getegid?.() ?? 0];
  return uid === 0 ? undefined : enterBy(op("id-map", OURSELVES, `0 ${uid} 1`, `0 ${gid} 1`, "deny"), places);
}

/** Runs a program of the host with power over the user's own files and those of their subordinate ids. */
export async function captureOwn(words: readonly string[], places: EnterPlaces): Promise<string> {
  const enter = await enterOwn(places);
  const [file = "", ...args] = enter === undefined ? words : enter(words);
  return capture(file, args);
}
