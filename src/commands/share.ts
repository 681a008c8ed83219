/** `rootling share`: a directory of the host in a container that runs. */
import { realpathSync } from "node:fs";
import { join, resolve } from "node:path";
import { Failure, fileFailure } from "../base/errors.ts";
import { makePrivateDirectory } from "../base/files.ts";
import { ourselves, ownerName } from "../base/owner.ts";
import { carryOut, planShare } from "../boot/boot.ts";
import { runtimePaths } from "../store/layout.ts";
import { refuseIdleFlags, showPlan, withDryRun } from "./boot-words.ts";
import { type Cli, newCommand } from "./cli.ts";
import { findRun } from "./exec.ts";
import { hiddenPaths } from "./launching.ts";

interface Options {
  dryRun?: boolean;
  json?: boolean;
}

export const define = (cli: Cli) =>
  withDryRun(
    newCommand("share", "Bind a directory of the host at the same path in a container that runs, until that ends.", [
      "rootling share /srv/mail mta",
    ]),
  )
    .argument("<path>", "a file or directory of the host")
    .argument("<name>", "a container of root's, such as a subhost, or its pid")
    .action(async (path: string, name: string, options: Options) => {
      refuseIdleFlags(options);
      await share(cli, path, name, options);
    });

/** Throws E_NOT_FOUND where one of the two is not there, E_DENIED for others than root. */
export async function share(cli: Cli, path: string, name: string, options: Options): Promise<void> {
  if (process.geteuid?.() !== 0)
    throw new Failure("E_DENIED", "only root shares into a container that runs", {
      mend: "use sudo, or --mount at its start",
    });
  const { inside } = findRun(cli, name);
  const context = cli.context("none");
  const plan = planShare({ ...inside, origin: name }, realPath(path), hiddenPaths(context.settings));
  if (options.dryRun) return showPlan(cli, plan, options.json);
  const { wires } = runtimePaths(cli.layout);
  makePrivateDirectory(wires);
  await carryOut(context, plan, join(wires, ownerName(ourselves())));
}

function realPath(path: string): string {
  try {
    return realpathSync(resolve(path));
  } catch (error) {
    throw fileFailure(error, "opening what is shared", path);
  }
}
