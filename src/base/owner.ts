/**
 * Who owns a lock or a record: a process, named so that a dead owner is recognised although its pid may be in use
 * again, and one of another boot or another machine is not mistaken for one of ours.
 */
import { readFileSync } from "node:fs";

export interface Owner {
  pid: number;
  /** Start time in clock ticks since boot: field 22 of /proc/PID/stat, proc(5). */
  start: string;
  boot: string;
  /** /etc/machine-id, or empty where there is none. */
  machine: string;
}

const read = (path: string): string | undefined => {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return undefined;
  }
};

/** Start time of a live process (zombies count as dead); undefined if there is none with this pid. */
export function startTime(pid: number): string | undefined {
  const stat = read(`/proc/${pid}/stat`);
  if (stat === undefined) return undefined;
  // The second field, the command, may hold blanks and parentheses: the last `)` ends it.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields[0] === "Z" || fields[0] === "X" ? undefined : fields[19];
}

/** What a file says, read once: neither changes while we live. */
const once = (path: string): (() => string) => {
  let text: string | undefined;
  return () => (text ??= read(path)?.trim() ?? "");
};

const bootId = once("/proc/sys/kernel/random/boot_id");
const machineId = once("/etc/machine-id");

let self: Owner | undefined;

/** This process. It keeps pid and start time when it hands over to the executor by execve. */
export const ourselves = (): Owner => (self ??= ownerOf(process.pid));

/** A process that we have started and that has not ended. */
export const ownerOf = (pid: number): Owner => ({
  pid,
  start: startTime(pid) ?? "",
  boot: bootId(),
  machine: machineId(),
});

/** The nearest process above this one that is called `name`; undefined if none is, or its like cannot be seen. */
export function processAbove(name: string): Owner | undefined {
  for (let pid = process.ppid; pid > 1; ) {
    const stat = read(`/proc/${pid}/stat`);
    const [, command, parent] = /^[0-9]+ \((.*)\) \S ([0-9]+) /s.exec(stat ?? "") ?? [];
    if (command === name) return ownerOf(pid);
    pid = Number(parent ?? 0);
  }
  return undefined;
}

/** Tells apart the names that one owner uses; eight hexadecimal digits. No secret: directories of ours are private. */
export const suffix = (): string =>
  Math.floor(Math.random() * 2 ** 32)
    .toString(16)
    .padStart(8, "0");

/**
 * alive: it runs; dead: it ended, or the machine booted since; foreign: another machine's, of which nothing can be
 * said here, so that its records are left alone.
 */
export function stateOf(owner: Owner): "alive" | "dead" | "foreign" {
  if (owner.machine !== machineId()) return "foreign";
  if (owner.boot !== bootId()) return "dead";
  return startTime(owner.pid) === owner.start ? "alive" : "dead";
}

const short = (text: string): string => text.replaceAll("-", "").slice(0, 8) || "none";

/** A file name that says whose it is, so that leavings of the dead are recognised without opening anything. */
export const ownerName = (owner: Owner): string =>
  `${owner.pid}.${owner.start}.${short(owner.boot)}.${short(owner.machine)}`;

/** What ownerName made, possibly with more behind it; undefined for other names. */
export function stateOfName(name: string): "alive" | "dead" | "foreign" | undefined {
  const match = /^([0-9]+)\.([0-9]+)\.([0-9a-z]+)\.([0-9a-z]+)(?:\.|$)/.exec(name);
  if (match === null) return undefined;
  const [, pid, start, boot, machine] = match;
  if (machine !== short(machineId())) return "foreign";
  return boot === short(bootId()) && startTime(Number(pid)) === start ? "alive" : "dead";
}
