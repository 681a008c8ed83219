/** Lists and compares trees, byte by byte. */
import { join } from "node:path";
import { command, must } from "./command.ts";

/** One name of a tree. Names, targets and xattrs are byte strings: one character a byte. */
export interface TreeEntry {
  name: string;
  type: "file" | "directory" | "symlink" | "character device" | "block device" | "fifo" | "socket";
  mode: number;
  uid: number;
  gid: number;
  /** Whole seconds. */
  mtime: number;
  size?: number;
  sha256?: string;
  target?: string;
  rdev?: [number, number];
  /** Of hard links: the first name of the group. */
  link?: string;
  xattrs?: Record<string, string>;
}

/** Everything below `directory`, sorted by name; the first entry is `.`, the directory itself. */
export async function listTree(directory: string): Promise<TreeEntry[]> {
  const lines = await must(["python3", join(import.meta.dirname, "tree.py"), directory]);
  return lines
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as TreeEntry);
}

/** The tree of a squashfs file, by unsquashfs (as root, so that owners and devices come back). */
export async function listSquashfs(file: string, scratch: string): Promise<TreeEntry[]> {
  const directory = join(scratch, "unsquashed");
  const outcome = await command(["unsquashfs", "-no-progress", "-quiet", "-dest", directory, file]);
  if (outcome.status !== 0) throw new Error(`unsquashfs ${file}: ${outcome.stderr}`);
  const entries = await listTree(directory);
  await must(["rm", "-rf", directory]);
  return entries;
}

export interface CompareOptions {
  /** Fields that are not compared, such as the root's time. */
  ignore?: (entry: TreeEntry, field: keyof TreeEntry) => boolean;
  /** Names that are left out on both sides. */
  leaveOut?: (name: string) => boolean;
}

const show = (value: unknown): string => (value === undefined ? "none" : JSON.stringify(value));

/** What differs between two trees, a line a difference, empty where they are equal. */
export function compareTrees(
  actual: readonly TreeEntry[],
  expected: readonly TreeEntry[],
  options: CompareOptions = {},
) {
  const kept = (entries: readonly TreeEntry[]) =>
    new Map(entries.filter((entry) => !options.leaveOut?.(entry.name)).map((entry) => [entry.name, entry]));
  const left = kept(actual);
  const right = kept(expected);
  const differences: string[] = [];
  for (const name of [...new Set([...left.keys(), ...right.keys()])].sort()) {
    const one = left.get(name);
    const other = right.get(name);
    if (one === undefined || other === undefined) {
      differences.push(`${JSON.stringify(name)}: ${one ? "unexpected" : "missing"} ${(one ?? other)?.type}`);
      continue;
    }
    for (const field of new Set([...Object.keys(one), ...Object.keys(other)]) as Set<keyof TreeEntry>) {
      if (options.ignore?.(one, field)) continue;
      if (JSON.stringify(sorted(one[field])) === JSON.stringify(sorted(other[field]))) continue;
      differences.push(`${JSON.stringify(name)}: ${field} is ${show(one[field])}, expected ${show(other[field])}`);
    }
  }
  return differences;
}

const sorted = (value: unknown): unknown =>
  value !== null && typeof value === "object" && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
    : value;

/** The rule of the comparison with umoci: everything, but for the root's time. */
export const butRootTime: CompareOptions = {
  ignore: (entry, field) => entry.name === "." && field === "mtime",
  leaveOut: (name) => name === ".rootling" || name.startsWith(".rootling/"),
};
