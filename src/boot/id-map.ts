/** Id maps: which ids of the host the ids inside stand for. From the words of --map to ranges and to ops. Pure. */
import { Failure } from "../base/errors.ts";
import { overlap, type Span, type SubordinateIds } from "../base/subids.ts";
import { type Op, op } from "../plan/plan.ts";

/** A line of a map: `count` ids from `inside` on are those of the host from `outside` on (user_namespaces(7)). */
export interface IdRange {
  readonly inside: number;
  readonly outside: number;
  readonly count: number;
}

/** Ranges as they were written. */
export interface ExplicitMap {
  readonly uids: readonly IdRange[];
  readonly gids: readonly IdRange[];
}

/**
 * `caller`: ids stay what they are; `root`: the caller is root inside; `subids`: root inside is the caller, all others
 * are subordinate ids; `keep`: the caller keeps the id, all others are subordinate ids.
 */
export type MapWish = "caller" | "root" | "subids" | "keep" | ExplicitMap;

export interface IdMap extends ExplicitMap {
  /**
   * none: no user namespace, for real root without a map; one: the map of one id that every user may write; many:
   * ranges, written by newuidmap(1) for ordinary users.
   */
  readonly kind: "none" | "one" | "many";
  readonly subordinate?: SubordinateIds;
}

/** Who asks. */
export interface Caller {
  readonly uid: number;
  readonly gid: number;
  readonly subordinate?: SubordinateIds;
}

const ID_MAX = 0xffff_fffe;
/** Lines that the kernel takes (user_namespaces(7)). */
const RANGES_MAX = 340;
/** Ids that images use: what podman and docker give to a container. */
const IDS = 65_536;
/** Where root's maps begin that /etc/subuid gives nothing to. */
const ROOT_START = 1_000_000;

const usage = (what: string, where: string): Failure =>
  new Failure("E_USAGE", what, {
    where,
    mend: "use self, root, subids, keep, or INSIDE:OUTSIDE:COUNT[,…]; with other groups uid:RANGES;gid:RANGES",
  });

function parseRange(text: string, where: string): IdRange {
  const [inside, outside, count] = (/^([0-9]{1,10}):([0-9]{1,10}):([0-9]{1,10})$/.exec(text) ?? [])
    .slice(1)
    .map(Number);
  if (inside === undefined || outside === undefined || count === undefined || count === 0) {
    throw usage(`${JSON.stringify(text)} is no range of ids`, where);
  }
  if (inside + count - 1 > ID_MAX || outside + count - 1 > ID_MAX)
    throw usage(`${text} has ids that are too large`, where);
  return { inside, outside, count };
}

function parseRanges(text: string, where: string): IdRange[] {
  const ranges = text.split(",").map((part) => parseRange(part, where));
  if (ranges.length > RANGES_MAX) throw usage(`more than ${RANGES_MAX} ranges`, where);
  for (const side of ["inside", "outside"] as const) {
    const sorted = ranges.map((range) => ({ start: range[side], count: range.count }));
    const both = overlap(sorted);
    if (both !== undefined) throw usage(`the id ${both} is mapped twice`, where);
  }
  return ranges;
}

/** Reads the value of --map. Throws E_USAGE. */
export function parseMap(text: string, where: string): MapWish {
  if (text === "self") return "caller";
  if (text === "root" || text === "subids" || text === "keep") return text;
  const [, uids, gids] = /^uid:([^;]+);gid:([^;]+)$/.exec(text) ?? [];
  if (uids !== undefined && gids !== undefined)
    return { uids: parseRanges(uids, where), gids: parseRanges(gids, where) };
  const ranges = parseRanges(text, where);
  return { uids: ranges, gids: ranges };
}

const wordsOf = (ranges: readonly IdRange[]): string =>
  ranges.map(({ inside, outside, count }) => `${inside}:${outside}:${count}`).join(",");

/** The words of --map that mean the same. */
export function formatMap(wish: MapWish): string {
  if (wish === "caller") return "self";
  return typeof wish === "string" ? wish : `uid:${wordsOf(wish.uids)};gid:${wordsOf(wish.gids)}`;
}

/** Whether the map needs to know of subordinate ids. */
export const wantsSubordinate = (wish: MapWish): boolean => wish !== "caller" && wish !== "root";

/** The map that the wish means for this caller. Throws E_SUBUID where /etc/subuid or /etc/subgid do not give the ids. */
export function resolveMap(wish: MapWish, caller: Caller, origin: string): IdMap {
  const { uid, gid, subordinate } = caller;
  if (wish === "caller" || wish === "root") {
    if (uid === 0) return { kind: "none", uids: [], gids: [] };
    const inside = (id: number) => (wish === "root" ? 0 : id);
    return { kind: "one", uids: [own(inside(uid), uid)], gids: [own(inside(gid), gid)] };
  }
  const known = subordinate ?? { user: String(uid), uids: [], gids: [], free: { uid: ROOT_START, gid: ROOT_START } };
  if (typeof wish !== "string") return explicitMap(wish, caller, known, origin);
  const uids = spansFor("uid", uid, known, origin);
  const gids = spansFor("gid", gid, known, origin);
  if (wish === "keep") return { kind: "many", uids: keeping(uid, uids), gids: keeping(gid, gids), subordinate: known };
  // Root's own ids are the machine's: all of the map is subordinate.
  if (uid === 0) return { kind: "many", uids: following(0, uids), gids: following(0, gids), subordinate: known };
  return {
    kind: "many",
    uids: [own(0, uid), ...following(1, uids)],
    gids: [own(0, gid), ...following(1, gids)],
    subordinate: known,
  };
}

const own = (inside: number, outside: number): IdRange => ({ inside, outside, count: 1 });

/** Ranges from `inside` on, one after the other, 65,536 ids at most. */
function following(inside: number, spans: readonly Span[], least = IDS): IdRange[] {
  const ranges: IdRange[] = [];
  let next = inside;
  for (const { start, count } of spans) {
    const taken = Math.min(count, least - next);
    if (taken > 0) ranges.push({ inside: next, outside: start, count: taken });
    next += Math.max(0, taken);
  }
  return ranges;
}

/** The id stays; those around it are subordinate. */
function keeping(id: number, spans: readonly Span[]): IdRange[] {
  const ranges: IdRange[] = [];
  for (const range of following(0, spans, Math.max(IDS, id) - 1)) {
    const end = range.inside + range.count;
    const below = Math.min(end, id) - range.inside;
    if (below > 0) ranges.push({ ...range, count: below });
    const skipped = Math.max(0, below);
    if (end > id && range.count > skipped) {
      const inside = range.inside + skipped + 1;
      ranges.push({ inside, outside: range.outside + skipped, count: range.count - skipped });
    }
  }
  return [...ranges, own(id, id)].sort((a, b) => a.inside - b.inside);
}

/** The exact line that is missing. */
function missing(kind: "uid" | "gid", known: SubordinateIds, what: string, origin: string): Failure {
  const line = `${known.user}:${known.free[kind]}:${IDS}`;
  return new Failure("E_SUBUID", what, {
    where: origin,
    mend: `ask the administrator to add this line to /etc/sub${kind}: ${line}`,
  });
}

/** The caller's subordinate ids. A range that holds root's id, the caller's own, or ids of another range is refused. */
function spansFor(kind: "uid" | "gid", id: number, known: SubordinateIds, origin: string): readonly Span[] {
  const spans = kind === "uid" ? known.uids : known.gids;
  if (spans.length === 0 && id === 0) return [{ start: ROOT_START, count: IDS }];
  if (spans.length === 0) throw missing(kind, known, `/etc/sub${kind} gives no ids to ${known.user}`, origin);
  const twice = overlap(spans) ?? [0, id].find((one) => spans.some((span) => holds(span, one, 1)));
  if (twice === undefined) return spans;
  throw new Failure("E_SUBUID", `/etc/sub${kind} gives the id ${twice} to ${known.user}, which is in use already`, {
    where: origin,
    mend: `ask the administrator to correct the ranges of ${known.user} in /etc/sub${kind}`,
  });
}

const holds = ({ start, count }: Span, first: number, many: number): boolean =>
  first >= start && first + many <= start + count;

function explicitMap(wish: ExplicitMap, caller: Caller, known: SubordinateIds, origin: string): IdMap {
  const { uid, gid } = caller;
  const single = (ranges: readonly IdRange[], id: number) =>
    ranges.length === 1 && ranges[0]?.count === 1 && ranges[0].outside === id;
  if (single(wish.uids, uid) && single(wish.gids, gid)) return { kind: "one", ...wish };
  if (uid !== 0) {
    if (insideOf(wish.uids, uid) === undefined || insideOf(wish.gids, gid) === undefined) {
      throw new Failure("E_CONFLICT", "the map leaves out who starts the container", {
        where: origin,
        mend: `add a range that holds your own ids, such as uid:0:${uid}:1;gid:0:${gid}:1`,
      });
    }
    for (const [kind, id, ranges] of [
      ["uid", uid, wish.uids],
      ["gid", gid, wish.gids],
    ] as const) {
      const spans = [...(kind === "uid" ? known.uids : known.gids), { start: id, count: 1 }];
      const foreign = ranges.find(({ outside, count }) => !spans.some((span) => holds(span, outside, count)));
      if (foreign === undefined) continue;
      const ids = `${foreign.outside}..${foreign.outside + foreign.count - 1}`;
      throw missing(kind, known, `the ${kind}s ${ids} are not ${known.user}'s to map`, origin);
    }
  }
  return { kind: "many", ...wish, subordinate: known };
}

/** Whether the map holds the ids inside. */
export const mapHolds = (map: ExplicitMap, uid: number, gid: number): boolean =>
  map.uids.some((range) => holds({ start: range.inside, count: range.count }, uid, 1)) &&
  map.gids.some((range) => holds({ start: range.inside, count: range.count }, gid, 1));

const insideOf = (ranges: readonly IdRange[], outside: number): number | undefined =>
  outsideOf(
    ranges.map((range) => ({ inside: range.outside, outside: range.inside, count: range.count })),
    outside,
  );

/** The id of the host that `inside` stands for. */
export const outsideOf = (ranges: readonly IdRange[], inside: number): number | undefined => {
  const range = ranges.find(({ inside: start, count }) => inside >= start && inside < start + count);
  return range === undefined ? undefined : range.outside + inside - range.inside;
};

/** Two maps with the same text give files the same owners on disk. Empty: the owners that a tree has without a map. */
export function ownersOnDisk(map: IdMap, uid: number): string {
  // Root's trees have the owners of the image; its mounts map them.
  return uid === 0 || map.kind !== "many" ? "" : `uid:${wordsOf(map.uids)};gid:${wordsOf(map.gids)}`;
}

/** What a container's record says of the map that it was made for; nothing of those that it is started with anyway. */
export function recordOfMap(wish: MapWish, map: IdMap, uid: number): { words: string; owners: string } | undefined {
  if (map.kind === "none" || (map.kind === "one" && uid !== 0)) return undefined;
  return { words: formatMap(wish), owners: ownersOnDisk(map, uid) };
}

const linesOf = (ranges: readonly IdRange[]): string =>
  ranges.map(({ inside, outside, count }) => `${inside} ${outside} ${count}`).join(",");

/** The op that writes the map. Throws E_PROGRAM where newuidmap or newgidmap is wanted and missing. */
export function mapOp(map: IdMap, uid: number, origin: string): Op {
  const [uids, gids] = [linesOf(map.uids), linesOf(map.gids)];
  if (map.kind === "one") return op("id-map", origin, uids, gids, "deny");
  if (uid === 0) return op("id-map", origin, uids, gids, "allow");
  const { newuidmap, newgidmap } = map.subordinate ?? {};
  if (newuidmap === undefined || newgidmap === undefined) {
    throw new Failure("E_PROGRAM", `the program ${newuidmap ? "newgidmap" : "newuidmap"} is not installed`, {
      where: origin,
      mend: "install it (Debian, Ubuntu: apt-get install uidmap)",
    });
  }
  return op("subordinate-map", origin, newuidmap, newgidmap, uids, gids);
}
