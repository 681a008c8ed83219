/** Reads one layer: stored bytes → tar → entries, verifying on the way. */
import { createHash } from "node:crypto";
import { type Context, throwIfAborted } from "../base/context.ts";
import { Failure } from "../base/errors.ts";
import type { Task } from "../base/progress.ts";
import { decompress } from "./decompress.ts";
import { limits } from "./limits.ts";
import { type TarHandler, TarReader } from "./tar-read.ts";
import type { LayerRef } from "./types.ts";

/** Bytes of an image that were read, as stored and as unpacked: a bomb may come in many small layers. */
export interface Volume {
  stored: number;
  unpacked: number;
}

export const newVolume = (): Volume => ({ stored: 0, unpacked: 0 });

/**
 * Passes the entries of a layer to `handler`; `room` is asked after each chunk for backpressure. Throws E_DIGEST when
 * the uncompressed bytes are not those of the DiffID, E_LAYER for what is no archive, E_LIMIT for a bomb.
 */
export async function readLayer(
  layer: LayerRef,
  handler: TarHandler,
  context: Context,
  task: Task,
  room: () => Promise<void> | undefined,
  volume: Volume = newVolume(),
): Promise<void> {
  const reader = new TarReader(layer.label, handler);
  const hash = layer.diffId === undefined ? undefined : createHash("sha256");
  const counted = (async function* () {
    for await (const chunk of await layer.open()) {
      volume.stored += chunk.length;
      task.advance(chunk.length);
      yield chunk;
    }
  })();
  for await (const chunk of decompress(counted, layer.label)) {
    throwIfAborted(context.signal);
    volume.unpacked += chunk.length;
    checkRatio(volume, layer.label, context);
    hash?.update(chunk);
    reader.write(chunk);
    const wait = room();
    if (wait !== undefined) await wait;
  }
  if (hash !== undefined && `sha256:${hash.digest("hex")}` !== layer.diffId) {
    throw new Failure("E_DIGEST", "the unpacked layer does not have the DiffID that the configuration promises", {
      where: layer.label,
      mend: "the image is damaged or was tampered with; ask whoever made it",
    });
  }
  reader.end(hash === undefined);
}

/** Compressed a thousandfold and large: nothing that an image holds, but what fills a disk. */
function checkRatio({ stored, unpacked }: Volume, label: string, context: Context): void {
  if (unpacked < limits.ratioFloorBytes || unpacked < stored * context.settings.MAX_RATIO) return;
  throw new Failure("E_LIMIT", `what was read unpacks to more than ${context.settings.MAX_RATIO} times its size`, {
    where: label,
    mend: "set ROOTLING_MAX_RATIO higher if you trust whoever made this image",
  });
}
