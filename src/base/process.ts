/** The only place that starts other programs. */
import type { ChildProcess, SpawnOptions } from "node:child_process";
import { accessSync, constants, statSync } from "node:fs";
import { constants as osConstants } from "node:os";
import { delimiter, join } from "node:path";
import { Failure, fileFailure } from "./errors.ts";
import { escapeText } from "./text.ts";

/** A program that is running. `finished` settles when it has ended and all its output was read. */
export interface Running {
  readonly child: ChildProcess;
  /** Resolves on exit status 0; rejects with E_PROGRAM, quoting the end of its standard error, otherwise. */
  readonly finished: Promise<void>;
  /** Ends it with SIGKILL and waits until it is gone; never rejects. */
  kill(): Promise<void>;
}

export interface RunOptions {
  stdin?: "ignore" | "pipe" | "inherit";
  stdout?: "ignore" | "pipe" | "inherit";
  cwd?: string;
  /** Added to a minimal environment: PATH, LC_ALL=C, and these. */
  env?: Record<string, string>;
  /** An exit status besides 0 that is a good end, such as GNU tar's 1 for files that changed while it read them. */
  goodStatus?: number;
  /** When aborted, the program gets SIGKILL. */
  signal?: AbortSignal;
  /** In a session of its own: what it starts can be signalled with it, as a terminal does, and no terminal does. */
  session?: boolean;
  /** Called for each chunk of standard error; what it holds is quoted in failures anyhow. */
  onStderr?: (chunk: string) => void;
}

/** From the words of a program to those that run it elsewhere, such as in a user namespace; each result is used once. */
export type Enter = (words: readonly string[]) => string[];

const STDERR_KEPT = 4096;

/**
 * Where a system program is, as the shell would find it; undefined when it is missing. /usr/sbin and /sbin are
 * searched too, since they are not on an ordinary user's PATH and the programs there are run by plain users as well.
 */
export function findProgram(name: string, path = process.env.PATH ?? ""): string | undefined {
  for (const directory of [...path.split(delimiter), "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"]) {
    if (!directory.startsWith("/")) continue;
    const candidate = join(directory, name);
    try {
      accessSync(candidate, constants.X_OK);
      if (statSync(candidate).isFile()) return candidate;
    } catch {
      // Not here: the next directory is looked at.
    }
  }
  return undefined;
}

/** Like findProgram, but a missing program is a Failure that names Debian's package for it. */
export function requireProgram(name: string, debianPackage: string): string {
  const found = findProgram(name);
  if (found !== undefined) return found;
  throw new Failure("E_PROGRAM", `the program ${name} is not installed`, {
    mend: `install it (Debian, Ubuntu: apt-get install ${debianPackage})`,
  });
}

/** Some errors, such as too many open files, come at once; others as an event. */
function start(file: string, args: readonly string[], options: SpawnOptions): ChildProcess {
  try {
    // Loaded when first used: net and streams come with it, and a start needs none of them.
    return process.getBuiltinModule("node:child_process").spawn(file, args, options);
  } catch (error) {
    throw fileFailure(error, "starting a program", file);
  }
}

/** Starts a program with an argument list, never through a shell. */
export function run(file: string, args: readonly string[], options: RunOptions = {}): Running {
  const spawnOptions: SpawnOptions = {
    stdio: [options.stdin ?? "ignore", options.stdout ?? "ignore", "pipe"],
    env: { PATH: process.env.PATH ?? "/usr/bin:/bin", LC_ALL: "C", ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.session ? { detached: true } : {}),
  };
  const child = start(file, args, spawnOptions);
  let stderr = "";
  child.stderr?.setEncoding("utf8").on("data", (chunk: string) => {
    stderr = (stderr + chunk).slice(-STDERR_KEPT);
    options.onStderr?.(chunk);
  });
  const abort = () => child.kill("SIGKILL");
  const ended = new Promise<void>((resolve, reject) => {
    child.on("error", (cause) => reject(new Failure("E_PROGRAM", `${file} cannot be started`, { cause })));
    child.on("close", (status, killedBy) => {
      if (status === 0 || (status !== null && status === options.goodStatus)) return resolve();
      const said = escapeText(stderr.trim().split("\n").slice(-3).join("; "));
      reject(
        new Failure(
          "E_PROGRAM",
          `${file} ${killedBy ? `was ended by ${killedBy}` : `failed with status ${status}`}${said ? `: ${said}` : ""}`,
        ),
      );
    });
  });
  options.signal?.addEventListener("abort", abort, { once: true });
  const finished = ended.finally(() => options.signal?.removeEventListener("abort", abort));
  // Whoever waits sees the rejection; without a waiter (its output alone was of interest) it is no crash.
  finished.catch(() => {});
  return {
    child,
    finished,
    kill: async () => {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
      await finished.catch(() => {});
    },
  };
}

/** Signals a program that has a session of its own, and all that it started and that did not leave its group. */
export function signalGroup({ child }: Running, signal: NodeJS.Signals): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // It is ending.
  }
}

/** Runs a program to its end and returns its standard output as text. */
export async function capture(file: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const running = run(file, args, { ...options, stdout: "pipe" });
  let output = "";
  running.child.stdout?.setEncoding("utf8").on("data", (chunk: string) => (output += chunk));
  await running.finished;
  return output;
}

/** What programs say of an error, in the C locale that they are started with: strerror(3), and GNU tar's own words. */
const ERRNO_WORDS = [
  ["No space left on device", "ENOSPC"],
  // GNU tar's words for a write that a full disk cut short.
  ["Wrote only ", "ENOSPC"],
  ["Disk quota exceeded", "EDQUOT"],
  ["Read-only file system", "EROFS"],
  ["Input/output error", "EIO"],
  ["Permission denied", "EACCES"],
] as const;

/**
 * The failure of a file operation that a program was started for: told from what it said last. Undefined where that
 * names no error of a file system.
 */
export function saidFailure(error: unknown, doing: string, path: string): Failure | undefined {
  if (!(error instanceof Failure)) return fileFailure(error, doing, path);
  const code = ERRNO_WORDS.find(([words]) => error.code === "E_PROGRAM" && error.what.includes(words))?.[1];
  return code && fileFailure(Object.assign(new Error(error.what), { code }), doing, path);
}

/** A program in a session of its own, that goes on when we end. Its standard error is ours. */
export interface Beside {
  readonly pid: number;
  /** Ends its standard input after this text; resolves to what it writes until it closes its standard output. */
  tell(text: string): Promise<{ said: string; status: Promise<number> }>;
  /** From here on nobody waits for its end. */
  leave(): void;
  kill(): void;
}

/** Starts a program, with our environment. Throws E_PROGRAM where it cannot be started. */
export function startBeside(file: string, args: readonly string[]): Beside {
  const child = start(file, args, { stdio: ["pipe", "pipe", "inherit"], detached: true });
  const { pid, stdin, stdout } = child;
  if (pid === undefined || stdin === null || stdout === null) {
    child.on("error", () => {});
    throw new Failure("E_PROGRAM", `${file} cannot be started`, {
      mend: "check that the file is there and executable",
    });
  }
  let said = "";
  const status = new Promise<number>((resolve) =>
    child.on("exit", (code, signal) => resolve(code ?? 128 + (signal === null ? 0 : osConstants.signals[signal]))),
  );
  const silent = new Promise<void>((resolve) => stdout.on("close", resolve));
  stdout.setEncoding("utf8").on("data", (chunk: string) => (said += chunk));
  // It may end without having read what it is told: its status says why.
  stdin.on("error", () => {});
  return {
    pid,
    tell: async (text) => {
      stdin.end(text);
      await silent;
      return { said, status };
    },
    leave: () => child.unref(),
    kill: () => void child.kill("SIGKILL"),
  };
}
