/** What lies in a store, with the names of owners taken out of it, so that two stores can be compared. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Box } from "../support/boxes.ts";

/** An owner's name (src/base/owner.ts), and the number of a lock's generation (src/store/lock.ts). */
const neutral = (name: string): string =>
  name
    .replace(/[0-9]+\.[0-9]+\.[0-9a-z]+\.[0-9a-z]+/, "OWNER")
    .replace(/^(writer|detached|directory-[^.]+)\.[0-9]+$/, "$1.N")
    .replace(/\.[0-9a-f]{8}\.tmp$/, ".tmp");

/**
 * Not part of what starts make: trees of images, what containers changed, compiled code. Marks of starts on images are
 * cleared once there are some, and are never more.
 */
const CONTENT = new Set(["tree", "upper", "work", "compiled", "users"]);

function below(directory: string, shown: string): string[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    const path = `${shown}/${neutral(entry.name)}`;
    return entry.isDirectory() && !CONTENT.has(entry.name)
      ? [path, ...below(join(directory, entry.name), path)]
      : [path];
  });
}

/** Every name in the data, cache and runtime directories, and every mount of ours that the host sees. */
export function namesOf({ user, scratch }: Box): string[] {
  const names = (["DATA", "CACHE", "RUNTIME"] as const).flatMap((place) =>
    below(user.env[`ROOTLING_${place}_PATH`] ?? "/none", place),
  );
  const mounts = readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .filter((line) => line.includes(user.home) || line.includes(scratch) || line.includes("rootling"));
  return [...names.sort(), ...mounts.map((line) => `mount ${line.split(" ").slice(4, 5)}`)];
}

/** What one list has more often than the other. */
export function differences(was: readonly string[], is: readonly string[]): string[] {
  const count = (list: readonly string[], name: string) => list.filter((one) => one === name).length;
  return [...new Set([...was, ...is])].flatMap((name) => {
    const [before, now] = [count(was, name), count(is, name)];
    return before === now ? [] : [`${name}: ${before} before, ${now} now`];
  });
}
