/**
 * The names of the merged tree that are known so far, while layers arrive top first. It decides which entries of a
 * lower layer are still visible. Layers are numbered from the lowest, 0.
 */
import type { ByteString } from "../base/bytes.ts";
import { checkNames } from "./limits.ts";

/** A name that is, or could become, a directory. */
interface Directory {
  readonly parent: Directory | undefined;
  /** A number is the layer of a name that is not a directory: compact, as these are the most. */
  children: Map<string, Directory | number> | undefined;
  /** Whether the merged tree has this directory. */
  exists: boolean;
  /** The layer that made it exist. */
  layer: number;
  /** The layer that gave its metadata; -1 as long as none did. */
  described: number;
  /** Layers below this one say nothing about this name nor what is in it: a whiteout. */
  hiddenBelow: number;
  /** Layers below this one say nothing about what is in it: an opaque directory. */
  opaqueBelow: number;
}

/**
 * What becomes of an entry: `new` enters the tree; `hidden` is covered by a higher layer; `repeated` names again what
 * its own layer has named, or lies below a non-directory of its own layer.
 */
export type Placement = "new" | "hidden" | "repeated";

const newDirectory = (parent: Directory | undefined): Directory => ({
  parent,
  children: undefined,
  exists: false,
  layer: -1,
  described: -1,
  hiddenBelow: -1,
  opaqueBelow: -1,
});

export class Tree {
  readonly #root = newDirectory(undefined);
  // Neighbours in an archive mostly share their directory.
  #lastPath = "";
  #lastLayer = -1;
  #last: Directory = this.#root;

  readonly #maximum: number;
  #names = 0;

  /** Throws E_LIMIT where there would be more than `maximum` names, implied directories included. */
  constructor(maximum: number) {
    this.#maximum = maximum;
    this.#root.exists = true;
  }

  /** Places a directory entry of `layer`. */
  placeDirectory(path: ByteString, layer: number): Placement {
    const directory = path === "" ? this.#root : this.#directoryAt(path, layer);
    if (typeof directory === "string") return directory;
    if (layer < directory.hiddenBelow) return "hidden";
    if (directory.described === layer) return "repeated";
    if (directory.described > layer) return "hidden";
    directory.described = layer;
    markExisting(directory, layer);
    return "new";
  }

  /** Places an entry of `layer` that is not a directory. */
  placeLeaf(path: ByteString, layer: number): Placement {
    const slash = path.lastIndexOf("/");
    const parent = this.#parent(path, slash, layer);
    if (typeof parent === "string") return parent;
    const name = path.slice(slash + 1);
    const present = parent.children?.get(name);
    if (typeof present === "number") return present === layer ? "repeated" : "hidden";
    if (present !== undefined) {
      if (layer < present.hiddenBelow) return "hidden";
      if (present.exists) {
        if (present.layer === layer) return "repeated";
        // A directory above replaces this name: what lower layers have below it was gone by then.
        present.hiddenBelow = layer;
        return "hidden";
      }
      this.#forgetLast();
    }
    parent.children ??= new Map();
    if (present === undefined) checkNames(++this.#names, this.#maximum);
    parent.children.set(name, layer);
    markExisting(parent, layer);
    return "new";
  }

  /** Hides `path` of the layers below `layer`. */
  hide(path: ByteString, layer: number): void {
    const directory = this.#directoryAt(path, layer);
    if (typeof directory !== "string") directory.hiddenBelow = Math.max(directory.hiddenBelow, layer);
  }

  /** Hides what the layers below `layer` have in the directory `path`. */
  hideContent(path: ByteString, layer: number): void {
    const directory = path === "" ? this.#root : this.#directoryAt(path, layer);
    if (typeof directory !== "string") directory.opaqueBelow = Math.max(directory.opaqueBelow, layer);
  }

  /** The layer of the non-directory at `path`, if the tree has one. */
  leafLayer(path: ByteString): number | undefined {
    let node: Directory | number | undefined = this.#root;
    for (const part of path.split("/")) {
      if (typeof node !== "object") return undefined;
      node = node.children?.get(part);
    }
    return typeof node === "number" ? node : undefined;
  }

  /** The directories that exist without an entry of their own, parents first. The root is not among them. */
  *undescribed(): Generator<ByteString> {
    const stack: [string, Directory][] = [["", this.#root]];
    for (let top = stack.pop(); top !== undefined; top = stack.pop()) {
      const [path, directory] = top;
      if (path !== "" && directory.described < 0) yield path as ByteString;
      for (const [name, child] of directory.children ?? []) {
        if (typeof child === "object" && child.exists) stack.push([path === "" ? name : `${path}/${name}`, child]);
      }
    }
  }

  #parent(path: string, slash: number, layer: number): Directory | "hidden" | "repeated" {
    const directoryPath = slash < 0 ? "" : path.slice(0, slash);
    if (this.#lastLayer === layer && this.#lastPath === directoryPath) return this.#last;
    let node = this.#root;
    if (hidesContent(node, layer)) return "hidden";
    for (const part of directoryPath === "" ? [] : directoryPath.split("/")) {
      const child = this.#childDirectory(node, part);
      if (typeof child === "number") return child === layer ? "repeated" : "hidden";
      if (hidesContent(child, layer)) return "hidden";
      node = child;
    }
    this.#lastPath = directoryPath;
    this.#lastLayer = layer;
    this.#last = node;
    return node;
  }

  /** The node for a directory that may become one, unless something covers it. */
  #directoryAt(path: ByteString, layer: number): Directory | "hidden" | "repeated" {
    const slash = path.lastIndexOf("/");
    const parent = this.#parent(path, slash, layer);
    if (typeof parent === "string") return parent;
    const child = this.#childDirectory(parent, path.slice(slash + 1));
    return typeof child === "number" ? (child === layer ? "repeated" : "hidden") : child;
  }

  #childDirectory(parent: Directory, name: string): Directory | number {
    parent.children ??= new Map();
    let child = parent.children.get(name);
    if (child === undefined) {
      checkNames(++this.#names, this.#maximum);
      child = newDirectory(parent);
      parent.children.set(name, child);
    }
    return child;
  }

  #forgetLast(): void {
    this.#lastLayer = -1;
  }
}

const hidesContent = (node: Directory, layer: number): boolean => layer < node.hiddenBelow || layer < node.opaqueBelow;

function markExisting(directory: Directory, layer: number): void {
  for (let node: Directory | undefined = directory; node !== undefined && !node.exists; node = node.parent) {
    node.exists = true;
    node.layer = layer;
  }
}
