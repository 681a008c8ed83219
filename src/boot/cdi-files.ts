/** Where CDI specs lie, and which of them define a device. Read only where a device is asked for. */
import { closeSync, constants, fstatSync, openSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { errnoOf, Failure, fileFailure } from "../base/errors.ts";
import { type CdiDevice, type CdiSpec, type DeviceName, readSpec } from "./cdi.ts";

/** Bytes that a spec may have: those of machines with many GPUs have a few hundred KiB. */
const MOST = 8 << 20;

export interface FoundSpec {
  readonly spec: CdiSpec;
  /** Its directory's place in the list: what lies in a later directory goes before what lies in an earlier one. */
  readonly rank: number;
}

export interface CdiSpecs {
  readonly directories: readonly string[];
  readonly found: readonly FoundSpec[];
  /** Files that cannot be read or understood. */
  readonly broken: readonly Failure[];
}

const namesIn = (directory: string): string[] => {
  try {
    return readdirSync(directory)
      .filter((name) => /\.(json|yaml|yml)$/.test(name))
      .sort();
  } catch (error) {
    if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ENOTDIR") return [];
    throw fileFailure(error, "reading the CDI specs", directory);
  }
};

/** A regular file of a reasonable size; nothing else is opened to the end, nor waited for. */
function readText(file: string): string {
  try {
    const fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
    try {
      const status = fstatSync(fd);
      if (!status.isFile()) throw new Failure("E_CDI", "a CDI spec is no regular file", { where: file });
      if (status.size > MOST) throw new Failure("E_CDI", `a CDI spec of more than ${MOST} bytes`, { where: file });
      return readFileSync(fd, "utf8");
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    throw error instanceof Failure ? error : fileFailure(error, "reading a CDI spec", file);
  }
}

/** The parser of YAML comes when the first such file is read. */
async function parseText(text: string, file: string): Promise<unknown> {
  try {
    if (file.endsWith(".json")) return JSON.parse(text);
    const { parse } = await import("../base/yaml.ts");
    return parse(text, { logLevel: "error" });
  } catch (cause) {
    throw new Failure("E_CDI", `not valid ${file.endsWith(".json") ? "JSON" : "YAML"}: ${(cause as Error).message}`, {
      where: file,
      mend: "correct the spec, or make it anew with the tool of the device's vendor",
    });
  }
}

/** All specs of these directories. */
export async function readSpecs(directories: readonly string[]): Promise<CdiSpecs> {
  const found: FoundSpec[] = [];
  const broken: Failure[] = [];
  for (const [rank, directory] of directories.entries()) {
    for (const name of namesIn(directory)) {
      const file = join(directory, name);
      try {
        found.push({ spec: readSpec(await parseText(readText(file), file), file), rank });
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        broken.push(error);
      }
    }
  }
  return { directories, found, broken };
}

export interface Definition {
  readonly spec: CdiSpec;
  readonly device: CdiDevice;
}

/** Of `all`: every device of the kind, unless a spec has one that is called so. */
export function findDevices(specs: CdiSpecs, name: DeviceName, origin: string): Definition[] {
  const named = definitionOf(specs, name, origin);
  if (named !== undefined) return [named];
  if (name.device === "all") {
    const ofKind = specs.found.filter(({ spec }) => spec.kind === name.kind).flatMap(({ spec }) => spec.devices);
    const all = [...new Set(ofKind.map((device) => device.name))].flatMap((device) => {
      const definition = definitionOf(specs, { ...name, device }, origin);
      return definition === undefined ? [] : [definition];
    });
    if (all.length > 0) return all;
  }
  throw unknownDevice(specs, name, origin);
}

/** The definition that counts. Throws E_CONFLICT where two files of one directory define the device. */
function definitionOf({ found }: CdiSpecs, { kind, device }: DeviceName, origin: string): Definition | undefined {
  const all = found.flatMap(({ spec, rank }) => {
    const definition = spec.kind === kind ? spec.devices.find(({ name }) => name === device) : undefined;
    return definition === undefined ? [] : [{ spec, device: definition, rank }];
  });
  const rank = Math.max(...all.map((each) => each.rank));
  const [first, second] = all.filter((each) => each.rank === rank);
  if (first === undefined || second === undefined) return first;
  throw new Failure("E_CONFLICT", `two specs define the device ${kind}=${device}`, {
    where: origin,
    mend: `remove it from one of ${first.spec.file} and ${second.spec.file}`,
  });
}

function unknownDevice(
  { directories, found, broken }: CdiSpecs,
  { kind, device }: DeviceName,
  origin: string,
): Failure {
  const [first] = broken;
  // It may be the one that the device is in.
  if (first !== undefined) return first;
  const names = found.flatMap(({ spec }) => spec.devices.map(({ name }) => `${spec.kind}=${name}`));
  return new Failure("E_NOT_FOUND", `no CDI spec defines the device ${kind}=${device}`, {
    where: origin,
    mend:
      names.length > 0
        ? `use one of ${names.slice(0, 12).join(", ")}`
        : `there are no specs in ${directories.join(" and ")}: make one with the vendor's tool, such as nvidia-ctk cdi generate`,
  });
}
