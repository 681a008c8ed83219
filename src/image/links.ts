/**
 * Hard links between layers. A link entry says "the file that this name has now": at the time of its own layer, so
 * with the layers below and without those above. While layers arrive top first, the file may have passed already, be
 * yet to come from a lower layer, or be covered by a higher one: then the link becomes the file.
 */
import type { ByteString } from "../base/bytes.ts";

/** Where the file of a link is to be had. */
export type Finding =
  /** In the stream already, under this name. */
  | { kind: "there"; name: ByteString }
  /** Yet to come, from a lower layer. */
  | { kind: "expected"; name: ByteString }
  /** It passed in this layer, covered, before it was wanted: the layer has to be read again. */
  | { kind: "missed"; name: ByteString }
  /** Nowhere: links that lead to each other. */
  | { kind: "loop" };

/** What a name in the tree waits for. */
type Awaited = { kind: "expected" | "missed"; name: ByteString };

/** A name that waits, and the layer whose link it is: its file comes from a lower one. */
interface Waiting {
  path: ByteString;
  layer: number;
}

export class Links {
  /** By the name of the file that they wait for. */
  readonly #expected = new Map<ByteString, Waiting[]>();
  /** Names in the tree whose link is not in the stream yet, and what they wait for. */
  readonly #awaited = new Map<ByteString, Awaited>();
  /** Covered non-directories of the layer that is read: with the target, if a link itself. */
  #covered = new Map<ByteString, ByteString | undefined>();
  /** Covered files of this layer that went into the stream under another name. */
  #renamed = new Map<ByteString, ByteString>();
  #missed = new Map<ByteString, ByteString[]>();

  /**
   * Where the file `target` is, for a link that the layer now read has. As in extraction, what the layer has said so
   * far counts, then the layers below. `visible` tells whether a name is in the tree as a non-directory of this layer.
   */
  find(target: ByteString, visible: (path: ByteString) => boolean): Finding {
    let name = target;
    // Each step follows a covered link; no chain is longer than there are of them.
    for (let steps = this.#covered.size; steps >= 0; steps--) {
      if (visible(name)) return this.#awaited.get(name) ?? { kind: "there", name };
      const renamed = this.#renamed.get(name);
      if (renamed !== undefined) return { kind: "there", name: renamed };
      if (!this.#covered.has(name)) return { kind: "expected", name };
      const next = this.#covered.get(name);
      if (next === undefined) return { kind: "missed", name };
      name = next;
    }
    return { kind: "loop" };
  }

  /** Lets `paths` wait for what was found for a link of `layer`. */
  wait(awaited: Awaited, paths: readonly ByteString[], layer: number): void {
    for (const path of paths) {
      if (awaited.kind === "expected") push(this.#expected, awaited.name, { path, layer });
      else push(this.#missed, awaited.name, path);
      this.#awaited.set(path, awaited);
    }
  }

  /** The names that wait for `path` as `layer` has it; they wait no longer. */
  take(path: ByteString, layer: number): ByteString[] {
    const all = this.#expected.size === 0 ? undefined : this.#expected.get(path);
    if (all === undefined) return [];
    const taken = all.filter((waiting) => waiting.layer > layer).map((waiting) => waiting.path);
    if (taken.length === all.length) this.#expected.delete(path);
    else
      this.#expected.set(
        path,
        all.filter((waiting) => waiting.layer <= layer),
      );
    for (const waiting of taken) this.#awaited.delete(waiting);
    return taken;
  }

  /** A covered non-directory passes by unused. */
  passCovered(path: ByteString, target?: ByteString): void {
    this.#covered.set(path, target);
  }

  /** A covered file went into the stream under the name of one that waited for it. */
  passRenamed(path: ByteString, name: ByteString): void {
    this.#renamed.set(path, name);
  }

  /** Ends a layer: the covered files of it that are wanted after all, with the names that they get. */
  endLayer(): ReadonlyMap<ByteString, ByteString[]> {
    const missed = this.#missed;
    for (const paths of missed.values()) for (const path of paths) this.#awaited.delete(path);
    this.#missed = new Map();
    this.#covered = new Map();
    this.#renamed = new Map();
    return missed;
  }

  /** A link that still waits, when there is no layer left. */
  unresolved(): { path: ByteString; target: ByteString } | undefined {
    for (const [path, { name }] of this.#awaited) return { path, target: name };
    return undefined;
  }
}

function push<T>(map: Map<ByteString, T[]>, key: ByteString, value: T): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
}
