/** All that is generated. */
import { completions } from "./completion.ts";
import { manPages } from "./man.ts";
import { pages } from "./pages.ts";
import { enrootWords, rootlingWords } from "./words.ts";

/** Directories that hold nothing else. */
export const generatedDirectories = [
  "docs/reference/commands",
  "share/man",
  "share/bash-completion",
  "share/zsh",
  "share/fish",
  "share/compat",
];

/** Texts by their paths in the checkout. */
export async function generatedFiles(): Promise<ReadonlyMap<string, string>> {
  const rootling = await rootlingWords();
  const enroot = enrootWords();
  return new Map([...pages(rootling, enroot), ...manPages(rootling, enroot), ...completions([rootling, enroot])]);
}
