/** Containers that run beside a test. */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { Box } from "./boxes.ts";
import { rootlingWords } from "./cli.ts";
import { background, type Outcome } from "./command.ts";

export interface Beside {
  /** rootling itself: the payload in place, or its monitor. */
  readonly pid: number;
  /** The payload, seen from here. */
  readonly inside: number;
  readonly ended: Promise<Outcome>;
  kill(signal: NodeJS.Signals): void;
  /** Ends the payload, and waits until the container is gone. */
  end(): Promise<Outcome>;
}

const CHILDREN = (pid: number): number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean).map(Number);

/** The deepest first descendant, or the process itself. */
function innermost(pid: number): number {
  const [child] = CHILDREN(pid);
  return child === undefined ? pid : innermost(child);
}

/** Runs `rootling WORDS… sh -c SCRIPT` until it is ended; resolves once the script says `ready`. */
export async function startBeside(box: Box, words: readonly string[], script = "echo ready; cat"): Promise<Beside> {
  let said = "";
  const argv = box.user.words(rootlingWords(...words, "sh", "-c", script));
  const running = background(argv, {
    env: box.user.env,
    cwd: box.user.home,
    keepInput: true,
    onStart: (child) => child.stdout?.on("data", (chunk: Buffer) => (said += chunk)),
  });
  for (let tries = 0; !said.includes("ready"); tries++) {
    if (tries > 600 || !running.alive())
      throw new Error(`${words.join(" ")} did not start: ${(await running.end("SIGKILL")).stderr}`);
    await sleep(50);
  }
  return {
    pid: running.pid,
    inside: innermost(running.pid),
    ended: running.ended,
    kill: running.kill,
    end: () => {
      running.closeInput();
      return running.ended;
    },
  };
}
