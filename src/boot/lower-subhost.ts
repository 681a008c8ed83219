/** What makes a root a subhost: programs of the host that finish it, and its pid 1. Pure, like lower.ts. */
import { type Op, OURSELVES, op, type Plan } from "../plan/plan.ts";
import type { ExecFacts } from "./exec-facts.ts";
import type { Places } from "./facts.ts";
import type { ExecIntent, Intent, Subhost, Value } from "./intent.ts";
import { cover, refuseStore } from "./lower-mounts.ts";

/** Whoever writes to it ends a subhost without services. */
const DUMMY = "/run/dummy_service";

const hook = (subhost: Subhost, command: Value<string> | undefined): Op[] =>
  command === undefined
    ? []
    : [op("host-command", command.origin, "none", subhost.base, command.value, ...subhost.variables)];

/** Opened by the monitor, before anything else is done. */
export const lowerReport = ({ subhost }: Intent, { services }: Places): Op[] =>
  subhost === undefined || services === undefined ? [] : [op("service-report", OURSELVES, services)];

/** What goes with the subhost, after everything else. */
export const lowerDiskFiles = ({ diskFiles = [] }: Places): Op[] =>
  diskFiles.map(({ mark, mount, file }) => op("disk-file", OURSELVES, mark, mount, file));

/** In the namespaces of the subhost, before its root is mounted; not where nothing is mounted. */
export const lowerPremount = ({ subhost }: Intent): Op[] => (subhost ? hook(subhost, subhost.premount) : []);

/** Once everything is mounted. The script of the subhost is made then as well: it may depend on what the hook made. */
export function lowerPostmount({ subhost }: Intent): Op[] {
  if (subhost === undefined) return [];
  const { value: init, origin } = subhost.init;
  return [
    // Debian's init scripts take it for granted; an init of its own would have made it.
    ...(init.kind === "system" ? [] : [op("make-directory", OURSELVES, "/run/lock", "1777")]),
    ...hook(subhost, subhost.postmount),
    ...(init.kind === "script"
      ? [op("host-command", origin, "script", subhost.base, init.command, ...subhost.variables)]
      : []),
  ];
}

/** Where the host's secrets are hidden, its keys are, and an sshd without any does not start. */
const SSH_KEYS = ["/usr/bin/ssh-keygen", "-A"];

/** What the subhost needs of its own before its services are started. */
export function lowerPrepare({ init: { value: init, origin }, hide }: Subhost): Op[] {
  const starts = init.kind === "services" && init.names.some((name) => name === "ssh" || name === "sshd");
  return starts && hide.some(({ lock }) => lock) ? [op("prepare", origin, ...SSH_KEYS)] : [];
}

/** What pid 1 is. */
export function lowerInit({ init: { value: init, origin }, patience }: Subhost): Op {
  if (init.kind === "system") return op("exec", origin, init.path);
  const seconds = [String(patience.start), String(patience.stop)];
  return init.kind === "script"
    ? op("services", origin, "", ...seconds)
    : op("services", origin, DUMMY, ...seconds, ...init.names);
}

/**
 * The plan that binds a directory of the host at the same path in a container that runs: opened here, mounted there.
 * `path`: absolute, without symlinks. Throws E_CONFLICT for the store.
 */
export function lowerShare(
  { pid, start, origin }: ExecIntent["target"],
  { map }: Pick<ExecFacts, "map">,
  path: string,
  hidden: Places["hidden"],
): Plan {
  refuseStore(path, "command line", { places: { hidden } });
  const below = hidden.filter((one) => one.startsWith(path === "/" ? "/" : `${path}/`));
  const mapped = map.kind === "many";
  const ops = [
    op("join", origin, String(pid), start, mapped ? "user,mount" : "mount"),
    ...(mapped ? [op("take-ids", OURSELVES, "0", "0")] : []),
    op("root", OURSELVES, "/"),
    op("lend", "command line", "1", path, mapped ? "rec,idmap" : "rec"),
    op("bind", "command line", "lent:1", path, "", "", "rec", "auto", "755"),
    ...below.map((one) => cover("command line", one)),
    op("end", OURSELVES),
  ];
  return { version: 1, topology: "supervised", ops, remarks: [] };
}
