/** Thousands of starts of all kinds; afterwards there is no more of anything than before. */
import { globSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { basename } from "node:path";
import { stateOfName } from "../../src/base/owner.ts";
import { say, stop } from "../crash/bed.ts";
import { type Box, busyboxBox } from "../support/boxes.ts";
import { must } from "../support/command.ts";
import type { UserKind } from "../support/users.ts";
import type { Counts } from "./main.ts";
import { differences, namesOf } from "./store.ts";

/** What one cycle does, in turn. */
const CYCLES: readonly (readonly (readonly string[])[])[] = [
  [["start", "box", "/bin/true"]],
  [["start", "--rw", "--root", "box", "sh", "-c", "echo x >/etc/x; rm /etc/x"]],
  [["start", "--pid", "--ipc", "--uts", "box", "/bin/true"]],
  [
    ["start", "--detach", "--rw", "box", "sleep", "1000"],
    ["exec", "box", "/bin/true"],
    ["stop", "--timeout", "0.1", "box"],
  ],
  [["run", "--root", "busybox", "sh", "-c", "mkdir /new"]],
  [
    ["create", "busybox", "--name", "cycle"],
    ["start", "--rw", "cycle", "/bin/true"],
    ["remove", "cycle"],
  ],
];

const read = (path: string): string => {
  try {
    return readFileSync(path, "latin1");
  } catch {
    // It ended while we looked.
    return "";
  }
};

/**
 * Processes that the cycles made: of the user, started with the box's environment, or in mounts of its store. Not those
 * that have ended and wait only for pid 1, which may take its time, to notice.
 */
const processesOf = ({ user }: Box): string[] =>
  readdirSync("/proc").filter((pid) => {
    if (!/^[0-9]+$/.test(pid) || Number(pid) === process.pid) return false;
    const status = read(`/proc/${pid}/status`);
    if (/^State:\s+Z/m.test(status) && /^PPid:\s+1$/m.test(status)) return false;
    const uid = /^Uid:\s+([0-9]+)/m.exec(status)?.[1];
    if (user.kind !== "root" && uid === String(user.uid)) return true;
    return ["environ", "mountinfo"].some((file) => read(`/proc/${pid}/${file}`).includes(user.home));
  });

const links = (pattern: string): string[] =>
  globSync(pattern).flatMap((path) => {
    try {
      return [readlinkSync(path)];
    } catch {
      return [];
    }
  });

/** What there is of everything that a start makes; nothing of other programs. */
export async function inventory(box: Box): Promise<string[]> {
  await box.must(["list"]);
  const own = box.user.kind === "root" ? [] : keysOf(box.user.uid);
  const lines = (text: string) => text.trimEnd().split("\n");
  const numbered = (text: string) => text.replace(/[0-9]+/g, "N");
  const processes = processesOf(box);
  // Those of others are alive.
  const cgroups = globSync("/sys/fs/cgroup/**/rootling-*").filter(
    (path) => stateOfName(basename(path).slice("rootling-".length)) === "dead",
  ).length;
  const namespaces = new Set(processes.flatMap((pid) => links(`/proc/${pid}/ns/*`))).size;
  const descriptors = links("/proc/self/fd/*").length + processes.flatMap((pid) => links(`/proc/${pid}/fd/*`)).length;
  const loops = lines(await must(["losetup", "--list", "--noheadings", "--output", "BACK-FILE"])).filter((file) =>
    file.includes(box.user.home),
  ).length;
  return [
    `processes ${processes.length}`,
    `namespaces ${namespaces}`,
    `descriptors ${descriptors}`,
    `loop devices ${loops}`,
    `cgroups ${cgroups}`,
    `mounts ${lines(readFileSync("/proc/self/mountinfo", "utf8")).length}`,
    `temporary files ${readdirSync(box.user.env.TMPDIR ?? "/none").length}`,
    ...own,
    ...namesOf(box).map(numbered),
  ];
}

/** Keys of a user (proc(5), /proc/key-users). */
const keysOf = (uid: number): string[] =>
  readFileSync("/proc/key-users", "utf8")
    .split("\n")
    .filter((line) => line.trimStart().startsWith(`${uid}:`))
    .map((line) => `keys ${line.trim().split(/\s+/)[2]}`);

export async function cycles(kind: UserKind, count: number): Promise<Counts> {
  const box = await busyboxBox(kind);
  let [ran, bad] = [0, 0];
  const cycle = async (n: number) => {
    for (const words of CYCLES[n % CYCLES.length] ?? []) {
      const { status, signal, stderr } = await box.run(words);
      if (status === 0) continue;
      bad++;
      say(`  cycle ${n}: ${words.join(" ")} ended with ${signal ?? status}: ${stderr.trim()}`);
    }
    ran++;
  };
  try {
    // What the first of each kind make once is no leak.
    for (let n = 0; n < 2 * CYCLES.length; n++) await cycle(n);
    ran = 0;
    const before = await inventory(box);
    for (let n = 0; n < count && !stop.asked; n++) await cycle(n);
    const left = differences(before, await inventory(box));
    for (const difference of left) say(`  after ${ran} cycles: ${difference}`);
    return { points: count, ran, bad: bad + left.length };
  } finally {
    await box.remove();
  }
}
