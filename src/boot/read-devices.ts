/** Devices that are asked for, as parts of an intent: nodes of the host by path, and what CDI specs say of a name. Pure. */
import { escapeOctal } from "../base/bytes.ts";
import { Failure } from "../base/errors.ts";
import { type CdiEdits, type CdiHook, type CdiMount, type DeviceName, parseDeviceName } from "./cdi.ts";
import type { Definition } from "./cdi-files.ts";
import { readFstabLine } from "./fstab.ts";
import type { Intent, Mount, RuntimeHook, Variable } from "./intent.ts";

/** A `--device`: a node of the host, or a name that specs give a meaning. */
export type DeviceWish =
  | { readonly kind: "node"; readonly hostPath: string; readonly path: string }
  | { readonly kind: "cdi"; readonly name: DeviceName };

const ORIGIN = "--device";

/** Reads `/dev/NODE[:PATH][:rwm]` or `VENDOR/CLASS=NAME`. Throws E_USAGE. */
export function readDeviceWish(text: string): DeviceWish {
  const name = parseDeviceName(text);
  if (name !== undefined) return { kind: "cdi", name };
  const [hostPath = "", second, third, ...more] = text.split(":");
  const permissions = third ?? (second?.startsWith("/") ? undefined : second);
  const path = second?.startsWith("/") ? second : hostPath;
  const bad = [hostPath, path].some((each) => !/^\/[^\0]+$/.test(each) || each.split("/").includes(".."));
  if (bad || more.length > 0 || (permissions !== undefined && !/^[rwm]+$/.test(permissions))) {
    throw new Failure("E_USAGE", `not a device: ${JSON.stringify(text)}`, {
      where: ORIGIN,
      mend: "write a path such as /dev/fuse, HOST:INSIDE for another path inside, or VENDOR/CLASS=NAME of a CDI spec",
    });
  }
  return { kind: "node", hostPath, path };
}

/** What devices add to an intent. */
export type DeviceParts = Required<Pick<Intent, "mounts" | "environment" | "nodes" | "runtimeHooks" | "deviceGroups">>;

export const nodeParts = ({ hostPath, path }: { hostPath: string; path: string }): DeviceParts => ({
  ...NOTHING,
  nodes: [{ hostPath, path, origin: ORIGIN }],
});

const NOTHING: DeviceParts = { mounts: [], environment: [], nodes: [], runtimeHooks: [], deviceGroups: [] };

export const joinParts = (all: readonly DeviceParts[]): DeviceParts => ({
  mounts: all.flatMap(({ mounts }) => mounts),
  environment: all.flatMap(({ environment }) => environment),
  nodes: all.flatMap(({ nodes }) => nodes),
  runtimeHooks: all.flatMap(({ runtimeHooks }) => runtimeHooks),
  deviceGroups: all.flatMap(({ deviceGroups }) => deviceGroups),
});

/** What the definitions say, what a spec says of all of its devices once. Throws E_CONFLICT for what cannot be had. */
export function cdiParts(definitions: readonly Definition[]): DeviceParts {
  const specs = [...new Set(definitions.map(({ spec }) => spec))];
  return joinParts([
    ...specs.map(({ file, edits }) => editParts(edits, `cdi ${file}`)),
    ...definitions.map(({ spec, device }) => editParts(device.edits, `cdi ${spec.file}:${device.name}`)),
  ]);
}

function editParts({ env, nodes, mounts, hooks, groups, unsupported }: CdiEdits, origin: string): DeviceParts {
  if (unsupported[0] !== undefined) {
    throw new Failure("E_CONFLICT", `the device asks for ${unsupported[0]}, which containers of rootling do not have`, {
      where: origin,
      mend: "choose another device, or take it out of the spec",
    });
  }
  return {
    environment: env.map((line): Variable => {
      const at = line.indexOf("=");
      return { name: line.slice(0, at), value: line.slice(at + 1), origin };
    }),
    nodes: nodes.map((node) => ({ ...node, origin })),
    mounts: mounts.map((mount) => readMount(mount, origin)),
    runtimeHooks: hooks.map((hook) => readHook(hook, origin)),
    deviceGroups: groups,
  };
}

/** Our mounts are slaves of the host's: nothing that is mounted inside comes back, whatever is asked for. */
const PROPAGATION = new Set(["private", "rprivate", "slave", "rslave", "unbindable", "runbindable"]);

function readMount({ hostPath, containerPath, type, options }: CdiMount, origin: string): Mount {
  const bind = ["", "none", "bind"].includes(type) || options.some((option) => /^r?bind$/.test(option));
  const others = options.filter((option) => !PROPAGATION.has(option));
  const words = bind && !others.some((option) => /^r?bind$/.test(option)) ? ["bind", ...others] : others;
  if (bind && !hostPath.startsWith("/")) {
    throw new Failure("E_CONFLICT", `the source of a mount is no absolute path: ${hostPath}`, { where: origin });
  }
  const fields = [escapeOctal(hostPath), escapeOctal(containerPath), bind ? "none" : type, words.join(",")];
  const mount = readFstabLine(fields.join(" "), origin, "/");
  return mount.create === "none" ? { ...mount, create: "auto" } : mount;
}

/** Those that run before the root is entered. The others would be programs of the image, or of a time when nobody waits. */
const EARLY = new Set(["prestart", "createRuntime", "createContainer"]);

function readHook({ name, path, args, env, timeout }: CdiHook, origin: string): RuntimeHook {
  if (EARLY.has(name)) return { path, args, env, timeout, origin: `${origin}, ${name}` };
  throw new Failure("E_CONFLICT", `a hook of the kind ${name} cannot be had: nothing of rootling runs then`, {
    where: origin,
    mend: "use a spec whose hooks are createContainer or createRuntime",
  });
}
