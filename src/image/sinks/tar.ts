/** The tar sink: the merged tree as one archive, plain or compressed. The same image always gives the same bytes. */
import { open, rm } from "node:fs/promises";
import { checkOutput } from "../../base/destination.ts";
import { fileFailure } from "../../base/errors.ts";
import { clearTemporaries, moveIntoPlace, temporaryName } from "../../base/files.ts";
import type { OpenSink } from "./sink.ts";
import { parseTarCompression, TarFile } from "./tar-file.ts";

export interface TarOptions {
  output: string;
  /** `none`, `gzip:6`, `zstd:3` and the like. */
  comp: string;
  force: boolean;
}

/** A sink that writes the file `output`. */
export function tarSink({ output, comp, force }: TarOptions): OpenSink {
  const compression = parseTarCompression(comp);
  return async () => {
    await checkOutput(output, "file", force);
    await clearTemporaries(output);
    const temporary = temporaryName(output);
    await createFile(temporary);
    const file = new TarFile(temporary, compression);
    return {
      entry: (entry) => file.entry(entry),
      data: (slice) => file.data(slice),
      end: () => file.end(),
      flush: () => file.flush(),
      commit: async (root) => {
        await file.commit(root);
        await moveIntoPlace(temporary, output, force);
      },
      abort: async () => {
        await file.abort();
        await rm(temporary, { force: true }).catch(() => {});
      },
    };
  };
}

/** Makes the file, so that a place that cannot be written to is told before any work. */
async function createFile(path: string): Promise<void> {
  try {
    await (await open(path, "wx", 0o644)).close();
  } catch (error) {
    throw fileFailure(error, "creating the output", path);
  }
}
