/** Writes what is made from the tables of commands, settings and failures: `npm run docs`. */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { generatedDirectories, generatedFiles } from "./files.ts";

const checkout = join(import.meta.dirname, "../..");
const files = await generatedFiles();
for (const directory of generatedDirectories) rmSync(join(checkout, directory), { recursive: true, force: true });
for (const [path, text] of files) {
  const file = join(checkout, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
}
