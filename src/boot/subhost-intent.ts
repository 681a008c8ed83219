/** From a subhost's configuration, read and found right, to the intent of its boot. Pure. */
import { OURSELVES } from "../plan/plan.ts";
import { from, type Intent, type Mount, type Root } from "./intent.ts";
import { optional, type SubhostConf, sourceOf } from "./read-subhost.ts";

/** The root; `tree`: where LOWER is an image, its directory. */
function rootOf(subhost: SubhostConf, tree: string | undefined): Root {
  const { variant, live, upper, work, lower, userns } = subhost;
  if (variant === "overlay")
    return {
      kind: "layers",
      lowers: [tree ?? lower.value.name],
      kept: { upper: upper.value, work: work.value },
      // Overlayfs's marks in a user namespace are others.
      ...(userns ? {} : { live: live.value, marks: "trusted" as const }),
    };
  return { kind: "directory", path: upper.value, ...(userns ? {} : { live: live.value }) };
}

const mount = (type: string, source: string, target: string, origin: string, more: Partial<Mount> = {}): Mount => ({
  ...{ type, source, target, set: [], clear: [], recursive: false, nofail: false, create: "dir", data: [], origin },
  ...more,
});

/** The intent of a boot. `variables`: of its hooks, NAME=value. `tree`: the directory of an image that is LOWER. */
export function subhostIntent(subhost: SubhostConf, variables: readonly string[], tree?: string): Intent {
  const { name, base, lower, ramSize, shares, init, hide, premount, postmount, patience } = subhost;
  const own = from("private" as const, "boot");
  const run =
    ramSize &&
    mount("tmpfs", "tmpfs", "/run", ramSize.origin, {
      set: ["nosuid", "nodev"],
      data: [`size=${ramSize.value}`, "mode=755"],
    });
  const services = init.value.kind === "services" ? init.value.names : [];
  return {
    root: from(rootOf(subhost, tree), lower.origin),
    writes: from("kept", subhost.upper.origin),
    idMap: subhost.userns ?? from("caller", OURSELVES),
    namespaces: { pid: own, ipc: own, uts: own, net: own },
    hostname: name,
    devices: from("fresh", "boot"),
    mounts: [
      ...(run ? [run] : []),
      ...shares.map(({ value, origin }) =>
        mount("bind", sourceOf(lower.value.name, value), value, origin, {
          ...{ recursive: true, create: "auto", owners: true },
        }),
      ),
    ],
    environment: init.value.kind === "system" ? [{ name: "container", value: "rootling", origin: init.origin }] : [],
    command: from(init.value.kind === "system" ? [init.value.path] : ["init", ...services], init.origin),
    workdir: from("/", OURSELVES),
    detached: from(true, "boot"),
    ...optional("stopSignal", subhost.stopSignal),
    ...subhost.network,
    subhost: {
      ...optional("premount", premount),
      ...optional("postmount", postmount),
      base,
      variables,
      init,
      hide,
      patience,
    },
  };
}
