/** What the devices are that were asked for. */
import { realpathSync, type Stats, statSync } from "node:fs";
import { Failure, fileFailure } from "../base/errors.ts";
import type { NodeFact } from "./facts.ts";
import type { Node } from "./intent.ts";

/** Parts of st_rdev as Linux hands them to programs: makedev(3). */
const majorOf = (rdev: number): number => (rdev >>> 8) & 0xfff;
const minorOf = (rdev: number): number => (rdev & 0xff) | ((rdev >>> 12) & 0xfff00);

/** Looks at each. Throws E_NOT_FOUND for one that is not there, E_CONFLICT for what is no device, or another one. */
export const gatherNodes = (nodes: readonly Node[]): Record<string, NodeFact> =>
  Object.fromEntries(nodes.map((node) => [node.hostPath, factOf(node)]));

function factOf({ hostPath, type, major, minor, origin }: Node): NodeFact {
  const [path, status] = look(hostPath, origin);
  const found = status.isCharacterDevice() ? "c" : status.isBlockDevice() ? "b" : undefined;
  if (found === undefined) {
    throw new Failure("E_CONFLICT", `${hostPath} is no device`, { where: origin, mend: "use --mount for files" });
  }
  const fact: NodeFact = { path, type: found, major: majorOf(status.rdev), minor: minorOf(status.rdev) };
  const other =
    (type !== undefined && type !== found) ||
    (major !== undefined && (major !== fact.major || (minor ?? 0) !== fact.minor));
  if (!other) return fact;
  throw new Failure(
    "E_CONFLICT",
    `${hostPath} is ${found} ${fact.major}:${fact.minor}, not ${type ?? found} ${major ?? "?"}:${minor ?? "?"}`,
    {
      where: origin,
      mend: "the spec is out of date: make it anew with the tool of the device's vendor",
    },
  );
}

function look(hostPath: string, origin: string): [string, Stats] {
  try {
    const path = realpathSync(hostPath);
    return [path, statSync(path)];
  } catch (error) {
    const failure = fileFailure(error, `looking for the device ${hostPath}`, hostPath);
    throw new Failure(failure.code, failure.what, {
      where: origin,
      mend: "check the path, and that the driver is loaded",
    });
  }
}
