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
  /** It passed in this layer as entry `ordinal`, covered, before it was wanted: the layer has to be read again. */
  | { kind: "missed"; name: ByteString; ordinal: number };

/** What a name in the tree waits for. */
type Awaited = Exclude<Finding, { kind: "there" }>;

/** The covered files of a layer that are wanted after all: by ordinal, the names that they get. */
export type Missed = ReadonlyMap<number, ByteString[]>;

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
  /**
   * Covered non-directories of the layer that is read: where the file is that each stood for when it passed. A link is
   * followed then and there, as in extraction: what it leads to may get another file later in the layer.
   */
  #covered = new Map<ByteString, Finding>();
  #missed = new Map<number, ByteString[]>();

  /**
   * Where the file `target` is, for a link that the layer now read has. As in extraction, what the layer has said so
   * far counts, then the layers below. `visible` tells whether a name is in the tree as a non-directory of this layer.
   */
  find(target: ByteString, visible: (path: ByteString) => boolean): Finding {
    const finding: Finding = visible(target)
      ? { kind: "there", name: target }
      : (this.#covered.get(target) ?? { kind: "expected", name: target });
    // The name may be in the tree, and its file yet to come.
    return (finding.kind === "there" && this.#awaited.get(finding.name)) || finding;
  }

  /** Lets `paths` wait for what was found for a link of `layer`. */
  wait(awaited: Awaited, paths: readonly ByteString[], layer: number): void {
    for (const path of paths) {
      if (awaited.kind === "expected") push(this.#expected, awaited.name, { path, layer });
      else push(this.#missed, awaited.ordinal, path);
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

  /** A covered non-directory passes; its file is to be had there. */
  passCovered(path: ByteString, finding: Finding): void {
    this.#covered.set(path, finding);
  }

  /** Ends a layer. The caller reads it again for what was missed. */
  endLayer(): Missed {
    const missed = this.#missed;
    for (const paths of missed.values()) for (const path of paths) this.#awaited.delete(path);
    this.#missed = new Map();
    this.#covered = new Map();
    return missed;
  }

  /** A link that still waits, when there is no layer left. `loop`: for one that waits itself. */
  unresolved(): { path: ByteString; target: ByteString; loop: boolean } | undefined {
    for (const [path, { name }] of this.#awaited) return { path, target: name, loop: this.#awaited.has(name) };
    return undefined;
  }
}

function push<K, T>(map: Map<K, T[]>, key: K, value: T): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
}
