/** Id maps: which owners files get in place of those that the image gives them. */
import { toText } from "../base/bytes.ts";
import { Failure } from "../base/errors.ts";
import { overlap } from "../base/subids.ts";
import { escapeText } from "../base/text.ts";
import { mappedAttributes } from "./alter-attributes.ts";
import type { Entry } from "./types.ts";

/** The ids `start`, `start + 1`, … become `target`, `target + 1`, …: `count` of them. */
export interface IdRange {
  readonly start: number;
  readonly target: number;
  readonly count: number;
}

/** Ranges for users and for groups. */
export interface IdMaps {
  readonly uids: readonly IdRange[];
  readonly gids: readonly IdRange[];
  /** Ids in no range are refused; by default they stay what they are. */
  readonly complete?: boolean;
}

/** (uid_t) -1 means "no change" to chown(2), so the largest id is one less. */
const ID_MAX = 0xffff_fffe;

const refused = (what: string, where: string): Failure =>
  new Failure("E_USAGE", what, { where, mend: "use START:TARGET:COUNT, such as 0:100000:65536; each id once" });

/** The range of the words `START:TARGET:COUNT`. Throws E_USAGE. */
export function parseIdRange(text: string, where: string): IdRange {
  const numbers = /^([0-9]{1,10}):([0-9]{1,10}):([0-9]{1,10})$/.exec(text)?.slice(1).map(Number);
  if (numbers === undefined) throw refused(`${JSON.stringify(text)} is no range of ids`, where);
  const [start = 0, target = 0, count = 0] = numbers;
  return { start, target, count };
}

/**
 * The ranges as one map. It is applied to the ids of the image, once, so what one range gives is no matter of another:
 * two ranges for the same id, or that give two ids the same one, contradict each other. Throws E_USAGE.
 */
export function checkedRanges(ranges: readonly IdRange[], where: string): readonly IdRange[] {
  for (const { start, target, count } of ranges) {
    const said = `${start}:${target}:${count}`;
    if (![start, target, count].every((number) => Number.isInteger(number) && number >= 0)) {
      throw refused(`${said} has what is no id`, where);
    }
    if (count === 0) throw refused(`${said} maps no id`, where);
    if (start + count - 1 > ID_MAX || target + count - 1 > ID_MAX)
      throw refused(`${said} has ids that are too large`, where);
  }
  const twice = overlap(ranges);
  if (twice !== undefined) throw refused(`the id ${twice} is mapped twice`, where);
  const both = overlap(ranges.map(({ target, count }) => ({ start: target, count })));
  if (both !== undefined) throw refused(`two ids would become ${both}`, where);
  return ranges;
}

const find = (ranges: readonly IdRange[], id: number): number | undefined => {
  for (const { start, target, count } of ranges) if (id >= start && id < start + count) return target + id - start;
  return undefined;
};

/**
 * The entry with the owners that the maps give it, and with attributes that name ids rewritten. A new one, unless
 * nothing changes: the merge names the same entry again when it comes to its hard links. Throws E_SUBUID for an id that
 * complete maps do not hold.
 */
export function withMappedIds(entry: Entry, maps: IdMaps): Entry {
  const moved = (kind: "user" | "group", ranges: readonly IdRange[], id: number): number => {
    const found = find(ranges, id);
    if (found === undefined && maps.complete) throw notHeld(kind, id, entry);
    return found ?? id;
  };
  const moves = {
    uid: (id: number) => moved("user", maps.uids, id),
    gid: (id: number) => moved("group", maps.gids, id),
  };
  const uid = moves.uid(entry.uid);
  const gid = moves.gid(entry.gid);
  const xattrs = entry.xattrs && mappedAttributes(entry.xattrs, moves);
  if (uid === entry.uid && gid === entry.gid && xattrs === entry.xattrs) return entry;
  return { ...entry, uid, gid, ...(xattrs === undefined ? {} : { xattrs }) };
}

const notHeld = (kind: string, id: number, { path }: Entry): Failure =>
  new Failure("E_SUBUID", `there are files of ${kind} ${id}, who is none of those that you may give files to`, {
    where: escapeText(toText(path)),
    mend: "map all ids of the image to your own and to subordinate ones: see /etc/subuid and /etc/subgid",
  });
