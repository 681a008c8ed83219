/** All that is generated. */
import { completions } from "./completion.ts";
import { manPages, overlayPages } from "./man.ts";
import { pages } from "./pages.ts";
import { enrootWords, overlayWords, rootlingWords, virtBootstrapWords } from "./words.ts";

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
  const virtBootstrap = virtBootstrapWords();
  return new Map([
    ...pages(rootling, enroot, virtBootstrap),
    ...manPages(rootling, enroot, virtBootstrap),
    ...overlayPages(overlayWords()),
    ...completions([rootling, enroot]),
  ]);
}
