/** `rootling plan run|start|import …`: the same as the command with --dry-run. */
import { Failure } from "../base/errors.ts";
import { bindOptionalValues, type Cli, type CommandFile, newCommand } from "./cli.ts";

const PLANNED: Readonly<Record<string, () => Promise<CommandFile>>> = {
  run: () => import("./run.ts"),
  start: () => import("./start.ts"),
  stop: () => import("./stop.ts"),
  exec: () => import("./exec.ts"),
  import: () => import("./import.ts"),
  create: () => import("./create.ts"),
  remove: () => import("./remove.ts"),
  copy: () => import("./copy.ts"),
  commit: () => import("./commit.ts"),
  push: () => import("./push.ts"),
  bundle: () => import("./bundle.ts"),
  reset: () => import("./reset.ts"),
  prune: () => import("./prune.ts"),
  boot: () => import("./boot.ts"),
  share: () => import("./share.ts"),
  diskfile: () => import("./diskfile.ts"),
  snapshot: () => import("./snapshot.ts"),
  restore: () => import("./restore.ts"),
};

export const define = (cli: Cli) =>
  newCommand("plan", "Print the steps of a command, each with who asked for it; nothing is changed.", [
    "rootling plan run",
    "rootling plan remove web image:debian:12",
    "rootling plan start --rw web",
    "rootling plan --json run debian:12 ls",
  ])
    .option("--json", "as JSON")
    .argument("<command>", Object.keys(PLANNED).join(", "))
    .argument("[words...]", "the words that it would get")
    .passThroughOptions()
    .action(async (name: string, words: string[], { json }: { json?: boolean }) => {
      const load = Object.hasOwn(PLANNED, name) ? PLANNED[name] : undefined;
      if (load === undefined) {
        throw new Failure("E_USAGE", `there is no plan of ${JSON.stringify(name)}`, {
          mend: `give one of ${Object.keys(PLANNED).join(", ")}`,
        });
      }
      const command = (await load()).define(cli);
      const given = ["--dry-run", ...(json ? ["--json"] : []), ...words];
      await command.parseAsync(bindOptionalValues(command, given), { from: "user" });
    });
