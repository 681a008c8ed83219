/** `rootling version` */
import { packageVersion } from "../base/package.ts";
import { type Cli, newCommand, showJson } from "./cli.ts";

export const define = (cli: Cli) =>
  newCommand("version", "Show the versions of rootling, Node and the kernel.", [
    "rootling version",
    "rootling version --json",
  ])
    .option("--json", "as JSON")
    .action(async ({ json }: { json?: boolean }) => {
      const { release } = await import("node:os");
      const versions = { rootling: packageVersion(), node: process.version, kernel: release() };
      cli.print(
        json ? showJson(versions) : `rootling ${versions.rootling} (Node ${versions.node}, Linux ${versions.kernel})`,
      );
    });
