/** The root: which directories become the payload's /, and what becomes of its changes. Pure, like lower.ts. */
import { basename, dirname } from "node:path";
import { Failure } from "../base/errors.ts";
import { type Op, OURSELVES, op } from "../plan/plan.ts";
import type { Facts, HostEntry } from "./facts.ts";
import type { IdMap } from "./id-map.ts";
import type { Hidden, Intent } from "./intent.ts";
import type { Lender } from "./lower-lend.ts";
import { lowerSquashfs } from "./lower-squashfs.ts";

export interface LoweredRoot {
  /** Ops outside, undone at the end; their presence asks for a monitor. */
  readonly undo: readonly Op[];
  /** From the empty stage to op `root`. */
  readonly ops: readonly Op[];
  /** Set to an origin where the root is made read-only once all mounts are in place. */
  readonly sealed?: string;
  readonly remarks: readonly string[];
}

/** What is mounted by ourselves: the host's version of these is never shown as it is. */
const OWN = new Set(["proc", "sys", "dev"]);

/** What the parts of the root are made from. */
export interface Work {
  readonly intent: Intent;
  readonly facts: Facts;
  readonly map: IdMap;
  readonly lent: Lender;
}

export function lowerRoot(intent: Intent, facts: Facts, map: IdMap, lent: Lender): LoweredRoot {
  const work: Work = { intent, facts, map, lent };
  const { value: root, origin } = intent.root;
  const writes = intent.writes;
  if (root.kind === "host") return lowerHost(work);
  if (root.kind === "directory" && writes.value === "kept") {
    const source = lent.source(origin, root.path, ["rec", "idmap"]);
    const bind = op("bind", origin, source, stageRoot(work), "", "", "rec", "none", "0");
    return { undo: [], ops: [...stage(work), bind, enterRoot(work)], remarks: [] };
  }
  const lowers = root.kind === "layers" ? root.lowers : [root.path];
  const kept = root.kind === "layers" ? root.kept : undefined;
  if (writes.value === "kept") {
    refuseSize(intent, true);
    if (kept === undefined) {
      throw new Failure("E_CONFLICT", "there is no place to keep changes of this root", {
        where: writes.origin,
        mend: "make a container of it with `rootling create`",
      });
    }
    return { undo: [], ops: layered(work, lowers, { upper: kept.upper, work: kept.work }, []), remarks: [] };
  }
  // What an earlier writable start changed lies on top of the image.
  const layers = kept === undefined ? lowers : [kept.upper, ...lowers];
  const upper = ephemeralUpper(work);
  return {
    undo: upper.undo,
    ops: layered(
      work,
      layers,
      { upper: upper.path("upper"), work: upper.path("work") },
      owned(work, upper.path("upper")),
    ),
    // Sealed only after mount points were made; the upper on tmpfs holds nothing but those.
    ...(writes.value === "refused" ? { sealed: writes.origin } : {}),
    remarks: [],
  };
}

/** The merged root has the owner of its upper directory. */
function owned({ map, lent }: Work, upper: string): Op[] {
  const { uid, gid } = builder(map);
  return map.kind === "many" && !lent.lends ? [op("owner", OURSELVES, upper, String(uid), String(gid))] : [];
}

/** From the empty stage to a root of these layers. `first`: what is done before they are overlaid. */
function layered(
  work: Work,
  lowers: readonly string[],
  upper: { upper: string; work: string },
  first: readonly Op[],
): Op[] {
  const { value: root, origin } = work.intent.root;
  const reach = reacher(work);
  const packed = root.kind === "squashfs" ? lowerSquashfs(root, origin, work, place(work.facts, work.lent)) : undefined;
  const mapped = packed ? [packed.directory] : lowers.map((path) => reach.directory(path));
  const hiding = hides(work, mapped);
  const below = [...hiding.layers, ...mapped];
  const above = reach.pair(upper);
  return [
    ...stage(work),
    ...reach.ops(),
    ...(packed?.ops ?? []),
    ...hiding.ops,
    ...first,
    overlay(work, origin, stageRoot(work), above.upper, above.work, below),
    enterRoot(work),
  ];
}

/** A layer that hides what is not to be seen of those below it. */
function hides({ intent: { root, subhost }, facts, lent }: Work, [lower = "/"]: readonly string[]) {
  const hidden = subhost?.hide ?? [];
  if (hidden.length === 0) return { layers: [], ops: [] };
  const layer = `${place(facts, lent)}/hide`;
  const space = root.value.kind === "layers" && root.value.marks === "trusted" ? "trusted" : "user";
  const hide = ({ path, lock, origin }: Hidden) =>
    op("hide", origin, layer, lower, path, `${space}.overlay.opaque`, lock ? "lock" : "");
  return { layers: [layer], ops: [op("make-directory", OURSELVES, layer, "755"), ...hidden.map(hide)] };
}

/** Paths of layers as the inside reaches them: as they are, or where what was lent has been mounted on the stage. */
function reacher({ intent, facts, lent }: Work) {
  const { origin } = intent.root;
  const ops: Op[] = [];
  const isStaged = (path: string): boolean => path.startsWith(`${place(facts, lent)}/`);
  const mounted = (path: string): string => {
    if (!lent.lends) return path;
    const target = `${place(facts, lent)}/layer${ops.length / 2}`;
    const source = lent.source(origin, path, ["idmap"]);
    ops.push(
      op("make-directory", OURSELVES, target, "755"),
      op("bind", origin, source, target, "", "", "", "none", "0"),
    );
    return target;
  };
  return {
    directory: mounted,
    /** An overlay wants both on one mount, so that what is mounted is the directory above them. */
    pair({ upper, work }: { upper: string; work: string }) {
      if (!lent.lends || isStaged(upper)) return { upper, work };
      const above = mounted(dirname(upper));
      return { upper: `${above}/${basename(upper)}`, work: `${above}/${basename(work)}` };
    },
    ops: () => ops,
  };
}

/** The stage as the inside reaches it: root's is entered before its ids change, since then no path leads there. */
export const place = (facts: Facts, lent: Lender): string => (lent.lends ? "." : facts.places.stage);

const stageRoot = ({ intent, facts, lent }: Work): string => {
  const { value: root } = intent.root;
  return ("live" in root ? root.live : undefined) ?? `${place(facts, lent)}/root`;
};

const enterRoot = (work: Work): Op => op("root", OURSELVES, stageRoot(work));

/** Who owns what is made while the root is put together: root inside, or where the map has none, its first id. */
const builder = ({ uids, gids }: IdMap) => ({
  uid: uids.some(({ inside }) => inside === 0) ? 0 : (uids[0]?.inside ?? 0),
  gid: gids.some(({ inside }) => inside === 0) ? 0 : (gids[0]?.inside ?? 0),
});

/** A tmpfs that only this mount namespace sees, with a place for the root and for an ephemeral upper. */
function stage({ intent: { upperSize }, facts, map, lent }: Work): Op[] {
  const { stage } = facts.places;
  const { uid, gid } = builder(map);
  const size = upperSize ? `,size=${upperSize.value}` : "";
  const data = `mode=755${lent.lends ? `,uid=${uid},gid=${gid}` : ""}${size}`;
  return [
    op("mount", OURSELVES, "tmpfs", "rootling", stage, "nosuid,nodev", data, "none"),
    ...(lent.lends ? [op("workdir", OURSELVES, stage), op("take-ids", OURSELVES, String(uid), String(gid))] : []),
    ...["root", "upper", "work"].map((name) => op("make-directory", OURSELVES, `${place(facts, lent)}/${name}`, "755")),
  ];
}

function overlay(
  { intent, facts, map }: Work,
  origin: string,
  target: string,
  upper: string,
  work: string,
  lowers: readonly string[],
): Op {
  // In a user namespace overlayfs keeps its marks in user.overlay.* (Linux 5.11), as root in trusted.overlay.*, unless
  // told otherwise. What a container keeps is read by starts of every map.
  const { value: root } = intent.root;
  const keeps = root.kind === "layers" && root.kept !== undefined && root.marks !== "trusted";
  const options = [
    ...(trusts(facts, map) && !keeps ? [] : ["userxattr"]),
    ...(facts.places.mark ? [`source=${facts.places.mark}`] : []),
  ];
  return op("overlay", origin, target, options.join(","), upper, work, ...lowers);
}

const trusts = (facts: Facts, map: IdMap): boolean => facts.initialRoot && map.kind === "none";

/** Linux 6.6 gave tmpfs user xattrs, without which overlayfs in a user namespace cannot remove merged directories. */
const tmpfsIsUpper = (facts: Facts, map: IdMap): boolean => {
  const [major, minor] = facts.kernel;
  return trusts(facts, map) || major > 6 || (major === 6 && minor >= 6);
};

/** Only a tmpfs has a size of its own, and only an ephemeral upper lies on one. */
function refuseSize({ upperSize, writes }: Intent, onDisk: boolean): void {
  if (upperSize === undefined || (writes.value === "ephemeral" && !onDisk)) return;
  const ephemeral = writes.value === "ephemeral";
  throw new Failure(
    "E_CONFLICT",
    ephemeral
      ? "the changes lie on disk here, where they have no size of their own"
      : "only ephemeral changes have a size",
    {
      where: upperSize.origin,
      mend: ephemeral
        ? "leave it out; without --upper disk, on Linux 6.6 or newer, they lie in memory"
        : "leave it out, or use `rootling run`",
    },
  );
}

function ephemeralUpper({ intent, facts, map, lent }: Work): { undo: readonly Op[]; path(name: string): string } {
  const onDisk = intent.upper?.value === "disk" || !tmpfsIsUpper(facts, map);
  if (intent.upper?.value === "tmpfs" && onDisk) {
    throw new Failure("E_CONFLICT", "changes cannot lie in memory here: that needs Linux 6.6 in a user namespace", {
      where: intent.upper.origin,
      mend: "leave it out: they lie on disk, and are removed at the end",
    });
  }
  refuseSize(intent, onDisk);
  if (intent.writes.value === "refused" || !onDisk) {
    return { undo: [], path: (name) => `${place(facts, lent)}/${name}` };
  }
  return {
    undo: [op("upper", intent.writes.origin, facts.places.ephemeral)],
    path: (name) => `${facts.places.ephemeral}/${name}`,
  };
}

/** The host's own root, overlaid: changes are ephemeral and the host never sees them. */
function lowerHost(work: Work): LoweredRoot {
  const { intent, facts, map } = work;
  if (intent.writes.value !== "ephemeral") {
    throw new Failure("E_CONFLICT", "changes of the host's own root can only be ephemeral", {
      where: intent.writes.origin,
      mend: "leave out the flag",
    });
  }
  if (facts.uid !== 0) return hostAsUser(work);
  if (map.kind === "none") return hostAsRoot(work);
  throw new Failure("E_CONFLICT", "the host's own root keeps its ids when root starts it", {
    where: intent.idMap.origin,
    mend: "leave out the map",
  });
}

const quoteList = (names: readonly string[]): string => names.join(" ");

const isOwn = (path: string): boolean => OWN.has(path.split("/")[1] ?? "");

/** One overlay over /; other file systems of the host, which an overlay does not show, bound read-only. */
function hostAsRoot(work: Work): LoweredRoot {
  const { intent, facts } = work;
  const { origin } = intent.root;
  const upper = ephemeralUpper(work);
  const others = (facts.hostMounts ?? []).filter((mount) => !isOwn(mount));
  return {
    undo: upper.undo,
    ops: [
      ...stage(work),
      overlay(work, origin, stageRoot(work), upper.path("upper"), upper.path("work"), ["/"]),
      enterRoot(work),
      ...others.map((mount) => readOnlyBind(origin, mount)),
    ],
    remarks: [
      "changes to / are ephemeral",
      ...(others.length > 0 ? [`other file systems are read-only: ${quoteList(others)}`] : []),
    ],
  };
}

const readOnlyBind = (origin: string, path: string): Op =>
  op("bind", origin, path, path, "ro", "", "rec,nofail", "auto", "755");

/**
 * An overlay over / is refused in a user namespace: the mounts below it came from a more privileged namespace and are
 * locked together (mount_namespaces(7)). So each directory of / that holds no mount gets an overlay of its own.
 */
function hostAsUser(work: Work): LoweredRoot {
  const { intent, facts } = work;
  const { origin } = intent.root;
  const upper = ephemeralUpper(work);
  const entries = (facts.hostRoot ?? []).filter(({ name }) => !OWN.has(name));
  const overlaid = entries.filter((entry) => entry.kind === "directory" && entry.readable && !entry.holdsMounts);
  const bound = entries.filter((entry) => entry.kind !== "symlink" && !overlaid.includes(entry));
  const layer = (kind: "upper" | "work", { name }: HostEntry) => `${upper.path(kind)}/${name}`;
  // Their owner has no id inside, so that overlayfs could not copy them up for the sake of what is in them.
  const ways = ({ name }: HostEntry) => (facts.hostWays ?? []).filter(({ path }) => path.startsWith(`/${name}/`));
  return {
    undo: upper.undo,
    ops: [
      ...stage(work),
      op("mount", origin, "tmpfs", "rootling", stageRoot(work), "nosuid,nodev", "mode=755", "none"),
      ...overlaid.flatMap((entry) => [
        // The merged directory shows its upper's mode: where the caller may not write, neither may they inside.
        op("make-directory", origin, layer("upper", entry), modeOf(entry)),
        ...ways(entry).map((way) => op("make-directory", origin, `${upper.path("upper")}${way.path}`, modeOf(way))),
        op("make-directory", origin, layer("work", entry), "755"),
        op("make-directory", origin, `${stageRoot(work)}/${entry.name}`, "755"),
        overlay(work, origin, `${stageRoot(work)}/${entry.name}`, layer("upper", entry), layer("work", entry), [
          `/${entry.name}`,
        ]),
      ]),
      enterRoot(work),
      ...entries.flatMap((entry) =>
        entry.kind === "symlink" ? [op("symlink", origin, entry.target ?? "", `/${entry.name}`)] : [],
      ),
      ...bound.map((entry) => readOnlyBind(origin, `/${entry.name}`)),
    ],
    sealed: origin,
    remarks: [
      `changes are ephemeral in: ${quoteList(overlaid.map(({ name }) => `/${name}`))}`,
      ...(bound.length > 0
        ? [`read-only, for they hold mounts or are closed to you: ${quoteList(bound.map(({ name }) => `/${name}`))}`]
        : []),
      "what belongs to root stays unwritable",
    ],
  };
}

const modeOf = (entry: Pick<HostEntry, "mode" | "writable">): string =>
  (entry.writable ? entry.mode : entry.mode & ~0o222).toString(8);
