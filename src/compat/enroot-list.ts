/** `enroot list` and `enroot remove`. */
import { lstatSync, readFileSync, readlinkSync, realpathSync, renameSync } from "node:fs";
import { join } from "node:path";
import { unescapeOctal } from "../base/bytes.ts";
import { Failure, fileFailure } from "../base/errors.ts";
import { makePrivateDirectory, syncDirectory } from "../base/files.ts";
import { ourselves, ownerName, startTime } from "../base/owner.ts";
import { formatTable } from "../base/text.ts";
import type { Cli } from "../commands/cli.ts";
import { endRuns } from "../commands/remove.ts";
import { endRun } from "../commands/stopping.ts";
import { removeContainer } from "../store/containers.ts";
import { runtimePaths } from "../store/layout.ts";
import { clearLeavings } from "../store/leavings.ts";
import { listRuns, type Run } from "../store/runs.ts";
import { removeStored } from "../store/trees.ts";
import { getNamed, listNames, type Named, pathOfName, runsOf } from "./enroot-names.ts";
import type { Words } from "./enroot-words.ts";

const HEADING = ["NAME", "PID", "COMM", "STATE", "STARTED", "TIME", "MNTNS", "USERNS", "COMMAND"];

/** Names, one a line; with --fancy a table of what runs in each. */
export function list(cli: Cli, words: Words): void {
  const names = listNames(cli);
  if (!words.has("fancy")) {
    for (const { name } of names) cli.print(formatTable([[name]]));
    return;
  }
  const nameless = listRuns(runtimePaths(cli.layout).runs);
  const taken = new Set<Run>();
  const rows = names.map((named) => {
    const runs = runsOf(named, nameless);
    for (const run of runs) taken.add(run);
    return { name: named.name, runs };
  });
  const unknown = nameless.filter((run) => !taken.has(run));
  // As sort(1) has it in the C locale: after digits, before letters.
  const at = rows.findIndex(({ name }) => name > "<unknown>");
  if (unknown.length > 0) rows.splice(at === -1 ? rows.length : at, 0, { name: "<unknown>", runs: unknown });
  cli.print(formatTable([HEADING, ...rows.flatMap(({ name, runs }) => rowsOf(name, runs))]));
}

/** A line a process; the name stands in the first. */
function rowsOf(name: string, runs: readonly Run[]): string[][] {
  const rows = runs.flatMap(({ inside: { pid } }) => {
    const cells = describe(pid);
    return cells === undefined ? [] : [cells];
  });
  if (rows.length === 0) return [[name, ...HEADING.slice(1).map(() => "")]];
  return rows.map((cells, index) => [index === 0 ? name : "", ...cells]);
}

/** Clock ticks a second of proc(5): sysconf(_SC_CLK_TCK), 100 on every Linux that there is. */
const TICKS = 100;

/** The columns of ps(1); undefined for a process that has ended. */
function describe(pid: number): string[] | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const booted = Number(/^btime ([0-9]+)$/m.exec(readFileSync("/proc/stat", "latin1"))?.[1]);
    const started = booted + Math.floor(Number(startTime(pid) ?? Number.NaN) / TICKS);
    const comm = stat.slice(stat.indexOf("(") + 1, stat.lastIndexOf(")"));
    const command = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").join(" ").trim();
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return [
      ...[String(pid), comm, stateOf(pid, fields)],
      ...[startedAt(started), elapsed(started), namespace(pid, "mnt"), namespace(pid, "user")],
      command || `[${comm}]`,
    ];
  } catch {
    return undefined;
  }
}

/** STAT of ps(1): the state, then < N s l + as it has them. `fields`: those of stat from the third on. */
function stateOf(pid: number, fields: readonly string[]): string {
  const field = (number: number): number => Number(fields[number - 3]);
  const nice = field(19);
  return [
    fields[0] ?? "?",
    nice < 0 ? "<" : nice > 0 ? "N" : "",
    field(6) === pid ? "s" : "",
    field(20) > 1 ? "l" : "",
    field(8) === field(5) ? "+" : "",
  ].join("");
}

const namespace = (pid: number, kind: string): string =>
  /\[([0-9]+)\]/.exec(readlinkSync(`/proc/${pid}/ns/${kind}`))?.[1] ?? "-";

const DAY = 86_400;
const now = (): number => Math.floor(Date.now() / 1000);

/** STARTED of ps(1): the time of day, or the day for what is older. `started`: seconds since 1970. */
function startedAt(started: number): string {
  const [, month = "", day = "", , time = ""] = new Date(started * 1000).toString().split(" ");
  return now() - started < DAY ? time : `${month} ${day}`;
}

/** ELAPSED of ps(1): [[DD-]hh:]mm:ss. */
function elapsed(started: number): string {
  const age = Math.max(0, now() - started);
  const two = (value: number) => String(Math.floor(value)).padStart(2, "0");
  const [days, hours] = [Math.floor(age / DAY), Math.floor(age / 3600) % 24];
  const long = days > 0 ? `${two(days)}-${two(hours)}:` : hours > 0 ? `${two(hours)}:` : "";
  return `${long}${two((age / 60) % 60)}:${two(age % 60)}`;
}

/** Removes what has these names. Without --force each is asked for; no other answer than y or Y removes. */
export async function remove(cli: Cli, words: Words): Promise<void> {
  const force = words.has("force");
  const answers = force ? undefined : answersOf();
  try {
    for (const name of words.operands) {
      const named = getNamed(cli, name);
      if (answers !== undefined && !(await answers.agrees(`Do you really want to delete ${pathOfName(cli, name)}?`)))
        continue;
      await removeNamed(cli, named, force);
    }
  } finally {
    answers?.close();
  }
}

/** `force`: what runs in it is killed first. Throws E_BUSY otherwise. */
export async function removeNamed(cli: Cli, named: Named, force: boolean): Promise<void> {
  if (named.kind === "foreign") return removeForeign(cli, named, force);
  if (force) await endRuns(cli, named.name);
  await removeContainer(cli.layout, named.name);
}

async function removeForeign(cli: Cli, named: Named & { kind: "foreign" }, force: boolean): Promise<void> {
  const { name, path } = named;
  if (lstatSync(path).isSymbolicLink()) {
    throw new Failure("E_CONFLICT", "a symbolic link is no container's root", {
      where: path,
      mend: "remove the link with rm, and what it leads to where that is",
    });
  }
  for (const run of runsOf(named, listRuns(runtimePaths(cli.layout).runs))) {
    if (force) await endRun(run, 9, 0, cli.context("none").signal);
    else {
      throw new Failure("E_BUSY", `the container ${name} is running (pid ${run.pid})`, {
        mend: "end it first, or use --force",
      });
    }
  }
  refuseMounts(path);
  makePrivateDirectory(cli.layout.temporary);
  await clearLeavings(cli.layout);
  const trash = join(cli.layout.temporary, `${ownerName(ourselves())}.removed`);
  try {
    renameSync(path, trash);
    await syncDirectory(join(path, ".."));
  } catch (error) {
    throw fileFailure(error, "removing the container", path);
  }
  await removeStored(cli.layout, trash);
}

/** What is mounted in a root is not of it, and would be moved along. Throws E_BUSY. */
function refuseMounts(path: string): void {
  const real = realpathSync(path);
  const lines = readFileSync("/proc/self/mountinfo", "utf8").trimEnd().split("\n");
  const points = lines.map((line) => unescapeOctal(line.split(" ")[4] ?? ""));
  const mounted = points.find((point) => point === real || point.startsWith(`${real}/`));
  if (mounted === undefined) return;
  throw new Failure("E_BUSY", "a file system is mounted in the container's root", {
    where: mounted,
    mend: "unmount it first: what is on it is not removed",
  });
}

interface Answers {
  agrees(question: string): Promise<boolean>;
  close(): void;
}

/** Lines of standard input. As bash's `read -p` does it, nothing is asked aloud where that is no terminal. */
function answersOf(): Answers {
  const { createInterface } = process.getBuiltinModule("node:readline");
  const lines = createInterface({ input: process.stdin, terminal: false });
  const next = lines[Symbol.asyncIterator]();
  return {
    agrees: async (question) => {
      if (process.stdin.isTTY) process.stderr.write(`${question} [y/N] `);
      const { value, done } = await next.next();
      if (!done) return value === "y" || value === "Y";
      throw new Failure("E_USAGE", "nobody answers: standard input has ended", { mend: "use --force" });
    },
    close: () => lines.close(),
  };
}
