/** What the process becomes: its user, privileges, environment and directory, and the command. Pure, like lower.ts. */
import { Failure } from "../base/errors.ts";
import { type Op, OURSELVES, op } from "../plan/plan.ts";
import { type IdMap, mapHolds } from "./id-map.ts";
import type { Intent, Value } from "./intent.ts";
import type { Privileges } from "./lower-confine.ts";
import { lowerLogin } from "./lower-startup.ts";
import { lowerInit, lowerPrepare } from "./lower-subhost.ts";

/** A map of one id holds nobody but the caller: another user cannot be had, and must not be silently left out. */
export function refuseUser({ user }: Pick<Intent, "user">, { kind }: IdMap): void {
  if (kind !== "one" || user?.origin !== "--user") return;
  throw new Failure("E_CONFLICT", "a map of one id holds no other user", {
    where: user.origin,
    mend: "leave it out to stay who you are, use --root to be root inside, or --map subids for all users of the image",
  });
}

type Who = Pick<Intent, "user" | "idMap"> & { readonly subhost?: unknown };

/** With `keep`, who asked for the container stays who they are, unless they say otherwise. */
const stays = ({ user, idMap }: Who): boolean => idMap.value === "keep" && user?.origin !== "--user";

/** What is said aloud where the image asks for a user that cannot be had. */
export const ignoredUser = (intent: Intent, { kind }: IdMap): string[] =>
  intent.user !== undefined && (kind === "one" || (kind === "many" && stays(intent)))
    ? [`the image asks for the user ${intent.user.value}; it runs as you`]
    : [];

/** Who the command runs as inside; undefined: as who made the user namespace. */
export function insideUser(intent: Who, map: IdMap): Value<string> | undefined {
  if (map.kind === "one" || (map.kind === "many" && stays(intent))) return undefined;
  if (intent.user?.value) return intent.user;
  return map.kind === "none" || mapHolds(map, 0, 0) ? { value: "0", origin: OURSELVES } : undefined;
}

const NO_CAPABILITIES: Privileges = { bounding: "0", own: "0" };
const ALL_CAPABILITIES: Privileges = { bounding: "ffffffffffffffff", own: "ffffffffffffffff" };

/**
 * What podman leaves to root: chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap, net_bind_service,
 * sys_chroot, setfcap. Not mknod, for no device cgroup would stop a node of a disk; nor net_raw, for the network is
 * the host's.
 */
const CONTAINER_ROOT: Privileges = { bounding: "800405fb", own: "800405fb" };

/**
 * Beside these, a subhost's root sets up its own network (net_admin, net_raw, net_broadcast), logs in (audit_write) and
 * takes leases.
 */
const SUBHOST_ROOT: Privileges = { bounding: "b0043dfb", own: "b0043dfb" };

/** What the payload may do. */
export function privileges(map: IdMap, intent: Who): Privileges {
  if (map.kind === "none") return intent.subhost === undefined ? CONTAINER_ROOT : SUBHOST_ROOT;
  if (map.kind === "many" ? stays(intent) : !mapHolds(map, 0, 0)) return NO_CAPABILITIES;
  // Inside a user namespace, capabilities reach only what belongs to it.
  return ALL_CAPABILITIES;
}

interface Payload {
  readonly environment: Intent["environment"];
  readonly command: Value<readonly string[]>;
  readonly workdir: Value<string>;
  /** What the process is given of its own while it still has its capabilities. */
  readonly own?: readonly Op[];
  readonly startup?: Intent["startup"];
  /** A process of a subhost; its first one where it says how that begins. */
  readonly subhost?: Intent["subhost"] | Value<true>;
}

/** From the finished root to the program that runs in it. */
export function payload(
  intent: Payload,
  allowed: Privileges,
  user: Value<string> | undefined,
  confined: Op[],
  reaper: boolean,
): Op[] {
  return [
    intent.startup ? op("gathered-environment", OURSELVES) : environment(intent),
    op("user", user?.origin ?? OURSELVES, user?.value ?? ""),
    ...(intent.own ?? []),
    op("capabilities", OURSELVES, allowed.bounding, allowed.own),
    // A subhost has su, sudo and set-id mailers.
    ...(intent.subhost === undefined ? [op("no-new-privileges", OURSELVES)] : []),
    op("workdir", intent.workdir.origin, intent.workdir.value),
    ...confined,
    ...(intent.subhost !== undefined && "init" in intent.subhost
      ? [...lowerPrepare(intent.subhost), lowerInit(intent.subhost)]
      : [
          ...(reaper ? [op("reaper", OURSELVES)] : []),
          intent.startup
            ? lowerLogin(intent.startup, intent.command)
            : op("exec", intent.command.origin, ...intent.command.value),
        ]),
  ];
}

/** PATH where nobody says another. */
export const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

function environment(intent: Payload): Op {
  const variables = new Map([["PATH", DEFAULT_PATH]]);
  const origins = new Set<string>();
  for (const { name, value, origin } of intent.environment) {
    variables.set(name, value);
    origins.add(origin);
  }
  return op(
    "environment",
    [...origins].join(", ") || OURSELVES,
    ...[...variables].map(([name, value]) => `${name}=${value}`),
  );
}
