/** How much space a directory takes. */
import { existsSync } from "node:fs";
import { requireProgram, run } from "./process.ts";

/** Bytes on disk, as du(1) counts them: hard links once. */
export async function bytesOn(path: string): Promise<number> {
  if (!existsSync(path)) return 0;
  const du = requireProgram("du", "coreutils");
  const running = run(du, ["--summarize", "--block-size=1", "--one-file-system", path], { stdout: "pipe" });
  let said = "";
  running.child.stdout?.setEncoding("utf8").on("data", (chunk: string) => (said += chunk));
  // What a container closed to its owner cannot be counted: du says so, and counts the rest.
  await running.finished.catch(() => {});
  return Number.parseInt(said, 10) || 0;
}
