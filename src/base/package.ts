/** The package that this file belongs to: where it is, and its version. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Failure } from "./errors.ts";

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
