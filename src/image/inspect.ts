/** What an image's layers hold, and what of it is wasted: overwritten or deleted by a layer above. */
import { type ByteString, toText } from "../base/bytes.ts";
import type { Context } from "../base/context.ts";
import { readLayer } from "./layer.ts";
import { readEntry } from "./merge.ts";
import { whiteoutOf } from "./names.ts";
import { isObject } from "./sources/json.ts";
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
  /** What made it, as the configuration tells: a line of a Dockerfile, mostly. Untrusted. */
  createdBy?: string;
}

export interface SizedFile {
  path: string;
  /** The index of the layer that brought it. */
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
  /** The largest files that the merged tree shows, largest first, at most LARGEST_KEPT. */
  largestFiles: SizedFile[];
  /** The largest wasted files, largest first, at most WASTED_KEPT. */
  wastedFiles: SizedFile[];
  root: DirectoryReport;
}

const WASTED_KEPT = 50;
const LARGEST_KEPT = 500;

/** The largest of many files; the others are forgotten on the way. */
class Largest {
  readonly #limit: number;
  #files: SizedFile[] = [];

  constructor(limit: number) {
    this.#limit = limit;
  }

  add(file: SizedFile): void {
    if (file.bytes > 0 && this.#files.push(file) > 20 * this.#limit) this.#files = this.list();
  }

  /** Equally large ones by path: the same image always gives the same list. */
  list(): SizedFile[] {
    const sorted = this.#files.sort((a, b) => b.bytes - a.bytes || (a.path < b.path ? -1 : 1));
    return sorted.slice(0, this.#limit);
  }
}

const newDirectory = (name: string): DirectoryReport => ({ name, own: [], children: new Map() });

/** Reads every layer, top first, without writing anything. Throws as an import would. */
export async function inspectImage(image: SourceImage, context: Context): Promise<Inspection> {
  const inspector = new Inspector(context.settings.MAX_ENTRIES, historyOf(image));
  context.progress.expect(image.layers.reduce((sum, { size = 0 }) => sum + size, 0));
  for (const [index, layer] of [...image.layers.entries()].reverse()) {
    const task = context.progress.task(`read ${layer.digest ?? layer.label}`, `read ${layer.label}`, layer.size);
    await readLayer(layer, inspector.layer(index, layer), context, task, () => undefined);
    task.done();
  }
  return inspector.result();
}

/** What made each layer: of the configuration's history, the steps that made one (image-spec, config.md). */
function historyOf({ config, layers }: SourceImage): (string | undefined)[] {
  const json: unknown = config === undefined ? undefined : JSON.parse(config.toString("utf8"));
  const history = (json as { history?: unknown } | undefined)?.history;
  const steps = (Array.isArray(history) ? history : []).filter((step) => isObject(step) && step.empty_layer !== true);
  // With another number nobody knows which belongs to which.
  if (steps.length !== layers.length) return [];
  return steps.map(({ created_by: by }) => (typeof by === "string" && by !== "" ? by : undefined));
}

class Inspector {
  readonly #tree: Tree;
  readonly #root = newDirectory("/");
  readonly #layers: LayerReport[] = [];
  readonly #largest = new Largest(LARGEST_KEPT);
  readonly #wasted = new Largest(WASTED_KEPT);
  readonly #history: readonly (string | undefined)[];
  #files = 0;
  #bytes = 0;

  constructor(maxEntries: number, history: readonly (string | undefined)[]) {
    this.#tree = new Tree(maxEntries);
    this.#history = history;
  }

  layer(index: number, { label, digest, diffId, size }: LayerRef) {
    const createdBy = this.#history[index];
    const report: LayerReport = {
      index,
      label,
      ...(digest === undefined ? {} : { digest }),
      ...(diffId === undefined ? {} : { diffId }),
      ...(size === undefined ? {} : { stored: size }),
      ...(createdBy === undefined ? {} : { createdBy }),
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
    return {
      layers: this.#layers,
      bytes: this.#bytes,
      files: this.#files,
      wasted: this.#layers.reduce((sum, layer) => sum + layer.wasted, 0),
      largestFiles: this.#largest.list(),
      wastedFiles: this.#wasted.list(),
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
    this.#largest.add({ path: toText(path), layer, bytes });
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
    this.#wasted.add({ path: toText(path), layer: report.index, bytes });
  }
}
