/** The tree as one archive, plain or compressed: a tar, or an initial RAM file system. The same image always gives the same bytes. */
import { rm } from "node:fs/promises";
import { fileBeside } from "../../base/destination.ts";
import { moveIntoPlace } from "../../base/files.ts";
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
    const temporary = await fileBeside(output, force);
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
