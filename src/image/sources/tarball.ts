/** A tar file of a root file system: one layer, no configuration. */

import { createHash } from "node:crypto";
import { basename } from "node:path";
import { throwIfAborted } from "../../base/context.ts";
import { verified } from "../digest.ts";
import type { Digest, SourceImage } from "../types.ts";
import { openRegular, readChunks } from "./files.ts";
import type { OpenContext } from "./source.ts";

/** Opens the file and takes its digest, which is the identity of the image. */
export async function openTarball(file: string, context: OpenContext): Promise<SourceImage> {
  const { handle, size } = await openRegular(file);
  await handle.close();
  const label = basename(file);
  const task = context.progress.task(`read ${file}`, `read ${label}`, size);
  const hash = createHash("sha256");
  for await (const chunk of readChunks(file)) {
    throwIfAborted(context.signal);
    hash.update(chunk);
    task.advance(chunk.length);
  }
  task.done();
  const digest = `sha256:${hash.digest("hex")}` as Digest;
  const open = async () => verified(readChunks(file), digest, size, file);
  return {
    digest,
    name: label.replace(/(\.tar)?\.(tar|tgz|gz|zst|zstd)$/, ""),
    run: {},
    platform: context.platform,
    layers: [{ digest, size, label, open }],
    close: async () => {},
  };
}
