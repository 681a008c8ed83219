/** Programs that make an image now: what they write is read as it comes, and what they complain of is told. */
import { throwIfAborted } from "../../base/context.ts";
import { Failure } from "../../base/errors.ts";
import { type Running, run, signalGroup } from "../../base/process.ts";
import { escapeText } from "../../base/text.ts";
import type { OpenContext } from "./source.ts";

/** What is kept of standard error. */
const SAID_BYTES = 64 << 10;

/** How long a program may take to clear away what it has made. */
const PATIENCE_SECONDS = 20;

export interface MakingOptions {
  /** What people call it. */
  readonly title: string;
  readonly env: Record<string, string>;
  /** Which lines of its standard error say what went wrong; others are for who watches. */
  readonly complaint: RegExp;
  /** The Failure for what it said, which is escaped: that it failed, and its complaints. */
  failure(said: string): Failure;
}

/**
 * A program at work. It is asked to end, not killed: it may have mounts and files of other owners to remove. With it
 * what it has started, which it would wait for.
 */
export class Making {
  readonly #running: Running;
  readonly #options: MakingOptions;
  readonly #signal: AbortSignal;
  readonly #stop = () => void signalGroup(this.#running, "SIGTERM");
  #said = "";

  constructor(program: string, words: readonly string[], options: MakingOptions, { signal }: OpenContext) {
    throwIfAborted(signal);
    this.#options = options;
    this.#signal = signal;
    const onStderr = (chunk: string) => void (this.#said = (this.#said + chunk).slice(-SAID_BYTES));
    this.#running = run(program, words, { stdout: "pipe", env: options.env, session: true, onStderr });
    signal.addEventListener("abort", this.#stop, { once: true });
  }

  /** Its standard output, to its good end. Throws E_INTERRUPTED, or the failure that the options make. */
  async *output(): AsyncGenerator<Buffer> {
    const { stdout } = this.#running.child;
    if (stdout === null) throw new Failure("E_INTERNAL", "a program without standard output");
    try {
      for await (const chunk of stdout) yield chunk as Buffer;
      await this.#running.finished;
    } catch (error) {
      throwIfAborted(this.#signal);
      const said = this.#complaints();
      const { title } = this.#options;
      throw this.#options.failure(said === "" ? (error as Error).message : `${title} failed: ${said}`);
    }
  }

  /** Resolves once it has ended well; nothing is made of what it writes. */
  async finished(): Promise<void> {
    for await (const _ of this.output());
  }

  #complaints(): string {
    const lines = this.#said.split("\n").filter((line) => this.#options.complaint.test(line));
    return escapeText([...new Set(lines)].slice(0, 3).join("; ").slice(0, 600));
  }

  /** Ends it, if it has not; resolves once it is gone. */
  async end(): Promise<void> {
    this.#signal.removeEventListener("abort", this.#stop);
    const { child, finished } = this.#running;
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.stdout?.destroy();
    this.#stop();
    const late = setTimeout(() => signalGroup(this.#running, "SIGKILL"), PATIENCE_SECONDS * 1000);
    await finished.catch(() => {});
    clearTimeout(late);
  }
}
