/** Runs a program for a test and says everything about how it went. */
import { type ChildProcess, spawn } from "node:child_process";

export interface Outcome {
  /** Exit status; null when a signal ended it. */
  status: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
  /** Standard output as it came. */
  bytes: Buffer;
}

export interface CommandOptions {
  /** The whole environment; the test's own when not given. */
  env?: Record<string, string>;
  cwd?: string;
  input?: string | Buffer;
  /** Standard input stays open after `input`. */
  keepInput?: boolean;
  /** Milliseconds after which it gets SIGKILL. */
  timeout?: number;
  /** Called with the process as soon as it runs, for tests that signal it. */
  onStart?: (child: ChildProcess) => void;
}

const DEFAULT_TIMEOUT = 120_000;

/** Runs `argv` to its end, whatever that is. Rejects only where it cannot be started. */
export function command(argv: readonly string[], options: CommandOptions = {}): Promise<Outcome> {
  const [file, ...args] = argv;
  if (file === undefined) throw new Error("an empty command");
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, {
      stdio: ["pipe", "pipe", "pipe"],
      env: options.env ?? process.env,
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => err.push(chunk));
    // A program that does not read its input is no failure of the test.
    child.stdin.on("error", () => {});
    if (options.keepInput) child.stdin.write(options.input ?? "");
    else child.stdin.end(options.input ?? "");
    const timer = setTimeout(() => child.kill("SIGKILL"), options.timeout ?? DEFAULT_TIMEOUT);
    child.on("error", (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.on("close", (status, signal) => {
      clearTimeout(timer);
      const bytes = Buffer.concat(out);
      resolve({ status, signal, stdout: bytes.toString(), stderr: Buffer.concat(err).toString(), bytes });
    });
    options.onStart?.(child);
  });
}

/** Runs `argv` and returns its standard output; throws, quoting what it said, unless it exits with 0. */
export async function must(argv: readonly string[], options: CommandOptions = {}): Promise<string> {
  const outcome = await command(argv, options);
  if (outcome.status === 0) return outcome.stdout;
  throw new Error(
    `${argv.join(" ")}: ${outcome.signal ?? `status ${outcome.status}`}\n${outcome.stderr}${outcome.stdout}`,
  );
}

/** A word for the shell, quoted where it has to be. */
export const shellWord = (word: string): string =>
  /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;

export interface Background {
  readonly pid: number;
  readonly ended: Promise<Outcome>;
  alive(): boolean;
  kill(signal: NodeJS.Signals): void;
  closeInput(): void;
  /** Sends the signal and waits for the end. */
  end(signal: NodeJS.Signals): Promise<Outcome>;
}

/** Runs `argv` beside the test. */
export function background(argv: readonly string[], options: CommandOptions = {}): Background {
  let child: ChildProcess | undefined;
  let over = false;
  const onStart = (started: ChildProcess) => {
    child = started;
    options.onStart?.(started);
  };
  const ended = command(argv, { ...options, onStart }).finally(() => (over = true));
  const kill = (signal: NodeJS.Signals) => void child?.kill(signal);
  return {
    pid: child?.pid ?? -1,
    ended,
    alive: () => !over,
    kill,
    closeInput: () => void child?.stdin?.end(),
    end: (signal) => {
      kill(signal);
      return ended;
    },
  };
}
