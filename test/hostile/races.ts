/**
 * Starts of a root that somebody changes at the same time: what is mounted, and where it is mounted, is swapped for a
 * symlink that leads out of the root. Nothing may be made outside, and what a container gets is the root's or nothing.
 */
import { chownSync, mkdirSync, readdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import type { Op } from "../../src/plan/plan.ts";
import type { Box } from "../support/boxes.ts";
import { background, command, must } from "../support/command.ts";
import { carryOutPlan, planOf } from "../support/plans.ts";

export interface RaceResult {
  readonly starts: number;
  readonly swaps: number;
  /** Starts that the executor refused; in each the payload did not run. */
  readonly refused: number;
  /** What must not be: names outside the root that were made, payloads that saw the outside. */
  readonly wrong: readonly string[];
}

/** What is swapped in a root. */
export const raceTargets = ["volume", "proc", "sys", "dev", "etc"] as const;
export type RaceTarget = (typeof raceTargets)[number];

/** Compiles the swapper into `directory`. */
export async function compileSwapper(directory: string): Promise<string> {
  const program = join(directory, "swapper");
  const source = join(import.meta.dirname, "../support/swapper.c");
  const machine = (await must(["uname", "-m"])).trim();
  const headers = ["-idirafter", "/usr/include", "-idirafter", `/usr/include/${machine}-linux-gnu`];
  await must(["musl-gcc", "-std=gnu17", "-static", "-O2", "-Wall", "-o", program, source, ...headers]);
  return program;
}

/**
 * Starts a container over and over while `target` of its root changes places with a symlink, until there were `swaps` of
 * them and at least `starts` starts. The box needs an image `busybox`.
 */
export async function race(
  box: Box,
  swapper: string,
  target: RaceTarget,
  starts: number,
  swaps: number,
): Promise<RaceResult> {
  const place = join(box.scratch, `race-${target}`);
  const [root, outside] = [join(place, "root"), join(place, "outside")];
  const own = (path: string) => chownSync(path, box.user.uid, box.user.gid);
  for (const path of [place, root, outside, join(outside, "here")]) {
    mkdirSync(path, { mode: 0o755 });
    own(path);
  }
  for (const name of ["bin", "volume", "proc", "sys", "dev", "etc"]) {
    mkdirSync(join(root, name), { mode: 0o755 });
    own(join(root, name));
  }
  await command(["cp", "/bin/busybox", join(root, "bin/busybox")]);
  // From the root it leads, climbing, to the directory outside; inside, to nothing.
  symlinkSync(`../../../../../../../../../..${outside}`, join(root, "trap"));
  const script = "[ -e /here ] || [ -e /volume/here ] || [ -e /etc/here ] && echo outside; echo ran";
  const flags = ["--isolate", "--pid", "--mount", "tmpfs /volume/made tmpfs x-create=dir,size=64k"];
  const plan = await planOf(box, [
    "run",
    ...flags,
    "--mount",
    `${outside}:/volume/bound/deep:ro,x-create=dir`,
    "busybox",
    "/bin/busybox",
    "sh",
    "-c",
    script,
  ]);
  // The same container, over the directory that is changed meanwhile.
  const overDirectory = (ops: readonly Op[]): Op[] => rebase(ops, root);
  const running = background(box.user.words([swapper, join(root, target), join(root, "trap")]), { timeout: 3_600_000 });
  const wrong: string[] = [];
  let [done, refused] = [0, 0];
  const end = Date.now() + Math.max(1000, swaps / 10);
  while (done < starts || Date.now() < end) {
    const { stdout, status } = await carryOutPlan(box, plan, overDirectory);
    done++;
    if (!stdout.includes("ran")) refused++;
    if (stdout.includes("outside")) wrong.push(`start ${done}: the payload saw the outside`);
    if (status !== 0 && stdout.includes("ran")) wrong.push(`start ${done}: status ${status}`);
    const made = readdirSync(outside).filter((name) => name !== "here");
    if (made.length > 0) wrong.push(`start ${done}: made outside: ${made}`);
    if (wrong.length > 0) break;
  }
  const { stdout, stderr } = await running.end("SIGTERM");
  const swapped = Number(stdout.trim().split("\n")[1]);
  if (!(swapped > 0)) throw new Error(`nothing was swapped: ${stdout}${stderr}`);
  return { starts: done, swaps: swapped, refused, wrong };
}

/** A bind of the directory in the place of the image's overlay. */
function rebase(ops: readonly Op[], root: string): Op[] {
  const lent = ops.find(({ verb }) => verb === "lend");
  return ops.flatMap((one): Op[] => {
    if (one.verb === "lend" && one === lent) return [{ ...one, fields: [one.fields[0] ?? "", root, "idmap"] }];
    if (one.verb === "bind" && one.fields[0] === `lent:${lent?.fields[0]}`) return [];
    if (one.verb !== "overlay") return [one];
    const source = lent === undefined ? root : `lent:${lent.fields[0]}`;
    return [{ verb: "bind", origin: "test", fields: [source, one.fields[0] ?? "", "", "", "", "none", "0"] }];
  });
}
