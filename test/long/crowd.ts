/** Many starts at once. */
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { chmod } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { say, stop } from "../crash/bed.ts";
import { type Box, busyboxBox } from "../support/boxes.ts";
import type { UserKind } from "../support/users.ts";
import { inventory } from "./cycles.ts";
import type { Counts } from "./main.ts";
import { differences } from "./store.ts";

const AT_ONCE = 200;
const OF_ONE_NAME = 50;
/** Milliseconds: all of a crowd on a machine that is busy. */
const PATIENCE = 300_000;

/** `count` starts, 200 at a time: all succeed, and leave nothing. */
export async function manyStarts(kind: UserKind, count: number): Promise<Counts> {
  const box = await busyboxBox(kind);
  let [begun, ran, bad] = [0, 0, 0];
  const worker = async () => {
    while (begun < count && !stop.asked) {
      const n = begun++;
      const { status, signal, stdout, stderr } = await box.run(["start", "box", "echo", String(n)], {
        timeout: PATIENCE,
      });
      ran++;
      if (status === 0 && stdout === `${n}\n`) continue;
      bad++;
      say(`  start ${n} ended with ${signal ?? status}: ${stderr.trim()}`);
    }
  };
  try {
    // What the first one makes once is no leaving.
    await box.must(["start", "box", "/bin/true"]);
    const before = await inventory(box);
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    const left = differences(before, await inventory(box));
    for (const difference of left) say(`  after ${ran} starts: ${difference}`);
    bad += left.length;
  } finally {
    await box.remove();
  }
  return { points: count, ran, bad };
}

/** A payload says that it runs by a file named after its own pid, and ends once there is a file `go`. */
const WAITING = "echo > /meet/ran.$1; until [ -e /meet/go ]; do sleep 0.2; done";

/** Starts the container as often as OF_ONE_NAME at once; ends them when `enough` says so of how many run and ended. */
async function crowd(
  box: Box,
  flags: readonly string[],
  enough: (running: number, ended: number) => boolean,
): Promise<{ won: number; refused: number; others: string[] }> {
  const meeting = join(box.scratch, `meet${flags.length}`);
  mkdirSync(meeting);
  await chmod(meeting, 0o777);
  let ended = 0;
  const starts = Array.from({ length: OF_ONE_NAME }, async (_, n) => {
    const words = [...flags, "--mount", `${meeting}:/meet`, "box", "sh", "-c", WAITING, "sh", String(n)];
    const outcome = await box.run(["start", ...words], { timeout: PATIENCE });
    ended++;
    return outcome;
  });
  const running = () => readdirSync(meeting).filter((name) => name.startsWith("ran.")).length;
  for (let waited = 0; waited < PATIENCE / 2 && !enough(running(), ended); waited += 200) await sleep(200);
  writeFileSync(join(meeting, "go"), "");
  const outcomes = await Promise.all(starts);
  const won = outcomes.filter(({ status }) => status === 0).length;
  const refused = outcomes.filter(({ status, stderr }) => status === 125 && stderr.includes("[E_BUSY]")).length;
  const others = outcomes
    .filter(({ status, stderr }) => status !== 0 && !stderr.includes("[E_BUSY]"))
    .map(({ status, signal, stderr }) => `${signal ?? status}: ${stderr.trim()}`);
  const together = running();
  if (existsSync(meeting)) rmSync(meeting, { recursive: true });
  if (won !== together) others.push(`${won} succeeded and ${together} had run`);
  return { won, refused, others };
}

/** 50 writable starts of one name at once: one wins, the others say so. 50 read-only ones: all run. */
export async function oneName(kind: UserKind): Promise<Counts> {
  const box = await busyboxBox(kind);
  try {
    const writable = await crowd(box, ["--rw"], (running, ended) => running === 1 && ended === OF_ONE_NAME - 1);
    const readOnly = await crowd(box, [], (running) => running === OF_ONE_NAME);
    say(
      `  of ${OF_ONE_NAME} writable starts ${writable.won} ran and ${writable.refused} were refused; of ${OF_ONE_NAME} read-only ones ${readOnly.won} ran`,
    );
    for (const other of [...writable.others, ...readOnly.others]) say(`  ${other}`);
    const right =
      Number(writable.won === 1) + writable.refused + readOnly.won - (writable.others.length + readOnly.others.length);
    const ran = writable.won + writable.refused + writable.others.length + OF_ONE_NAME;
    return { points: 2 * OF_ONE_NAME, ran, bad: 2 * OF_ONE_NAME - right };
  } finally {
    await box.remove();
  }
}
