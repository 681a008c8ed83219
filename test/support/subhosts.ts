/** Subhosts of tests: a directory with a configuration and its mount points. */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Box } from "./boxes.ts";

export interface TestSubhost {
  readonly name: string;
  readonly directory: string;
  readonly conf: string;
  /** What it has of its own. */
  readonly upper: string;
}

/** Writes a file that a root has, with the directories above it. */
export function place(root: string, path: string, text: string, mode = 0o755): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text, { mode });
}

/** Makes BASE with its mount points; `lines` follow BASE=. in the configuration. */
export function makeSubhost(box: Box, name: string, lines: readonly string[]): TestSubhost {
  const directory = join(box.scratch, name);
  for (const part of ["root", "work", "live"]) mkdirSync(join(directory, part), { recursive: true, mode: 0o755 });
  const conf = join(directory, `${name}.conf`);
  writeFileSync(conf, `${["BASE=.", ...lines].join("\n")}\n`);
  return { name, directory, conf, upper: join(directory, "root") };
}
