/** A real pseudo terminal for a test: types, waits for what is shown, looks at the modes. */
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { rootlingWords } from "./cli.ts";
import type { TestUser } from "./users.ts";

export interface Modes {
  canonical: boolean;
  echo: boolean;
  signals: boolean;
}

interface Event {
  pid?: number;
  output?: string;
  modes?: Modes;
  attributes?: string;
  exit?: number;
}

const PATIENCE = 30_000;

export class Terminal {
  /** All that was shown. */
  output = "";
  /** Exit status, or minus the signal. */
  status: number | undefined;
  pid = 0;
  /** All that termios(3) knows, as text to be compared: before the program began, and when modes were last asked for. */
  readonly attributes = { before: "", last: "" };
  readonly #child: ChildProcess;
  #modes: Modes | undefined;
  #seen = 0;

  private constructor(child: ChildProcess) {
    this.#child = child;
    let rest = "";
    child.stdin?.on("error", () => {});
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) this.#take(JSON.parse(line) as Event);
    });
  }

  /** Starts `argv` as the user, as the leader of the terminal's session. */
  static async start(user: TestUser, argv: readonly string[], size: [rows: number, columns: number] = [24, 80]) {
    const script = join(import.meta.dirname, "session.py");
    const words = ["python3", script, ...size.map(String), ...user.words(argv)];
    const child = spawn(words[0] ?? "", words.slice(1), {
      stdio: ["pipe", "pipe", "inherit"],
      cwd: user.home,
      env: { ...user.env },
    });
    const terminal = new Terminal(child);
    await terminal.until("the start", () => terminal.pid !== 0);
    return terminal;
  }

  /** Starts `rootling WORDS`. */
  static rootling = (user: TestUser, words: readonly string[], size?: [rows: number, columns: number]) =>
    Terminal.start(user, rootlingWords(...words), size);

  #take(event: Event): void {
    if (event.pid !== undefined) this.pid = event.pid;
    if (event.attributes !== undefined) {
      this.attributes.last = event.attributes;
      this.attributes.before ||= event.attributes;
    }
    if (event.output !== undefined) this.output += Buffer.from(event.output, "base64").toString("latin1");
    if (event.modes !== undefined) this.#modes = event.modes;
    if (event.exit !== undefined) this.status = event.exit;
  }

  #tell(command: object): void {
    this.#child.stdin?.write(`${JSON.stringify(command)}\n`);
  }

  async until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
    const end = performance.now() + PATIENCE;
    while (!(await holds())) {
      if (performance.now() > end) throw new Error(`never came: ${what}; shown was: ${JSON.stringify(this.output)}`);
      await sleep(20);
    }
  }

  send(text: string): void {
    this.#tell({ send: text });
  }

  resize(rows: number, columns: number): void {
    this.#tell({ size: [rows, columns] });
  }

  /** Its other end goes, as when a window is closed. */
  hangUp(): void {
    this.#tell({ hangup: true });
  }

  /** Waits for something to be shown after what was waited for last. */
  async expect(pattern: RegExp): Promise<RegExpExecArray> {
    let found: RegExpExecArray | null = null;
    await this.until(String(pattern), () => {
      found = pattern.exec(this.output.slice(this.#seen));
      return found !== null;
    });
    const match = found as unknown as RegExpExecArray;
    this.#seen += match.index + match[0].length;
    return match;
  }

  /** Types again and again: a shell that is about to hand its terminal to a job takes what comes too early itself. */
  async sendUntil(text: string, pattern: RegExp): Promise<void> {
    let next = 0;
    await this.until(String(pattern), () => {
      const found = pattern.exec(this.output.slice(this.#seen));
      if (found === null && performance.now() >= next) {
        this.send(text);
        next = performance.now() + 500;
      }
      if (found !== null) this.#seen += found.index + found[0].length;
      return found !== null;
    });
  }

  async modes(): Promise<Modes> {
    this.#modes = undefined;
    this.#tell({ modes: true });
    await this.until("the modes", () => this.#modes !== undefined);
    return this.#modes as unknown as Modes;
  }

  /** Waits for the end of the program; gives its status. */
  async end(): Promise<number> {
    await this.until("the end", () => this.status !== undefined);
    return this.status ?? -1;
  }

  close(): void {
    this.#child.stdin?.end();
  }
}
