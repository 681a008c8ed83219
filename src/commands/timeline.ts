/** `rootling timeline`: draws the executor's record of a boot, on standard input, into the file that it names. */
import { readFileSync } from "node:fs";
import { Failure } from "../base/errors.ts";
import { writeFileSafely } from "../base/files.ts";
import { drawTimeline, readTimeline } from "../boot/timeline.ts";
import { type Cli, newCommand } from "./cli.ts";

export const define = (_cli: Cli) =>
  newCommand(
    "timeline",
    "Draw where the time of a boot went. The executor starts it with its record on standard input.",
    ["rootling timeline < record"],
  ).action(async () => {
    const timeline = readTimeline(readFileSync(0));
    if (timeline === undefined) {
      throw new Failure("E_USAGE", "standard input is not a record of the executor", {
        mend: "use `rootling start --timeline FILE`",
      });
    }
    await writeFileSafely(timeline.file, drawTimeline(timeline));
  });
