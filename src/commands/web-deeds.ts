/**
 * What `rootling web --allow-actions` does. A start is a process of its own: its records, locks and times name who made
 * it, and a boot runs commands of its configuration.
 */
import { join } from "node:path";
import { Failure } from "../base/errors.ts";
import { packageRoot } from "../base/package.ts";
import { type Running, type RunOptions, run, signalGroup } from "../base/process.ts";
import { escapeText } from "../base/text.ts";
import { containerPaths } from "../store/layout.ts";
import type { Deeds, Shell } from "../web/sight.ts";
import type { Cli } from "./cli.ts";
import { stopContainers } from "./stop.ts";
import { findListed } from "./web-house.ts";

/** rootling itself, in our environment. Ctrl-C on our terminal is not for it. */
function ourselvesBeside(words: readonly string[], options: RunOptions): Running {
  const env = Object.fromEntries(Object.entries(process.env).map(([name, value = ""]) => [name, value]));
  return run(join(packageRoot(), "bin/rootling"), words, { ...options, env, session: true });
}

/** Runs it to its end. Throws E_EXECUTOR with its own words. */
async function carryOut(words: readonly string[]): Promise<void> {
  let said = "";
  const { finished } = ourselvesBeside(words, { onStderr: (text) => (said = (said + text).slice(-4096)) });
  await finished.catch((cause: unknown) => {
    const lines = said.trim().split("\n").map(escapeText).join("; ");
    throw new Failure("E_EXECUTOR", lines === "" ? `rootling ${words[0]} failed` : lines, { cause });
  });
}

/** Characters of a shell's output that are kept. */
const SAID = 256 * 1024;
/** Milliseconds between asking a shell to end and killing it. */
const PATIENCE = 1000;

/** Starts `sh` inside, and keeps what it says. */
function beginShell(id: string): Shell {
  let [said, from, over] = ["", 0, false];
  const say = (text: string): void => {
    const whole = said + text;
    said = whole.slice(-SAID);
    from += whole.length - said.length;
  };
  // One pipe for both, so that they come in the order in which they were written.
  const words = ["exec", id, "sh", "-c", "exec sh 2>&1"];
  const running = ourselvesBeside(words, { stdin: "pipe", stdout: "pipe", onStderr: say });
  const { child, finished } = running;
  child.stdout?.setEncoding("utf8").on("data", say);
  // It may end before it has read what was typed.
  child.stdin?.on("error", () => {});
  const ended = finished.catch(() => {}).then(() => void (over = true));
  return {
    get said() {
      return said;
    },
    get from() {
      return from;
    },
    get over() {
      return over;
    },
    write: (line) => {
      if (over) return;
      say(`$ ${line}\n`);
      child.stdin?.write(`${line}\n`);
    },
    end: async () => {
      child.stdin?.end();
      signalGroup(running, "SIGTERM");
      const late = setTimeout(() => signalGroup(running, "SIGKILL"), PATIENCE);
      await ended;
      clearTimeout(late);
    },
  };
}

export function deedsOf(cli: Cli): Deeds {
  const { layout } = cli;
  return {
    start: async (id, writable) => {
      const { container } = await findListed(layout, id);
      if (container === undefined)
        throw new Failure("E_NOT_FOUND", `there is no container named ${id}`, { mend: "see the list of containers" });
      const picture = ["--timeline", containerPaths(layout, id).timeline];
      if (container.subhost !== undefined) await carryOut(["boot", ...picture, container.subhost.conf]);
      else await carryOut(["start", "--detach", ...picture, ...(writable ? ["--rw"] : []), id]);
    },
    stop: (id) => stopContainers({ layout, context: (mode) => cli.context(mode), print: () => {} }, [id], {}),
    shell: async (id) => {
      await findListed(layout, id);
      return beginShell(id);
    },
  };
}
