/** A tar file of a root file system, or the same from standard input: one layer, no configuration. */
import { fstatSync } from "node:fs";
import { basename } from "node:path";
import { interruption } from "../../base/context.ts";
import type { SourceImage } from "../types.ts";
import { openRegular, readChunks, readStart } from "./files.ts";
import type { OpenContext } from "./source.ts";
import { openOnce, openStream, rootAtStart, START_BYTES } from "./stream.ts";

const ENDINGS = /(\.tar)?\.(tar|tgz|gz|tbz2?|bz2|txz|xz|tzst|zst|zstd)$/;

/** Opens the file; the digest of its bytes is the identity of the image. */
export async function openTarball(file: string, context: OpenContext, label = basename(file)): Promise<SourceImage> {
  const { handle, size } = await openRegular(file);
  await handle.close();
  const root = await rootAtStart(await readStart(file, START_BYTES), label);
  return openStream(
    {
      name: label.replace(ENDINGS, ""),
      label,
      size,
      ...(root === undefined ? {} : { root }),
      open: () => readChunks(file),
      again: "same",
    },
    context,
  );
}

const STANDARD_INPUT = "standard input";

/** Opens standard input. A file there can be read again like any other; anything else only once. */
export async function openStandardInput(context: OpenContext): Promise<SourceImage> {
  if (fstatSync(0).isFile()) return openTarball("/proc/self/fd/0", context, "stdin");
  // Not by reads of descriptor 0: whoever shares the pipe with us may have made it non-blocking, Node itself too.
  const input = process.stdin;
  // Whoever writes into the pipe may be silent for long.
  const interrupt = () => void input.destroy(interruption(context.signal));
  context.signal.addEventListener("abort", interrupt, { once: true });
  const close = async () => {
    context.signal.removeEventListener("abort", interrupt);
    input.destroy();
  };
  return openOnce({ name: "stdin", label: STANDARD_INPUT, close }, input, context);
}
