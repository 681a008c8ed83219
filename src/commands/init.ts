/** `rootling init`: what init.yml, the configuration of a guest's first process, says and does. */
import { readFileSync, statSync } from "node:fs";
import { basename } from "node:path";
import { Failure, fileFailure } from "../base/errors.ts";
import { lowerGuest } from "../boot/lower-guest.ts";
import { readInit } from "../boot/read-init.ts";
import { showPlan } from "./boot-words.ts";
import { type Cli, newCommand } from "./cli.ts";

/** Bytes; the guest's own reader takes no more. */
const LARGEST = 1 << 20;

interface Options {
  container?: string;
  overrideExec?: boolean;
  json?: boolean;
}

export const define = (cli: Cli) =>
  newCommand("init", "Check an init.yml, or print the steps that the first process of a guest takes for it.", [
    "rootling init check guest/init.yml",
    "rootling init plan guest/init.yml --container lxc-libvirt",
    "rootling init plan guest/init.yml --override-exec -- /bin/sh",
  ])
    .argument("<operation>", "check, or plan")
    .argument("<file>", "an init.yml")
    .argument("[words...]", "of plan: words behind the configured command")
    .option("--container <name>", "what starts the guest, as the variable `container` says it: lxc-libvirt, lxc, …")
    .option("--override-exec", "the words replace the configured command")
    .option("--json", "print the plan as JSON")
    .action((operation: string, file: string, words: string[], options: Options) => {
      if (operation !== "check" && operation !== "plan") {
        throw new Failure("E_USAGE", `${JSON.stringify(operation)} is no operation of init`, {
          where: "init",
          mend: "write `rootling init check FILE` or `rootling init plan FILE`",
        });
      }
      const intent = readInit(textOf(file), basename(file), { words, override: options.overrideExec ?? false });
      if (operation === "check") return;
      const environment = options.container === undefined ? [] : [`container=${options.container}`];
      showPlan(cli, lowerGuest(intent, { environment }), options.json);
    });

/** The text of an init.yml. Throws E_NOT_FOUND, E_LIMIT. */
export function textOf(file: string): string {
  try {
    if (statSync(file).size > LARGEST) throw new Failure("E_LIMIT", `larger than ${LARGEST} bytes`, { where: file });
    return readFileSync(file, "utf8");
  } catch (error) {
    throw fileFailure(error, "reading the configuration", file);
  }
}
