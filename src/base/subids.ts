/** Subordinate ids: what /etc/subuid and /etc/subgid give to a user (subuid(5), subgid(5)). */
import { readFileSync } from "node:fs";
import { findProgram } from "./process.ts";

/** Ids from `start` on. */
export interface Span {
  readonly start: number;
  readonly count: number;
}

/** The first id of a span that holds ids of another one, too; undefined where none does. */
export function overlap(spans: readonly Span[]): number | undefined {
  const sorted = [...spans].sort((a, b) => a.start - b.start);
  return sorted.find((span, index) => {
    const before = sorted[index - 1];
    return before !== undefined && before.start + before.count > span.start;
  })?.start;
}

/** What a user may map, and how. */
export interface SubordinateIds {
  /** The user's name; the number where there is none. */
  readonly user: string;
  readonly uids: readonly Span[];
  readonly gids: readonly Span[];
  /** The first ids above all that the files give to anybody. */
  readonly free: { readonly uid: number; readonly gid: number };
  /** Paths of the programs that write maps for ordinary users. */
  readonly newuidmap?: string;
  readonly newgidmap?: string;
}

/** Where distributions begin to give subordinate ids (login.defs(5), SUB_UID_MIN). */
const FIRST = 100_000;

interface Line extends Span {
  readonly user: string;
}

/** Lines `USER:START:COUNT` that are well formed; others give nothing to anybody. */
export function parseSubordinate(text: string): Line[] {
  return text.split("\n").flatMap((line) => {
    const [, user = "", start = "", count = ""] = /^([^:#\s][^:]*):([0-9]{1,10}):([0-9]{1,10})\s*$/.exec(line) ?? [];
    return user !== "" && Number(count) > 0 ? [{ user, start: Number(start), count: Number(count) }] : [];
  });
}

const readLines = (file: string): Line[] => {
  try {
    return parseSubordinate(readFileSync(file, "utf8"));
  } catch {
    return [];
  }
};

const spansOf = (lines: readonly Line[], names: readonly string[]): Span[] =>
  lines.filter(({ user }) => names.includes(user)).map(({ start, count }) => ({ start, count }));

const above = (lines: readonly Line[]): number =>
  Math.max(FIRST, ...lines.filter(({ start }) => start < 2 ** 31).map(({ start, count }) => start + count));

const nameOf = (uid: number): string => {
  try {
    return process.getBuiltinModule("node:os").userInfo().username || String(uid);
  } catch {
    // Not in passwd.
    return String(uid);
  }
};

/** Reads both files, for the caller by name and by uid. Files that cannot be read give nothing. */
export function readSubordinateIds(uid: number): SubordinateIds {
  const user = nameOf(uid);
  const names = [user, String(uid)];
  const [uids, gids] = [readLines("/etc/subuid"), readLines("/etc/subgid")];
  const [newuidmap, newgidmap] = [findProgram("newuidmap"), findProgram("newgidmap")];
  return {
    user,
    uids: spansOf(uids, names),
    gids: spansOf(gids, names),
    free: { uid: above(uids), gid: above(gids) },
    ...(newuidmap === undefined ? {} : { newuidmap }),
    ...(newgidmap === undefined ? {} : { newgidmap }),
  };
}
