/** Reads one layer: stored bytes → tar → entries, verifying on the way. */
import { createHash } from "node:crypto";
import { type Context, throwIfAborted } from "../base/context.ts";
import { Failure } from "../base/errors.ts";
import type { Task } from "../base/progress.ts";
import { decompress } from "./decompress.ts";
import { limits } from "./limits.ts";
import { cleanPath, whiteoutOf } from "./names.ts";
import { type TarHandler, TarReader } from "./tar-read.ts";
import type { LayerRef } from "./types.ts";

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
): Promise<void> {
  const reader = new TarReader(layer.label, handler);
  const hash = layer.diffId === undefined ? undefined : createHash("sha256");
  let stored = 0;
  let unpacked = 0;
  const counted = (async function* () {
    for await (const chunk of await layer.open()) {
      stored += chunk.length;
      task.advance(chunk.length);
      yield chunk;
    }
  })();
  for await (const chunk of decompress(counted, layer.label)) {
    throwIfAborted(context.signal);
    unpacked += chunk.length;
    checkRatio(stored, unpacked, layer.label, context);
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
function checkRatio(stored: number, unpacked: number, label: string, context: Context): void {
  if (unpacked < limits.ratioFloorBytes || unpacked < stored * context.settings.MAX_RATIO) return;
  throw new Failure("E_LIMIT", `the layer unpacks to more than ${context.settings.MAX_RATIO} times its size`, {
    where: label,
    mend: "set ROOTLING_MAX_RATIO higher if you trust whoever made this image",
  });
}

/** What a name of the layer is while the layer is indexed. */
interface Name {
  ordinal: number;
  /** Names in it, for a directory. */
  children: Map<string, Name> | undefined;
}

/**
 * Which entries of a layer later ones of the same layer supersede, by ordinal: a name that is given again, and all
 * that is in a directory that a file replaces. Throws E_LAYER where a hard link's file would be superseded.
 */
export async function indexLayer(layer: LayerRef, context: Context, task: Task): Promise<ReadonlySet<number>> {
  const superseded = new Set<number>();
  const root: Name = { ordinal: -1, children: new Map() };
  const linked = new Set<string>();
  let ordinal = -1;
  const supersede = (name: Name) => {
    if (name.ordinal >= 0) superseded.add(name.ordinal);
    for (const child of name.children?.values() ?? []) supersede(child);
  };
  const handler: TarHandler = {
    entry: (entry) => {
      ordinal++;
      const path = cleanPath(entry.path, layer.label);
      if (whiteoutOf(path, layer.label) !== undefined) return false;
      if (path === "") {
        if (root.ordinal >= 0) superseded.add(root.ordinal);
        root.ordinal = ordinal;
        return false;
      }
      const parts = path.split("/");
      const last = parts.pop() ?? "";
      let directory = root;
      for (const part of parts) {
        directory.children ??= new Map();
        let next = directory.children.get(part);
        if (next === undefined) directory.children.set(part, (next = { ordinal: -1, children: new Map() }));
        directory = next;
      }
      directory.children ??= new Map();
      const older = directory.children.get(last);
      const isDirectory = entry.kind === "directory";
      if (older !== undefined && isDirectory && older.children !== undefined) {
        if (older.ordinal >= 0) superseded.add(older.ordinal);
        older.ordinal = ordinal;
        return false;
      }
      if (older !== undefined) {
        if (linked.has(path)) {
          throw new Failure("E_LAYER", "a file that has hard links is given twice", { where: layer.label });
        }
        supersede(older);
      }
      if (entry.kind === "link") linked.add(cleanPath(entry.target ?? entry.path, layer.label));
      directory.children.set(last, { ordinal, children: isDirectory ? new Map() : undefined });
      return false;
    },
    data() {},
    end() {},
  };
  await readLayer(layer, handler, context, task, () => undefined);
  return superseded;
}
