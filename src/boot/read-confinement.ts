/** The flags that confine a container, as parts of an intent. Pure. */
import { Failure } from "../base/errors.ts";
import { capabilityName } from "./capabilities.ts";
import { from, type Intent, type SeccompName, type Value } from "./intent.ts";

export interface ConfinementFlags {
  readonly isolate?: boolean;
  readonly seccomp?: string;
  readonly capAdd?: readonly string[];
  readonly capDrop?: readonly string[];
}

export type Confinement = Pick<Intent, "isolate" | "seccomp" | "capabilities">;

function readCapabilities(texts: readonly string[], flag: string): Value<string>[] {
  return texts
    .flatMap((text) => text.split(","))
    .map((text) => {
      const name = capabilityName(text);
      if (name !== undefined) return from(name, flag);
      throw new Failure("E_USAGE", `there is no capability ${JSON.stringify(text)}`, {
        where: flag,
        mend: "use a name of capabilities(7), such as net_raw or CAP_SYS_PTRACE, or all",
      });
    });
}

/** With --isolate, the compatibility profile comes beside the strict one, and takes nothing from it. */
function readSeccomp({ seccomp, isolate }: ConfinementFlags): Value<SeccompName> | undefined {
  if (seccomp === undefined) return isolate ? from("strict", "--isolate") : undefined;
  if (seccomp === "compat" && isolate) return from("strict,compat", "--seccomp");
  if (seccomp === "strict" || seccomp === "compat" || seccomp === "none") return from(seccomp, "--seccomp");
  throw new Failure("E_USAGE", `there is no seccomp profile ${JSON.stringify(seccomp)}`, {
    where: "--seccomp",
    mend: "use --seccomp=strict, --seccomp=compat or --seccomp=none",
  });
}

/** Reads the flags. Throws E_USAGE for words that mean nothing, E_CONFLICT for wishes that exclude each other. */
export function readConfinement(flags: ConfinementFlags): Confinement {
  const add = readCapabilities(flags.capAdd ?? [], "--cap-add");
  const drop = readCapabilities(flags.capDrop ?? [], "--cap-drop");
  if (flags.isolate && add.length > 0) {
    throw new Failure("E_CONFLICT", "an isolated sandbox (--isolate) has no capabilities", {
      where: "--cap-add",
      mend: "leave out one of the two",
    });
  }
  const seccomp = readSeccomp(flags);
  return {
    ...(flags.isolate ? { isolate: from(true as const, "--isolate") } : {}),
    ...(seccomp === undefined ? {} : { seccomp }),
    ...(add.length + drop.length > 0 ? { capabilities: { add, drop } } : {}),
  };
}

/**
 * Root that isolates is nobody's root: its sandbox gets the ids that --map subids means, unless --map says others.
 * `uid` is the caller's. Throws E_CONFLICT for a map that would leave the sandbox root's own ids.
 */
export function isolateIds(isolate: Intent["isolate"], ids: Intent["idMap"], uid: number): Intent["idMap"] {
  if (isolate === undefined || uid !== 0 || (ids.value !== "caller" && ids.value !== "root")) return ids;
  if (ids.origin !== "--map") return from("subids", isolate.origin);
  throw new Failure("E_CONFLICT", "an isolated sandbox of root has ids of its own, which this map does not give", {
    where: ids.origin,
    mend: "leave it out, or use --map subids or ranges",
  });
}

const ISOLATED = ["pid", "net", "ipc", "uts", "cgroup", "time"] as const;

/** `--isolate` makes every namespace private. Throws E_CONFLICT where another flag asks to share one. */
export function isolateNamespaces(isolate: Intent["isolate"], namespaces: Intent["namespaces"]): Intent["namespaces"] {
  if (isolate === undefined) return namespaces;
  const all = { ...namespaces };
  for (const kind of ISOLATED) {
    const wish = namespaces[kind];
    if (wish !== undefined && wish.value !== "private" && wish.value !== "user") {
      throw new Failure("E_CONFLICT", `an isolated sandbox (${isolate.origin}) has namespaces of its own`, {
        where: wish.origin,
        mend: "leave out one of the two",
      });
    }
    all[kind] ??= from("private", isolate.origin);
  }
  return all;
}
