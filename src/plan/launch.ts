/** Finds the executor, hands a plan to it, and ceases to exist: no JavaScript stays beside a container. */
import { accessSync, constants, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Failure, fileFailure } from "../base/errors.ts";
import { capture, findProgram, startBeside } from "../base/process.ts";
import { failureStatus, nameWords, programOf } from "../base/settings-places.ts";
import type { Plan } from "./plan.ts";
import { toWire } from "./wire.ts";

const executorName = (arch: string): string => `executor-${arch}`;

/** dist/ beside the sources, or the directory of the bundle itself. */
const DISTRIBUTIONS = [import.meta.dirname, join(import.meta.dirname, "../../dist")];
const SOURCES = [join(import.meta.dirname, "../executor"), join(import.meta.dirname, "../../executor")];

const isExecutable = (path: string): boolean => {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
};

/**
 * The executor for this processor: the one that was shipped, or one compiled from the shipped source at first use
 * into `cache`. Throws E_EXECUTOR where neither is to be had.
 */
export async function findExecutor(cache: string): Promise<string> {
  return shippedExecutor(cache, process.arch) ?? (await compileExecutor(cache));
}

const shippedExecutor = (cache: string, arch: string): string | undefined =>
  [...DISTRIBUTIONS, cache].map((directory) => join(directory, executorName(arch))).find(isExecutable);

/** The executor for a processor as Node names it, which need not be this machine's. Throws E_EXECUTOR. */
export async function executorFor(arch: string, cache: string): Promise<string> {
  if (arch === process.arch) return findExecutor(cache);
  const found = shippedExecutor(cache, arch);
  if (found !== undefined) return found;
  throw new Failure("E_EXECUTOR", `there is no executor for ${arch}`, {
    mend: "make it on a machine of that kind",
  });
}

/** The program of guests for a processor as Node names it: executor/guest. Throws E_EXECUTOR. */
export function guestProgramFor(arch: string): string {
  const found = DISTRIBUTIONS.map((directory) => join(directory, `guest-${arch}`)).find(isExecutable);
  if (found !== undefined) return found;
  throw new Failure("E_EXECUTOR", `there is no program of guests for ${arch}`, {
    mend: "run `npm run build` in a checkout, on a machine of that kind with libyaml (Debian, Ubuntu: libyaml-dev)",
  });
}

async function compileExecutor(cache: string): Promise<string> {
  const source = SOURCES.find((directory) => statSync(join(directory, "main.c"), { throwIfNoEntry: false }));
  const compiler = findProgram("musl-gcc") ?? findProgram("cc") ?? findProgram("gcc");
  if (source === undefined || compiler === undefined) {
    throw new Failure("E_EXECUTOR", `there is no executor for ${process.arch}, and none can be compiled`, {
      mend: "install a C compiler (Debian, Ubuntu: apt-get install gcc libc6-dev), or run `npm run build` in a checkout",
    });
  }
  const target = join(cache, executorName(process.arch));
  const temporary = `${target}.${process.pid}`;
  mkdirSync(cache, { recursive: true, mode: 0o700 });
  const files = readdirSync(source)
    .filter((name) => name.endsWith(".c"))
    .map((name) => join(source, name));
  // musl-gcc looks for no kernel headers of its own.
  const headers = compiler.endsWith("musl-gcc") ? ["-idirafter", "/usr/include"] : [];
  try {
    await capture(compiler, [
      "-static",
      "-Os",
      "-std=gnu11",
      "-D_GNU_SOURCE",
      ...headers,
      ...files,
      "-s",
      "-o",
      temporary,
    ]);
    await capture("mv", [temporary, target]);
  } catch (cause) {
    throw new Failure("E_EXECUTOR", "the executor cannot be compiled", { cause, mend: "see the compiler's message" });
  } finally {
    rmSync(temporary, { force: true });
  }
  return target;
}

/** How this very program is started, under its name: what puts the executor's failures into words. */
const explainCommand = (): string[] => [...process.argv.slice(0, 2), ...nameWords(process.argv), "explain"];

function writeWire(plan: Plan, wire: string): void {
  try {
    writeFileSync(wire, toWire(plan, explainCommand(), failureStatus(programOf(process.argv))), {
      mode: 0o600,
      flag: "wx",
    });
  } catch (error) {
    throw fileFailure(error, "writing the plan", wire);
  }
}

/** Writes the plan to `wire`, a file in a private directory, and becomes the executor; the process id stays. */
export function handOver(plan: Plan, executor: string, wire: string): never {
  writeWire(plan, wire);
  return become(executor, [wire]);
}

/** A client of the terminal behind `socket`. */
export const becomeClient = (executor: string, socket: string, keys: Uint8Array, role: "starter" | "guest"): never =>
  become(executor, ["--client", socket, Buffer.from(keys).toString("hex"), role]);

/** One of the guests' tools, in our place. */
export const becomeTool = (name: string, words: readonly string[]): never =>
  become(guestProgramFor(process.arch), [name, ...words]);

function become(executor: string, words: readonly string[]): never {
  if (process.execve === undefined) {
    throw new Failure("E_EXECUTOR", `Node ${process.version} cannot replace itself by another program`, {
      mend: "use Node 24.15 or newer",
    });
  }
  // What was compiled for the first time is written at the end of a process, which this one never comes to.
  process.getBuiltinModule("node:module").flushCompileCache();
  return process.execve(executor, [executor, ...words], process.env as Record<string, string>);
}

/** An executor that runs beside us, and after us. */
export interface Monitor {
  readonly pid: number;
  /** Undefined once the payload runs, else the exit status of a failure that has been put into words. */
  begin(plan: Plan, wire: string): Promise<number | undefined>;
  kill(): void;
}

/** Starts a monitor, which waits for its plan. */
export function beginMonitor(executor: string): Monitor {
  const beside = startBeside(executor, ["--monitor"]);
  return {
    pid: beside.pid,
    begin: async (plan, wire) => {
      writeWire(plan, wire);
      const { said, status } = await beside.tell(wire);
      if (said !== "started") return await status;
      beside.leave();
      return undefined;
    },
    kill: beside.kill,
  };
}
