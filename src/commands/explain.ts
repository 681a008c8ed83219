/** `rootling explain`: puts the executor's record of a failed step, on standard input, into words. */
import { readFileSync } from "node:fs";
import { Failure } from "../base/errors.ts";
import { explain } from "../boot/explain.ts";
import { fromRecord } from "../plan/wire.ts";
import { type Cli, newCommand } from "./cli.ts";

export const define = (cli: Cli) =>
  newCommand("explain", "Put a failed step into words. The executor starts it with its record on standard input.", [
    "rootling explain < record",
  ]).action(() => {
    const failure = fromRecord(readFileSync(0));
    if (failure === undefined) {
      throw new Failure("E_USAGE", "standard input is not a record of the executor", {
        mend: "the executor starts this command by itself",
      });
    }
    // The executor ends with the payload's status; this process only speaks.
    cli.report(explain(failure));
  });
