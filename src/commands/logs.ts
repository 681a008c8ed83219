/** `rootling logs`: what a detached container has written. */

import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { InvalidArgumentError } from "commander";
import { errnoOf, Failure, fileFailure } from "../base/errors.ts";
import { stateOfName } from "../base/owner.ts";
import { getContainer, partsOf } from "../store/containers.ts";
import type { Layout } from "../store/layout.ts";
import { type Cli, newCommand } from "./cli.ts";

interface Options {
  follow?: boolean;
  tail?: number;
  older?: boolean;
}

/** Milliseconds between two looks at a log that is followed. */
const PAUSE = 100;
const CHUNK = 1 << 16;

const readCount = (text: string): number => {
  if (/^[0-9]{1,9}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("It is a number of lines.");
};

export const define = (cli: Cli) =>
  newCommand("logs", "Show what a detached container has written, to standard output and standard error alike.", [
    "rootling logs web",
    "rootling logs -f --tail 20 web",
  ])
    .argument("<name>", "a container")
    .option("-f, --follow", "go on until it ends")
    .option("-n, --tail <lines>", "only the last lines", readCount)
    .option("--older", "of the run before the last")
    .action(async (name: string, { follow = false, tail, older = false }: Options) => {
      const { signal } = cli.context("none");
      const from = tail === undefined ? 0 : (fd: number) => startOfLines(fd, tail);
      await readLog(cli.layout, name, { follow, older, from, signal }, (bytes) => cli.write(bytes));
    });

export interface LogReading {
  /** Go on until its run ends. */
  readonly follow: boolean;
  /** Of the run before the last. */
  readonly older: boolean;
  /** The byte that it begins with, or how that is found. */
  readonly from: number | ((fd: number) => number);
  readonly signal: AbortSignal;
}

/** Gives what a container's log holds to `write`, with the byte that follows. Throws E_NOT_FOUND where there is none. */
export async function readLog(
  layout: Layout,
  name: string,
  { follow, older, from, signal }: LogReading,
  write: (bytes: Uint8Array, next: number) => Promise<void>,
): Promise<void> {
  const container = getContainer(layout, name);
  const { runs } = container;
  const paths = partsOf(layout, container);
  const fd = openLog(older ? paths.olderLog : paths.log, name);
  const run = older ? undefined : runs.find(({ detached }) => detached);
  try {
    let at = typeof from === "number" ? from : from(fd);
    for (;;) {
      // Looked at first: what was written before the end is there afterwards.
      const over = !follow || run === undefined || stateOfName(run.owner) !== "alive" || signal.aborted;
      at = await show(fd, at, write);
      if (over) return;
      await sleep(PAUSE, undefined, { signal }).catch(() => {});
    }
  } finally {
    closeSync(fd);
  }
}

function openLog(path: string, name: string): number {
  try {
    return openSync(path, "r");
  } catch (error) {
    if (errnoOf(error) !== "ENOENT") throw fileFailure(error, "reading a log", path);
    throw new Failure("E_NOT_FOUND", `there is no such log of ${name}`, {
      mend: "only a start with --detach writes one",
    });
  }
}

/** Writes what is there from byte `at` on; resolves to where it ended. A log that was cut short begins anew. */
async function show(
  fd: number,
  at: number,
  write: (bytes: Uint8Array, next: number) => Promise<void>,
): Promise<number> {
  const buffer = Buffer.allocUnsafe(CHUNK);
  let from = fstatSync(fd).size < at ? 0 : at;
  for (;;) {
    const count = readSync(fd, buffer, 0, CHUNK, from);
    if (count === 0) return from;
    from += count;
    await write(buffer.subarray(0, count), from);
  }
}

/** Where the last `count` lines begin. */
function startOfLines(fd: number, count: number): number {
  const buffer = Buffer.allocUnsafe(CHUNK);
  const { size } = fstatSync(fd);
  let wanted = count;
  if (wanted === 0) return size;
  for (let end = size; end > 0; end = Math.max(0, end - CHUNK)) {
    const from = Math.max(0, end - CHUNK);
    const read = readSync(fd, buffer, 0, end - from, from);
    for (let i = read - 1; i >= 0; i--) {
      // The end of the last line begins no further one.
      if (buffer[i] === 0x0a && from + i + 1 < size && --wanted === 0) return from + i + 1;
    }
  }
  return 0;
}
