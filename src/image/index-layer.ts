/** Indexes a layer that names something twice: what of it counts, as extraction would have it. */
import type { Context } from "../base/context.ts";
import { Failure } from "../base/errors.ts";
import type { Task } from "../base/progress.ts";
import { readLayer } from "./layer.ts";
import { checkNames } from "./limits.ts";
import { cleanPath, whiteoutOf } from "./names.ts";
import type { Entry, LayerRef } from "./types.ts";

/** What a name of the layer is so far. */
interface Name {
  /** Which entry gave it; -1 for a directory that only has others in it. */
  ordinal: number;
  /** Names in it, for a directory. */
  children: Map<string, Name> | undefined;
}

const newDirectory = (ordinal: number): Name => ({ ordinal, children: new Map() });

/**
 * Which entries of a layer later ones of the same layer supersede, by ordinal: a name that is given again, and all
 * that is in a directory that a file replaces. Throws E_LAYER where a hard link's file would be superseded.
 */
export async function indexLayer(layer: LayerRef, context: Context, task: Task): Promise<ReadonlySet<number>> {
  const index = new Index(layer.label, context.settings.MAX_ENTRIES);
  let ordinal = -1;
  const handler = {
    entry: (entry: Entry) => {
      index.add(entry, ++ordinal);
      return false;
    },
    data: () => {},
    end: () => {},
  };
  await readLayer(layer, handler, context, task, () => undefined);
  return index.superseded;
}

class Index {
  readonly superseded = new Set<number>();
  readonly #label: string;
  readonly #root = newDirectory(-1);
  /** Files that hard links name. */
  readonly #linked = new Set<string>();

  readonly #maximum: number;
  #names = 0;

  constructor(label: string, maximum: number) {
    this.#label = label;
    this.#maximum = maximum;
  }

  add(entry: Entry, ordinal: number): void {
    const path = cleanPath(entry.path, this.#label);
    if (whiteoutOf(path, this.#label) !== undefined) return;
    if (path === "") this.#redescribe(this.#root, ordinal);
    else this.#place(path, entry.kind === "directory", ordinal);
    if (entry.kind === "link") this.#linked.add(cleanPath(entry.target ?? entry.path, this.#label));
  }

  #place(path: string, isDirectory: boolean, ordinal: number): void {
    const slash = path.lastIndexOf("/");
    const siblings = this.#childrenAt(slash < 0 ? "" : path.slice(0, slash));
    const name = path.slice(slash + 1);
    const older = siblings.get(name);
    if (older === undefined) checkNames(++this.#names, this.#maximum, this.#label);
    if (older !== undefined && isDirectory && older.children !== undefined) {
      this.#redescribe(older, ordinal);
      return;
    }
    if (older !== undefined) this.#drop(older, path);
    siblings.set(name, isDirectory ? newDirectory(ordinal) : { ordinal, children: undefined });
  }

  #childrenAt(path: string): Map<string, Name> {
    let directory = this.#root;
    for (const part of path === "" ? [] : path.split("/")) {
      directory.children ??= new Map();
      let next = directory.children.get(part);
      if (next === undefined) {
        checkNames(++this.#names, this.#maximum, this.#label);
        next = newDirectory(-1);
        directory.children.set(part, next);
      }
      directory = next;
    }
    directory.children ??= new Map();
    return directory.children;
  }

  #redescribe(directory: Name, ordinal: number): void {
    if (directory.ordinal >= 0) this.superseded.add(directory.ordinal);
    directory.ordinal = ordinal;
  }

  #drop(name: Name, path: string): void {
    if (this.#linked.has(path)) {
      throw new Failure("E_LAYER", "a file that has hard links is given twice", {
        where: this.#label,
        mend: "make the archive anew, with every name once",
      });
    }
    if (name.ordinal >= 0) this.superseded.add(name.ordinal);
    for (const [child, below] of name.children ?? []) this.#drop(below, `${path}/${child}`);
  }
}
