/** Directories: what other owners cost. */
import { join } from "node:path";
import { rootlingWords } from "../support/cli.ts";
import { shellWord } from "../support/command.ts";
import { type Bed, type Case, OURS, ratioBar } from "./case.ts";

const PLAIN = "without id maps";

/** The blobs are in the cache, so that it is the tree that is measured. */
export function mappedDirCase(bed: Bed): Case {
  const output = shellWord(join(bed.work, "out"));
  const sync = bed.onDisk ? `sync -f ${shellWord(bed.work)}` : "true";
  const line = (...words: string[]) => {
    const all = ["import", `docker://${bed.registry}/work:1`, "-o", join(bed.work, "out"), "--format", "dir", ...words];
    return `${rootlingWords(...all)
      .map(shellWord)
      .join(" ")} && ${sync}`;
  };
  const before = `mkdir -p ${shellWord(bed.work)} && rm -rf ${output}`;
  return {
    name: "dir-id-maps",
    about: "four layers, 800 MB in 17,000 names: from the cache to a directory, all owners others than the image's",
    repetitions: 5,
    warmups: 1,
    subjects: [
      { name: OURS, before, run: line("--idmap", "0:100000:65536") },
      { name: PLAIN, before, run: line() },
    ],
    bars: [ratioBar("wall", PLAIN, 1.2), ratioBar("cpu", PLAIN, 1.2)],
  };
}
