/** The tree as one archive, plain or compressed: a tar, or an initial RAM file system. The same image always gives the same bytes. */
import { open, rm } from "node:fs/promises";
import { checkOutput } from "../../base/destination.ts";
import { fileFailure } from "../../base/errors.ts";
import { clearTemporaries, moveIntoPlace, temporaryName } from "../../base/files.ts";
import { CpioFormat } from "../cpio-write.ts";
import { tarFormat } from "../tar-write.ts";
import type { ArchiveFormat } from "../types.ts";
import type { OpenSink } from "./sink.ts";
import { parseTarCompression, TarFile } from "./tar-file.ts";

export interface TarOptions {
  output: string;
  /** `none`, `gzip:6`, `zstd:3` and the like. */
  comp: string;
  force: boolean;
}

/** A sink that writes the file `output`. */
export const tarSink = (options: TarOptions): OpenSink => archiveSink(options, () => tarFormat);

/** The same of an initial RAM file system, of which a kernel makes its first root. */
export const initramfsSink = (options: TarOptions): OpenSink => archiveSink(options, () => new CpioFormat());

function archiveSink({ output, comp, force }: TarOptions, format: () => ArchiveFormat): OpenSink {
  const compression = parseTarCompression(comp);
  return async () => {
    await checkOutput(output, "file", force);
    await clearTemporaries(output);
    const temporary = temporaryName(output);
    await createFile(temporary);
    const file = new TarFile(temporary, compression, format());
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
