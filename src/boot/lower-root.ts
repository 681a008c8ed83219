/** The root: which directories become the payload's /, and what becomes of its changes. Pure, like lower.ts. */
import { Failure } from "../base/errors.ts";
import { type Op, OURSELVES, op } from "../plan/plan.ts";
import type { Facts, HostEntry } from "./facts.ts";
import type { Intent } from "./intent.ts";

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

export function lowerRoot(intent: Intent, facts: Facts): LoweredRoot {
  const { value: root, origin } = intent.root;
  const writes = intent.writes;
  if (root.kind === "host") return lowerHost(intent, facts);
  if (root.kind === "directory" && writes.value === "kept") {
    const bind = op("bind", origin, root.path, stageRoot(facts), "", "", "rec", "none", "0");
    return { undo: [], ops: [...stage(facts), bind, enterRoot(facts)], remarks: [] };
  }
  const lowers = root.kind === "directory" ? [root.path] : root.lowers;
  const kept = root.kind === "layers" ? root.kept : undefined;
  if (writes.value === "kept") {
    if (kept === undefined) {
      throw new Failure("E_CONFLICT", "there is no place to keep changes of this root", {
        where: writes.origin,
        mend: "make a container of it with `rootling create`",
      });
    }
    const ops = [
      ...stage(facts),
      overlay(facts, origin, stageRoot(facts), kept.upper, kept.work, lowers),
      enterRoot(facts),
    ];
    return { undo: [], ops, remarks: [] };
  }
  // What an earlier writable start changed lies on top of the image.
  const layers = kept === undefined ? lowers : [kept.upper, ...lowers];
  const upper = ephemeralUpper(intent, facts);
  return {
    undo: upper.undo,
    ops: [
      ...stage(facts),
      overlay(facts, origin, stageRoot(facts), upper.path("upper"), upper.path("work"), layers),
      enterRoot(facts),
    ],
    // Sealed only after mount points were made; the upper on tmpfs holds nothing but those.
    ...(writes.value === "refused" ? { sealed: writes.origin } : {}),
    remarks: [],
  };
}

const stageRoot = (facts: Facts): string => `${facts.places.stage}/root`;

const enterRoot = (facts: Facts): Op => op("root", OURSELVES, stageRoot(facts));

/** A tmpfs that only this mount namespace sees, with a place for the root and for an ephemeral upper. */
function stage(facts: Facts): Op[] {
  const { stage } = facts.places;
  return [
    op("mount", OURSELVES, "tmpfs", "rootling", stage, "nosuid,nodev", "mode=755", "none"),
    ...["root", "upper", "work"].map((name) => op("make-directory", OURSELVES, `${stage}/${name}`, "755")),
  ];
}

function overlay(
  facts: Facts,
  origin: string,
  target: string,
  upper: string,
  work: string,
  lowers: readonly string[],
): Op {
  // In a user namespace overlayfs keeps its marks in user.overlay.* (Linux 5.11), as root in trusted.overlay.*.
  return op("overlay", origin, target, facts.initialRoot ? "" : "userxattr", upper, work, ...lowers);
}

/** Linux 6.6 gave tmpfs user xattrs, without which overlayfs in a user namespace cannot remove merged directories. */
const tmpfsIsUpper = (facts: Facts): boolean => {
  const [major, minor] = facts.kernel;
  return facts.initialRoot || major > 6 || (major === 6 && minor >= 6);
};

function ephemeralUpper(intent: Intent, facts: Facts): { undo: readonly Op[]; path(name: string): string } {
  if (intent.writes.value === "refused" || tmpfsIsUpper(facts)) {
    return { undo: [], path: (name) => `${facts.places.stage}/${name}` };
  }
  return {
    undo: [op("upper", intent.writes.origin, facts.places.ephemeral)],
    path: (name) => `${facts.places.ephemeral}/${name}`,
  };
}

/** The host's own root, overlaid: changes are ephemeral and the host never sees them. */
function lowerHost(intent: Intent, facts: Facts): LoweredRoot {
  if (intent.writes.value !== "ephemeral") {
    throw new Failure("E_CONFLICT", "changes of the host's own root can only be ephemeral", {
      where: intent.writes.origin,
      mend: "leave out the flag",
    });
  }
  return facts.uid === 0 ? hostAsRoot(intent, facts) : hostAsUser(intent, facts);
}

const quoteList = (names: readonly string[]): string => names.join(" ");

const isOwn = (path: string): boolean => OWN.has(path.split("/")[1] ?? "");

/** One overlay over /; other file systems of the host, which an overlay does not show, bound read-only. */
function hostAsRoot(intent: Intent, facts: Facts): LoweredRoot {
  const { origin } = intent.root;
  const upper = ephemeralUpper(intent, facts);
  const others = (facts.hostMounts ?? []).filter((mount) => !isOwn(mount));
  return {
    undo: upper.undo,
    ops: [
      ...stage(facts),
      overlay(facts, origin, stageRoot(facts), upper.path("upper"), upper.path("work"), ["/"]),
      enterRoot(facts),
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
function hostAsUser(intent: Intent, facts: Facts): LoweredRoot {
  const { origin } = intent.root;
  const upper = ephemeralUpper(intent, facts);
  const entries = (facts.hostRoot ?? []).filter(({ name }) => !OWN.has(name));
  const overlaid = entries.filter((entry) => entry.kind === "directory" && entry.readable && !entry.holdsMounts);
  const bound = entries.filter((entry) => entry.kind !== "symlink" && !overlaid.includes(entry));
  const layer = (kind: "upper" | "work", { name }: HostEntry) => `${upper.path(kind)}/${name}`;
  return {
    undo: upper.undo,
    ops: [
      ...stage(facts),
      op("mount", origin, "tmpfs", "rootling", stageRoot(facts), "nosuid,nodev", "mode=755", "none"),
      ...overlaid.flatMap((entry) => [
        // The merged directory shows its upper's mode: where the caller may not write, neither may they inside.
        op("make-directory", origin, layer("upper", entry), modeOf(entry)),
        op("make-directory", origin, layer("work", entry), "755"),
        op("make-directory", origin, `${stageRoot(facts)}/${entry.name}`, "755"),
        overlay(facts, origin, `${stageRoot(facts)}/${entry.name}`, layer("upper", entry), layer("work", entry), [
          `/${entry.name}`,
        ]),
      ]),
      enterRoot(facts),
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

const modeOf = (entry: HostEntry): string => (entry.writable ? entry.mode : entry.mode & ~0o222).toString(8);
