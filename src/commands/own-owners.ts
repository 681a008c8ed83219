/** Owners of the files in a directory that a command makes: root gives them to anybody, others to their subordinate ids. */
import { Failure } from "../base/errors.ts";
import type { Power } from "../base/files.ts";
import { type IdMaps, withMappedIds } from "../image/alter-ids.ts";
import type { Mapped, Owners } from "../image/sinks/directory.ts";
import { enterOwn, type OwnRange, ownIds } from "../plan/enter.ts";
import type { Layout } from "../store/layout.ts";
import { enterPlaces, removeStored } from "../store/trees.ts";

/**
 * How the owners that `ids` give are made; without id maps an ordinary user's files are their own. Throws E_SUBUID where
 * this user can give files to nobody.
 */
export async function ownersFor(layout: Layout, ids: IdMaps | undefined): Promise<Owners> {
  const power: Power = { owns: isOurs, remove: (path) => removeStored(layout, path) };
  return ids === undefined || process.geteuid?.() === 0 ? { power } : { power, mapped: await mappedOf(layout) };
}

const isOurs = (uid: number): boolean =>
  uid === process.geteuid?.() ||
  ownIds()?.uids.some(({ outside, count }) => uid >= outside && uid < outside + count) === true;

async function mappedOf(layout: Layout): Promise<Mapped> {
  const own = ownIds();
  const enter = await enterOwn(enterPlaces(layout));
  if (own === undefined || enter === undefined) {
    throw new Failure("E_SUBUID", "an ordinary user without subordinate ids cannot give files to others", {
      where: "/etc/subuid",
      mend: "write a tar, oci or squashfs, which need no power, run it as root, or have ids added to /etc/subuid and /etc/subgid",
    });
  }
  const maps = { uids: own.uids.map(inward), gids: own.gids.map(inward), complete: true };
  return { enter, inside: (entry) => withMappedIds(entry, maps) };
}

const inward = ({ inside, outside, count }: OwnRange) => ({ start: outside, target: inside, count });
