/** Temporary directories that a test leaves no trace of, mounts in them included. */
import { accessSync, chmodSync, constants, mkdtempSync, readdirSync, readFileSync, statfsSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { startTime } from "../../src/base/owner.ts";
import { command, must } from "./command.ts";

/**
 * Where tests work: ROOTLING_TEST_TEMP if it is set (the User-Mode Linux bed sets it to an ext4 disk), else
 * /dev/shm, where files are made ten times faster than on disk, else /tmp.
 */
export function tempBase(): string {
  const set = process.env.ROOTLING_TEST_TEMP;
  if (set) return set;
  try {
    accessSync("/dev/shm", constants.W_OK);
    const { bavail, bsize } = statfsSync("/dev/shm");
    if (bavail * bsize > 1 << 30) return "/dev/shm";
  } catch {
    // No /dev/shm for us.
  }
  return "/tmp";
}

/** Mount points at or below `path`, deepest first. */
function mountsBelow(path: string): string[] {
  return readFileSync("/proc/self/mounts", "utf8")
    .split("\n")
    .map((line) =>
      (line.split(" ")[1] ?? "").replace(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(parseInt(octal, 8))),
    )
    .filter((point) => point === path || point.startsWith(`${path}/`))
    .sort((a, b) => b.length - a.length);
}

/** Removes a tree: unmounts what is mounted in it, and opens directories that their owner closed. */
export async function removeTree(path: string): Promise<void> {
  for (const point of mountsBelow(path)) await must(["umount", "--lazy", point]);
  const first = await command(["rm", "-rf", "--one-file-system", path]);
  if (first.status === 0) return;
  await command(["chmod", "-R", "u+rwx", path]);
  await must(["rm", "-rf", "--one-file-system", path]);
}

/** What tests left that were killed. It is no part of any test, so that nothing waits for it or fails by it. */
async function clearDead(base: string): Promise<void> {
  for (const name of readdirSync(base)) {
    const [, pid, start] = /^rootling-[a-z]+-([0-9]+)\.([0-9]+)\./.exec(name) ?? [];
    if (pid === undefined || startTime(Number(pid)) === start) continue;
    // Another test may do the same.
    await removeTree(join(base, name)).catch(() => {});
  }
}

let cleared = false;

/** A new directory that other users may enter, and how to remove it. Its name says whose it is. */
export function makeTemp(prefix = "rootling-test-"): { path: string; remove: () => Promise<void> } {
  const base = tempBase();
  if (!cleared) void clearDead(base);
  cleared = true;
  const path = mkdtempSync(join(base, `${prefix}${process.pid}.${startTime(process.pid)}.`));
  chmodSync(path, 0o755);
  return { path, remove: () => removeTree(path) };
}

/** A new directory for one test, removed after it. */
export function tempDirectory(t: Pick<TestContext, "after">): string {
  const { path, remove } = makeTemp();
  t.after(remove);
  return path;
}
