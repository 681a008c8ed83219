/**
 * Specs of the Container Device Interface (CDI, versions 0.3 to 1.1): what a device brings into a container. A spec is
 * written by whoever installed a driver; what it says is checked field by field. Pure: files are read in cdi-files.ts.
 */
import { Failure } from "../base/errors.ts";

export interface CdiNode {
  /** In the container. */
  readonly path: string;
  readonly hostPath: string;
  /** `c`, `b`; undefined: what the host's is. */
  readonly type?: "c" | "b";
  readonly major?: number;
  readonly minor?: number;
}

export interface CdiMount {
  readonly hostPath: string;
  readonly containerPath: string;
  readonly type: string;
  readonly options: readonly string[];
}

export interface CdiHook {
  readonly name: string;
  readonly path: string;
  readonly args: readonly string[];
  readonly env: readonly string[];
  /** Seconds; 0: as long as it takes. */
  readonly timeout: number;
}

export interface CdiEdits {
  readonly env: readonly string[];
  readonly nodes: readonly CdiNode[];
  readonly mounts: readonly CdiMount[];
  readonly hooks: readonly CdiHook[];
  readonly groups: readonly number[];
  /** What a device asks for and rootling has not. */
  readonly unsupported: readonly string[];
}

export interface CdiDevice {
  readonly name: string;
  readonly edits: CdiEdits;
}

export interface CdiSpec {
  readonly file: string;
  /** VENDOR/CLASS. */
  readonly kind: string;
  /** What every device of the spec brings. */
  readonly edits: CdiEdits;
  readonly devices: readonly CdiDevice[];
}

/** VENDOR/CLASS and the name of a device, as specs and command lines have them. */
const KIND = /^[A-Za-z]([\w.-]*[A-Za-z0-9])?\/[A-Za-z]([\w.-]*[A-Za-z0-9])?$/;
const DEVICE = /^[A-Za-z0-9]([\w.:-]*[A-Za-z0-9])?$/;

export interface DeviceName {
  readonly kind: string;
  readonly device: string;
}

/** VENDOR/CLASS=NAME; undefined for anything else. */
export function parseDeviceName(text: string): DeviceName | undefined {
  const at = text.indexOf("=");
  const [kind, device] = [text.slice(0, at), text.slice(at + 1)];
  return at > 0 && KIND.test(kind) && DEVICE.test(device) ? { kind, device } : undefined;
}

/** A place in a spec, for messages: a path such as devices[0].containerEdits.mounts[2].hostPath. */
interface At {
  readonly file: string;
  readonly path: string;
}

const wrong = ({ file, path }: At, what: string): Failure =>
  new Failure("E_CDI", path === "" ? what : `${path}: ${what}`, {
    where: file,
    mend: "correct the spec, or make it anew with the tool of the device's vendor",
  });

type Fields = Readonly<Record<string, unknown>>;

const below = ({ file, path }: At, name: string): At => ({ file, path: path === "" ? name : `${path}.${name}` });

/** An object with no other fields than `known`: what is not understood must not be passed over. */
function fieldsOf(value: unknown, at: At, known: string): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw wrong(at, "is no object");
  const names = known.split(" ");
  const unknown = Object.keys(value).find((name) => !names.includes(name));
  if (unknown !== undefined) throw wrong(at, `the field ${JSON.stringify(unknown)} is unknown`);
  return value as Fields;
}

function listOf<T>(fields: Fields, name: string, at: At, read: (value: unknown, at: At) => T): T[] {
  const value = fields[name];
  const place = below(at, name);
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw wrong(place, "is no list");
  return value.map((item, index) => read(item, { file: at.file, path: `${place.path}[${index}]` }));
}

/** No text of a plan holds NUL. */
function text(value: unknown, at: At): string {
  if (typeof value !== "string") throw wrong(at, "is no text");
  if (value.includes("\0")) throw wrong(at, "holds a NUL");
  return value;
}

const textOf = (fields: Fields, name: string, at: At): string | undefined =>
  fields[name] === undefined || fields[name] === "" ? undefined : text(fields[name], below(at, name));

function requiredText(fields: Fields, name: string, at: At): string {
  const value = textOf(fields, name, at);
  if (value === undefined) throw wrong(below(at, name), "is missing");
  return value;
}

function absolute(path: string, at: At): string {
  if (!path.startsWith("/")) throw wrong(at, `${JSON.stringify(path)} is no absolute path`);
  if (path.split("/").includes("..")) throw wrong(at, `${JSON.stringify(path)} leads upwards`);
  return path;
}

const pathOf = (fields: Fields, name: string, at: At): string =>
  absolute(requiredText(fields, name, at), below(at, name));

function numberOf(fields: Fields, name: string, at: At, most: number): number | undefined {
  const value = fields[name];
  if (value === undefined || value === null) return undefined;
  if (Number.isInteger(value) && (value as number) >= 0 && (value as number) <= most) return value as number;
  throw wrong(below(at, name), `is no whole number from 0 to ${most}`);
}

function variable(value: unknown, at: At): string {
  const line = text(value, at);
  if (line.indexOf("=") > 0) return line;
  throw wrong(at, `${JSON.stringify(line)} has not the form NAME=VALUE`);
}

/** Of uid, gid and mode the host's node decides: a device is bound, not made. */
function readNode(value: unknown, at: At): CdiNode {
  const fields = fieldsOf(value, at, "path hostPath type major minor fileMode permissions uid gid");
  const path = pathOf(fields, "path", at);
  const type = textOf(fields, "type", at);
  if (type !== undefined && !["c", "u", "b"].includes(type)) {
    throw wrong(below(at, "type"), `a device of type ${JSON.stringify(type)} cannot be had: only c and b`);
  }
  const permissions = textOf(fields, "permissions", at);
  if (permissions !== undefined && permissions !== "none" && !/^[rwm]+$/.test(permissions)) {
    throw wrong(below(at, "permissions"), `${JSON.stringify(permissions)} is not made of r, w and m`);
  }
  const [major, minor] = [numberOf(fields, "major", at, 4095), numberOf(fields, "minor", at, 1_048_575)];
  for (const name of ["fileMode", "uid", "gid"]) numberOf(fields, name, at, 0xffffffff);
  return {
    path,
    hostPath: fields.hostPath ? pathOf(fields, "hostPath", at) : path,
    ...(type === undefined ? {} : { type: type === "b" ? "b" : "c" }),
    // Of both being 0, or left out, the host's node decides.
    ...(major || minor ? { major: major ?? 0, minor: minor ?? 0 } : {}),
  };
}

function readMount(value: unknown, at: At): CdiMount {
  const fields = fieldsOf(value, at, "hostPath containerPath options type");
  return {
    hostPath: requiredText(fields, "hostPath", at),
    containerPath: pathOf(fields, "containerPath", at),
    type: textOf(fields, "type", at) ?? "",
    options: listOf(fields, "options", at, text),
  };
}

/** Those of the OCI runtime specification. */
const HOOKS = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

function readHook(value: unknown, at: At): CdiHook {
  const fields = fieldsOf(value, at, "hookName path args env timeout");
  const name = requiredText(fields, "hookName", at);
  if (!HOOKS.includes(name)) throw wrong(below(at, "hookName"), `there is no hook ${JSON.stringify(name)}`);
  const path = pathOf(fields, "path", at);
  const args = listOf(fields, "args", at, text);
  return {
    name,
    path,
    args: args.length > 0 ? args : [path],
    env: listOf(fields, "env", at, variable),
    timeout: numberOf(fields, "timeout", at, 86_400) ?? 0,
  };
}

const EDITS = "env deviceNodes mounts hooks intelRdt additionalGids netDevices";

const NO_EDITS: CdiEdits = { env: [], nodes: [], mounts: [], hooks: [], groups: [], unsupported: [] };

function readEdits(value: unknown, at: At): CdiEdits {
  if (value === undefined || value === null) return NO_EDITS;
  const fields = fieldsOf(value, at, EDITS);
  const group = (item: unknown, place: At): number =>
    numberOf({ group: item }, "group", place, 0xfffffffe) ?? Number.NaN;
  return {
    env: listOf(fields, "env", at, variable),
    nodes: listOf(fields, "deviceNodes", at, readNode),
    mounts: listOf(fields, "mounts", at, readMount),
    hooks: listOf(fields, "hooks", at, readHook),
    groups: listOf(fields, "additionalGids", at, group),
    unsupported: ["intelRdt", "netDevices"].filter((name) => fields[name] !== undefined && fields[name] !== null),
  };
}

function readDevice(value: unknown, at: At): CdiDevice {
  const fields = fieldsOf(value, at, "name annotations containerEdits");
  const name = requiredText(fields, "name", at);
  if (!DEVICE.test(name)) throw wrong(below(at, "name"), `${JSON.stringify(name)} cannot be the name of a device`);
  return { name, edits: readEdits(fields.containerEdits, below(at, "containerEdits")) };
}

/** Reads a spec from what its JSON or YAML means. Throws E_CDI, naming the file and the place in it. */
export function readSpec(value: unknown, file: string): CdiSpec {
  const at: At = { file, path: "" };
  const fields = fieldsOf(value, at, "cdiVersion kind annotations devices containerEdits containerRuntime");
  const version = requiredText(fields, "cdiVersion", at);
  if (!/^v?(0\.[3-8]|1\.[01])\.\d+(-[\w.]+)?$/.test(version)) {
    throw wrong(below(at, "cdiVersion"), `${JSON.stringify(version)} is not a version from 0.3.0 to 1.1`);
  }
  const kind = requiredText(fields, "kind", at);
  if (!KIND.test(kind)) throw wrong(below(at, "kind"), `${JSON.stringify(kind)} has not the form VENDOR/CLASS`);
  const devices = listOf(fields, "devices", at, readDevice);
  const names = devices.map(({ name }) => name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw wrong(below(at, "devices"), `the device ${JSON.stringify(twice)} is there twice`);
  if (devices.length === 0) throw wrong(below(at, "devices"), "there is none");
  return { file, kind, edits: readEdits(fields.containerEdits, below(at, "containerEdits")), devices };
}
