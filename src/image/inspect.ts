/** What an image's layers hold, and what of it is wasted: overwritten or deleted by a layer above. */
import { type ByteString, toText } from "../base/bytes.ts";
import type { Context } from "../base/context.ts";
import { readLayer } from "./layer.ts";
import { readEntry } from "./merge.ts";
import { whiteoutOf } from "./names.ts";
import { Tree } from "./tree.ts";
import type { Digest, LayerRef, SourceImage } from "./types.ts";

export interface LayerReport {
  /** From the lowest, 0. */
  index: number;
  label: string;
  digest?: Digest;
  diffId?: Digest;
  /** Bytes as stored (compressed), where known. */
  stored?: number;
  /** Bytes of the files in it. */
  bytes: number;
  files: number;
  directories: number;
  whiteouts: number;
  /** Bytes of its files that the merged tree does not show. */
  wasted: number;
}

export interface WastedFile {
  path: string;
  layer: number;
  bytes: number;
}

/** A directory of the merged tree, with the bytes of the files in it by layer, and the directories below. */
export interface DirectoryReport {
  name: string;
  /** Bytes of files directly in it; the index is the layer's. Sparse. */
  own: number[];
  children: Map<string, DirectoryReport>;
}

export interface Inspection {
  layers: LayerReport[];
  /** Bytes of files that the merged tree shows. */
  bytes: number;
  files: number;
  wasted: number;
  /** The largest wasted files, at most WASTED_SHOWN. */
  wastedFiles: WastedFile[];
  root: DirectoryReport;
}

const WASTED_SHOWN = 50;

const newDirectory = (name: string): DirectoryReport => ({ name, own: [], children: new Map() });

/** Reads every layer, top first, without writing anything. Throws as an import would. */
export async function inspectImage(image: SourceImage, context: Context): Promise<Inspection> {
  const inspector = new Inspector(context.settings.MAX_ENTRIES);
  context.progress.expect(image.layers.reduce((sum, { size = 0 }) => sum + size, 0));
  for (const [index, layer] of [...image.layers.entries()].reverse()) {
    const task = context.progress.task(`read ${layer.digest ?? layer.label}`, `read ${layer.label}`, layer.size);
    await readLayer(layer, inspector.layer(index, layer), context, task, () => undefined);
    task.done();
  }
  return inspector.result();
}

class Inspector {
  readonly #tree: Tree;
  readonly #root = newDirectory("/");
  readonly #layers: LayerReport[] = [];
  #wastedFiles: WastedFile[] = [];
  #files = 0;
  #bytes = 0;

  constructor(maxEntries: number) {
    this.#tree = new Tree(maxEntries);
  }

  layer(index: number, { label, digest, diffId, size }: LayerRef) {
    const report: LayerReport = {
      index,
      label,
      ...(digest === undefined ? {} : { digest }),
      ...(diffId === undefined ? {} : { diffId }),
      ...(size === undefined ? {} : { stored: size }),
      ...{ bytes: 0, files: 0, directories: 0, whiteouts: 0, wasted: 0 },
    };
    this.#layers.unshift(report);
    return {
      entry: (raw: Parameters<typeof readEntry>[0]) => {
        const entry = readEntry(raw, label);
        if (entry !== undefined && !this.#whiteout(entry.path, index, report)) {
          this.#count(entry.path, entry.kind === "directory", entry.size, report);
        }
        return false;
      },
      data: () => {},
      end: () => {},
    };
  }

  result(): Inspection {
    this.#keepLargest();
    return {
      layers: this.#layers,
      bytes: this.#bytes,
      files: this.#files,
      wasted: this.#layers.reduce((sum, layer) => sum + layer.wasted, 0),
      wastedFiles: this.#wastedFiles,
      root: this.#root,
    };
  }

  #whiteout(path: ByteString, layer: number, report: LayerReport): boolean {
    const whiteout = whiteoutOf(path, report.label);
    if (whiteout === undefined) return false;
    report.whiteouts++;
    if (whiteout.kind === "remove") this.#tree.hide(whiteout.path, layer);
    if (whiteout.kind === "opaque") this.#tree.hideContent(whiteout.path, layer);
    return true;
  }

  #count(path: ByteString, isDirectory: boolean, bytes: number, report: LayerReport): void {
    if (isDirectory) {
      report.directories++;
      this.#tree.placeDirectory(path, report.index);
      return;
    }
    report.files++;
    report.bytes += bytes;
    if (this.#tree.placeLeaf(path, report.index) === "new") this.#show(path, bytes, report.index);
    else this.#waste(path, bytes, report);
  }

  #show(path: ByteString, bytes: number, layer: number): void {
    this.#files++;
    this.#bytes += bytes;
    let directory = this.#root;
    for (const name of path.split("/").slice(0, -1)) {
      let child = directory.children.get(name);
      if (child === undefined) {
        child = newDirectory(toText(name as ByteString));
        directory.children.set(name, child);
      }
      directory = child;
    }
    directory.own[layer] = (directory.own[layer] ?? 0) + bytes;
  }

  #waste(path: ByteString, bytes: number, report: LayerReport): void {
    report.wasted += bytes;
    if (bytes === 0) return;
    this.#wastedFiles.push({ path: toText(path), layer: report.index, bytes });
    if (this.#wastedFiles.length > 20 * WASTED_SHOWN) this.#keepLargest();
  }

  #keepLargest(): void {
    this.#wastedFiles = this.#wastedFiles.sort((a, b) => b.bytes - a.bytes).slice(0, WASTED_SHOWN);
  }
}
