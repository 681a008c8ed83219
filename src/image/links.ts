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
  /** Yet to come, from this layer or a lower one. */
  | { kind: "expected"; name: ByteString }
  /** It passed in this layer, covered, before it was wanted: the layer has to be read again. */
  | { kind: "missed"; name: ByteString }
  /** Nowhere: links that lead to each other. */
  | { kind: "loop" };

type Waiting = Map<ByteString, ByteString[]>;

export class Links {
  /** Names in the tree that wait for a file, by its name. */
  readonly #expected: Waiting = new Map();
  /** Names in the tree whose link is not in the stream yet, and what they wait for. */
  readonly #waitsFor = new Map<ByteString, ByteString>();
  /** Covered non-directories of the layer that is read: with the target, if a link itself. */
  #covered = new Map<ByteString, ByteString | undefined>();
  /** Covered files of this layer that went into the stream under another name. */
  #renamed = new Map<ByteString, ByteString>();
  #missed: Waiting = new Map();

  /**
   * Where the file `target` is, for `paths` that entered the tree as links to it. `visible` tells whether a name is in
   * the tree as a non-directory of the very layer that is read.
   */
  find(target: ByteString, paths: readonly ByteString[], visible: (path: ByteString) => boolean): Finding {
    let name = target;
    // Each step follows a link; no chain is longer than there are links.
    for (let steps = this.#covered.size + this.#waitsFor.size; steps >= 0; steps--) {
      if (paths.includes(name)) return { kind: "loop" };
      let next: ByteString | undefined;
      if (visible(name)) {
        next = this.#waitsFor.get(name);
        if (next === undefined) return { kind: "there", name };
      } else {
        const renamed = this.#renamed.get(name);
        if (renamed !== undefined) return { kind: "there", name: renamed };
        if (!this.#covered.has(name)) return { kind: "expected", name };
        next = this.#covered.get(name);
        if (next === undefined) return { kind: "missed", name };
      }
      name = next;
    }
    return { kind: "loop" };
  }

  /** Lets `paths` wait for what was found. */
  wait(finding: { kind: "expected" | "missed"; name: ByteString }, paths: readonly ByteString[]): void {
    const waiting = finding.kind === "expected" ? this.#expected : this.#missed;
    const list = waiting.get(finding.name);
    if (list === undefined) waiting.set(finding.name, [...paths]);
    else for (const path of paths) list.push(path);
    for (const path of paths) this.#waitsFor.set(path, finding.name);
  }

  /** The names that wait for `path`; they wait no longer. */
  take(path: ByteString): ByteString[] {
    const paths = this.#expected.size === 0 ? undefined : this.#expected.get(path);
    if (paths === undefined) return [];
    this.#expected.delete(path);
    for (const waiting of paths) this.#waitsFor.delete(waiting);
    return paths;
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
    for (const paths of missed.values()) for (const path of paths) this.#waitsFor.delete(path);
    this.#missed = new Map();
    this.#covered = new Map();
    this.#renamed = new Map();
    return missed;
  }

  /** A link that still waits, when there is no layer left. */
  unresolved(): { path: ByteString; target: ByteString } | undefined {
    for (const [path, target] of this.#waitsFor) return { path, target };
    return undefined;
  }
}
