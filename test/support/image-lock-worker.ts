/** Takes a lock many times; while it has it, a file that only one may make exists. Dies with the lock if told to. */
import { rmSync, writeFileSync } from "node:fs";
import { lock } from "../../src/store/lock.ts";

const [path = "", rounds = "1", dies = ""] = process.argv.slice(2);
for (let round = 0; round < Number(rounds); round++) {
  const held = await lock(path, new AbortController().signal, () => {});
  // Fails, and the worker with it, if another one is in here.
  writeFileSync(`${path}-inside`, String(process.pid), { flag: "wx" });
  await new Promise((resolve) => setTimeout(resolve, 1));
  rmSync(`${path}-inside`);
  if (dies !== "") process.kill(process.pid, "SIGKILL");
  held.release();
}
