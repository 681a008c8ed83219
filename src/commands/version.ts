/** `rootling version` */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Failure } from "../base/errors.ts";
import { type Cli, newCommand, showJson } from "./cli.ts";

/** The directory of the package that this file belongs to, bundled or not. Throws E_INTERNAL if there is none. */
export function packageRoot(): string {
  for (const above of ["..", "../.."]) {
    const directory = join(import.meta.dirname, above);
    // If not this one: the bundle and the sources lie at different depths.
    if (manifestOf(directory)?.name === "rootling") return directory;
  }
  throw new Failure("E_INTERNAL", "the package's own directory is not found");
}

function manifestOf(directory: string): { name?: unknown; version?: unknown } | undefined {
  try {
    return JSON.parse(readFileSync(join(directory, "package.json"), "utf8"));
  } catch {
    return undefined;
  }
}

/** The version of the package. */
export const packageVersion = (): string => String(manifestOf(packageRoot())?.version);

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
