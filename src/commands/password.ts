/** Passwords from people and pipes. */
import { closeSync, openSync, writeSync } from "node:fs";
import { ReadStream } from "node:tty";
import { interruption, throwIfAborted } from "../base/context.ts";
import { Failure } from "../base/errors.ts";
import { escapeText } from "../base/text.ts";

const LONGEST = 64 << 10;

/** All of a stream but the line end. Throws E_USAGE, naming the flag that asked for it, for none or too much. */
export async function readPasswordFrom(stream: AsyncIterable<Buffer | string>, where: string): Promise<string> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of stream) {
    parts.push(Buffer.from(part as string));
    size += part.length;
    if (size > LONGEST) break;
  }
  const password = Buffer.concat(parts)
    .toString("utf8")
    .replace(/\r?\n$/, "");
  if (password !== "" && size <= LONGEST && !/[\r\n]/.test(password)) return password;
  throw new Failure("E_USAGE", "standard input holds no password", {
    where,
    mend: "it is to be one line",
  });
}

/** Asks for a new password, and once more for the same. Throws E_USAGE where the two differ. */
export async function askTwice(question: string, where: string, signal: AbortSignal): Promise<string | undefined> {
  const password = await askOnTerminal(question, signal);
  if (password === undefined || password === (await askOnTerminal("The same again: ", signal))) return password;
  throw new Failure("E_USAGE", "the two passwords differ", { where, mend: "try again" });
}

/** Asks on the controlling terminal, without echo; undefined where there is none. */
export async function askOnTerminal(question: string, signal: AbortSignal): Promise<string | undefined> {
  let terminal: number;
  try {
    terminal = openSync("/dev/tty", "r+");
  } catch {
    return undefined;
  }
  let stream: ReadStream | undefined;
  const ask = () => {
    // Without echo from here on: what is typed ahead is not shown either.
    stream?.setRawMode(true);
    writeSync(terminal, escapeText(question));
  };
  let again: NodeJS.Timeout | undefined;
  // Once however often it is called. Where there is nobody to continue us, we are not stopped at all: then it asks, too.
  const askAgain = () => {
    clearTimeout(again);
    again = setTimeout(ask, 100);
  };
  try {
    stream = new ReadStream(openSync("/dev/tty", "r"));
    process.on("SIGCONT", askAgain);
    ask();
    const password = await typedLine(stream, askAgain, signal);
    if (password !== "") return password;
    throw new Failure("E_USAGE", "no password was given", { where: question.trim().replace(/:$/, "") });
  } finally {
    process.off("SIGCONT", askAgain);
    clearTimeout(again);
    stream?.setRawMode(false);
    stream?.destroy();
    writeSync(terminal, "\n");
    closeSync(terminal);
  }
}

/** Keys as a terminal in raw mode sends them (termios(3)): ^C, ^D, ^U, ^Z and backspace do what they always do. */
function typedLine(stream: ReadStream, askAgain: () => void, signal: AbortSignal): Promise<string> {
  throwIfAborted(signal);
  return new Promise((resolve, reject) => {
    let typed: string[] = [];
    signal.addEventListener("abort", () => reject(interruption(signal)), { once: true });
    stream.on("error", reject);
    stream.setEncoding("utf8").on("data", (keys: string) => {
      for (const key of keys) {
        if (key === "\r" || key === "\n" || key === "\u0004") return resolve(typed.join(""));
        if (key === "\u0003") return reject(interruption(signal));
        if (key === "\u001a") {
          // As the terminal would do it: the whole group, with the echo as it was.
          stream.setRawMode(false);
          process.kill(0, "SIGTSTP");
          askAgain();
        } else if (key === "\u007f" || key === "\b") typed.pop();
        else if (key === "\u0015") typed = [];
        else if (typed.length < LONGEST) typed.push(key);
      }
    });
  });
}
