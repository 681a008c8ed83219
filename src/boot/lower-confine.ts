/**
 * What is taken from the process before it becomes the payload: keys, terminal, files once more, system calls; and which
 * capabilities are left. Pure, like lower.ts.
 */
import { Failure } from "../base/errors.ts";
import { type Op, op } from "../plan/plan.ts";
import { asMask, type CapabilitySet, capabilitySet, EVERY, fromMask, NONE } from "./capabilities.ts";
import type { Facts } from "./facts.ts";
import type { IdMap } from "./id-map.ts";
import type { Intent, SeccompName, Value } from "./intent.ts";
import { isDetached } from "./lower-life.ts";
import { seccompProgram } from "./seccomp.ts";
import { PROFILES, type Profile } from "./seccomp-profile.ts";

/** The usual capabilities, changed as was asked for. Both are hexadecimal masks. */
export interface Privileges {
  readonly bounding: string;
  readonly own: string;
}

export const NOTHING: Privileges = { bounding: asMask(NONE), own: asMask(NONE) };

interface Confined extends Pick<Intent, "detached" | "terminal"> {
  readonly isolate?: Value<true>;
  readonly seccomp?: Value<SeccompName>;
}

/** Where Landlock, too, lets an isolated sandbox write when its root is read-only; and where devices may be asked. */
const OWN_PLACES = ["/dev", "/proc"];

/** Ops between the change of user and pid 1's own life: the filter is the last, for it forbids what the others do. */
export function confine(intent: Intent, facts: Facts): Op[] {
  const { isolate } = intent;
  return [
    ...(isolate ? [...apart(isolate, intent), landlock(isolate.origin, writablePlaces(intent), "yes")] : []),
    ...filter(intent.seccomp, facts.architecture),
  ];
}

/** The same for a process that enters. It is in a Landlock domain of its own: kept apart, it could reach nobody. */
export function confineExec(intent: Confined, architecture: string): Op[] {
  const { isolate } = intent;
  return [
    ...(isolate ? [...apart(isolate, intent), landlock(isolate.origin, ["/"], "no")] : []),
    ...filter(intent.seccomp, architecture),
  ];
}

/**
 * Out of the caller's session: without a controlling terminal, nothing types into it (tty_ioctl(4)). A payload that
 * goes on without the caller, or has a terminal of its own, is given a session with it.
 */
const apart = ({ origin }: Value<true>, intent: Confined): Op[] => [
  op("keyring", origin),
  ...(isDetached(intent) ? [] : [op("session", origin)]),
];

/** `writable`: the places that may be written to; with / among them only devices are denied. */
function landlock(origin: string, writable: readonly string[], apart: "yes" | "no"): Op {
  const everywhere = writable.includes("/");
  const paths = everywhere ? OWN_PLACES : [...new Set([...OWN_PLACES, ...writable])];
  return op("landlock", origin, "make-device", everywhere ? "device-ioctl" : "write,device-ioctl", apart, ...paths);
}

function filter(wish: Confined["seccomp"], architecture: string | undefined): Op[] {
  if (wish === undefined || wish.value === "none") return [];
  if (architecture !== "x64" && architecture !== "arm64") {
    throw new Failure(
      "E_CONFLICT",
      `the seccomp profile ${wish.value} is not written for ${architecture ?? "this processor"}`,
      {
        where: wish.origin,
        mend: "add --seccomp=none, knowing that every system call is allowed then",
      },
    );
  }
  // Of several filters the kernel takes the answer that lets the least happen (seccomp(2)): their order is nothing.
  const profiles: Profile[] = wish.value.split(",").map((name) => PROFILES[name as keyof typeof PROFILES]);
  return profiles.map((profile) =>
    op("seccomp", wish.origin, profile.name, seccompProgram(profile, architecture).toString("hex")),
  );
}

/**
 * The capabilities that are left. Throws E_CONFLICT early for one that cannot be had: the kernel would refuse it, or,
 * worse, pass it over.
 */
export function confinedPrivileges(usual: Privileges, intent: Intent, map: IdMap, facts: Facts): Privileges {
  if (intent.isolate) return NOTHING;
  const { capabilities } = intent;
  if (capabilities === undefined) return usual;
  for (const wish of capabilities.add) refuseUnavailable(wish, usual, intent, map, facts);
  const change = (mask: string): string => {
    let set: CapabilitySet = fromMask(mask);
    for (const { value } of capabilities.add) set |= capabilitySet(value);
    for (const { value } of capabilities.drop) set &= ~capabilitySet(value) & EVERY;
    return asMask(set);
  };
  return { bounding: change(usual.bounding), own: change(usual.own) };
}

function refuseUnavailable(
  { value, origin }: Value<string>,
  usual: Privileges,
  { user }: Intent,
  map: IdMap,
  facts: Facts,
): void {
  // Without uid 0 inside, the kernel takes the permitted set away at exec; the ambient set, which would survive it,
  // hands capabilities on to every program.
  if (fromMask(usual.own) === NONE || !/^(0|root)?(:|$)/.test(user?.value ?? "")) {
    throw new Failure("E_CONFLICT", `${value} cannot be had: only root of a container has capabilities`, {
      where: origin,
      mend: "be root inside: with --root, or --user root",
    });
  }
  const had = facts.capabilities === undefined ? EVERY : fromMask(facts.capabilities);
  if (map.kind !== "none" || value === "all" || (capabilitySet(value) & ~had) === NONE) return;
  throw new Failure("E_CONFLICT", `${value} cannot be had: this root does not have it itself`, {
    where: origin,
    mend: "start rootling where root has it, outside of the container or service that took it away",
  });
}

/** Where changes are allowed. */
function writablePlaces(intent: Intent): string[] {
  const mounts = intent.mounts.filter(({ set }) => !set.includes("ro")).map(({ target }) => target);
  return intent.writes.value === "refused" ? mounts : ["/", ...mounts];
}

/** Wishes that --isolate cannot keep are refused. */
export function refuseIsolation(intent: Intent): void {
  const { isolate, root } = intent;
  if (isolate === undefined) return;
  if (root.value.kind === "host") {
    throw new Failure(
      "E_CONFLICT",
      "the host's own root cannot be isolated: sockets in it lead to the host's services",
      {
        where: isolate.origin,
        mend: "name an image, or make one of this machine's root: rootling import host:",
      },
    );
  }
  if (intent.devices.value === "host") {
    throw new Failure("E_CONFLICT", `an isolated sandbox (${isolate.origin}) has devices of its own`, {
      where: intent.devices.origin,
      mend: "leave out one of the two",
    });
  }
}

/** Where other users are mapped, a change of owner that only seems to happen would be a lie about files. */
export function refusePretence({ seccomp }: Pick<Intent, "seccomp">, { kind }: IdMap): void {
  if (kind === "one" || !seccomp?.value.includes("compat")) return;
  throw new Failure("E_CONFLICT", "the seccomp profile compat is for maps of one id: here owners can be changed", {
    where: seccomp.origin,
    mend: "leave it out, or leave out --map",
  });
}
