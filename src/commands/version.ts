/** `rootling version` */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Cli, newCommand, showJson } from "./cli.ts";

/** The version of the package that this file belongs to, bundled or not. */
export function packageVersion(): string {
  for (const above of ["..", "../.."]) {
    try {
      const manifest = JSON.parse(readFileSync(join(import.meta.dirname, above, "package.json"), "utf8"));
      if (manifest.name === "rootling") return manifest.version;
    } catch {
      // Not this directory: the bundle and the sources lie at different depths.
    }
  }
  return "unknown";
}

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
