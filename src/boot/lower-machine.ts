/**
 * A virtual machine: the plan of the host, which puts the root together and starts an emulator beside it, and the plan
 * that the machine's first process carries out in it. Pure, like lower.ts.
 */
import { Failure } from "../base/errors.ts";
import { type Op, OURSELVES, op, type Plan } from "../plan/plan.ts";
import type { Facts } from "./facts.ts";
import type { Intent } from "./intent.ts";
import { lowerGuest } from "./lower-guest.ts";
import { lender } from "./lower-lend.ts";
import { identity, namespaces } from "./lower-namespaces.ts";
import { DEFAULT_PATH } from "./lower-payload.ts";
import { lowerRoot } from "./lower-root.ts";

/** Where the machine's first process mounts what the host lends. */
const NEXT_ROOT = "/mnt/root";

/** The name under which the host lends the root. */
export const ROOT_TAG = "root";

/** `machine`: op `machine`, which ends the plan. `directory`: its files, removed at the end. */
export function lowerMachine(asked: Intent, facts: Facts, directory: string, machine: Op): Plan {
  const who = identity(asked, facts);
  const { intent, map } = who;
  refuseForeign(intent);
  if (facts.uid === 0 && map.kind === "many") {
    throw new Failure("E_CONFLICT", "a virtual machine has all ids of its own", {
      where: intent.idMap.origin,
      mend: "leave it out",
    });
  }
  const root = lowerRoot(intent, facts, map, lender(false));
  const { early } = namespaces(who, facts);
  const ops: Op[] = [
    op("temporary", OURSELVES, directory),
    ...root.undo,
    ...early,
    op("record", OURSELVES, facts.places.record),
    op("propagation", OURSELVES, "/", "slave"),
    ...root.ops,
    machine,
  ];
  return { version: 1, topology: "supervised", ops, remarks: root.remarks };
}

/** Where the root lies for programs of the host that work beside it. */
export const rootBeside = ({ places }: Pick<Facts, "places">): string => `${places.stage}/root`;

/** What a machine has no use for is refused, instead of being passed over. */
function refuseForeign(intent: Intent): void {
  const { mounts, nodes, cables, publish, isolate, seccomp, capabilities, detached, terminal, startup, root } = intent;
  const asked =
    [...mounts, ...(nodes ?? []), ...(publish ?? []), ...Object.values(intent.namespaces)].find(
      ({ origin }) => origin !== OURSELVES,
    ) ??
    isolate ??
    seccomp ??
    detached ??
    terminal;
  const flag =
    asked?.origin ?? (cables ? "--cable" : capabilities ? "--cap-add" : startup ? "files of enroot" : undefined);
  if (flag !== undefined) {
    throw new Failure("E_CONFLICT", `a virtual machine does not have what ${flag} asks for`, {
      where: flag,
      mend: "leave it out, or start a container, without --vm",
    });
  }
  if (root.value.kind !== "host" && root.value.kind !== "squashfs") return;
  throw new Failure("E_CONFLICT", "a virtual machine has the root of an image, a container or a directory", {
    where: root.origin,
    mend: "import it first: rootling import",
  });
}

/** A program that is the first process of a system, by its name: it is that of the machine. */
export const isSystem = ({ command }: Pick<Intent, "command">): boolean =>
  /(^|\/)(init|systemd)$/.test(command.value[0] ?? "");

/** The plan of the machine's first process: the root of a guest, then what the intent says of the payload. */
export function lowerInMachine(intent: Intent): Plan {
  const { command, workdir, user, hostname, writes, root } = intent;
  const guest = lowerGuest(
    {
      root: { value: NEXT_ROOT, origin: root.origin },
      rootMode: { value: "pivot", origin: OURSELVES },
      initctl: { value: false, origin: OURSELVES },
      exclude: { value: [], origin: OURSELVES },
      rexclude: { value: [], origin: OURSELVES },
      setup: { value: "qemu", origin: "--vm" },
      setupBefore: [],
      execBefore: [],
      command: { words: command.value, origin: command.origin },
      onError: { value: "exit", origin: OURSELVES },
    },
    { environment: [] },
  );
  const lent = op("mount", "--vm", "virtiofs", ROOT_TAG, NEXT_ROOT, "", "", "none");
  const sealed = writes.value === "refused" ? [op("attributes", writes.origin, "/", "ro", "")] : [];
  const ops = guest.ops.flatMap((each): Op[] => {
    switch (each.verb) {
      // The machine's first process has made these before it read the plan.
      case "environment":
      case "system-mounts":
        return [];
      case "propagation":
        return [each, lent];
      case "enter-root":
        return [...sealed, each];
      case "become":
        return [
          ...(hostname ? [op("hostname", hostname.origin, hostname.value)] : []),
          environment(intent),
          op("user", user?.origin ?? OURSELVES, user?.value || "0"),
          op("workdir", workdir.origin, workdir.value),
          op("exec", command.origin, ...command.value),
        ];
      default:
        return [each];
    }
  });
  return { version: 1, topology: "in-place", ops, remarks: [] };
}

function environment({ environment }: Intent): Op {
  const variables = new Map([["PATH", DEFAULT_PATH], ...environment.map(({ name, value }) => [name, value] as const)]);
  return op("environment", OURSELVES, ...[...variables].map(([name, value]) => `${name}=${value}`));
}
