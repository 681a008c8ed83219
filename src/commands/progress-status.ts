/**
 * One line about the whole: `{ status, value }`, in virt-bootstrap's words. Downloads are the first half where there
 * are any, and count in bytes, as layers do. The value never goes back.
 */

import type { Progress } from "../base/progress.ts";
import { listeningProgress, type TaskNews } from "../base/progress-listen.ts";
import { parseSource } from "../image/sources/reference.ts";
import { downloadId, isDownload, unpackId } from "../image/task-ids.ts";
import type { LayerRef } from "../image/types.ts";

/** How far the work is. */
export interface ProgressStatus {
  /** What is done now, in words for people, such as `Downloading layer (1/3)`. */
  readonly status: string;
  /** From 0 to 100; never less than before. */
  readonly value: number;
}

/** What is written, as far as the words differ. */
export type Written = "dir" | "qcow2" | "other";

/** Milliseconds between two that differ in their value alone. */
const RATE = 100;

/** What each kind of source says: virt-bootstrap's sources/*.py are the reference. */
const phrases = {
  fetched: {
    first: "Checking cached layers",
    unpack: {
      dir: "Extracting container layers",
      qcow2: "Extracting container layers into qcow2 images",
      other: "Extracting container layers",
    },
    last: "Download and extract completed!",
  },
  local: {
    unpack: {
      dir: "Extracting files into destination directory",
      qcow2: "Extracting files into qcow2 image",
      other: "Extracting files",
    },
    last: "Extraction completed successfully!",
  },
  built: {
    first: "Building image",
    unpack: { dir: "Extracting rootfs", qcow2: "Extracting rootfs", other: "Extracting rootfs" },
    last: "Extraction completed successfully!",
  },
} as const;

/** The kind of a SOURCE. Throws E_SOURCE. */
function kindOf(source: string): keyof typeof phrases {
  const { kind } = parseSource(source);
  if (kind === "docker") return "fetched";
  return kind === "virt-builder" || kind === "debootstrap" ? "built" : "local";
}

/** What virt-bootstrap says before it fills a disk of a chain; its spelling. */
const diskPhrases = (number: number, part: string): string[] =>
  number === 1 ? ["Creating base layer", "Formating disk image"] : [`Creating image ${part}`];

/** Bytes that are done of each part, and which parts have ended. */
class Share {
  /** Undefined where it is not known of all: then each is as much as another, and counts when it has ended. */
  readonly #sizes: ReadonlyMap<string, number | undefined>;
  readonly #whole: number;
  readonly #done = new Map<string, number>();
  readonly ended = new Set<string>();

  constructor(sizes: ReadonlyMap<string, number | undefined>) {
    const known = [...sizes.values()].every((size) => size !== undefined);
    this.#sizes = known ? sizes : new Map([...sizes.keys()].map((id) => [id, undefined]));
    this.#whole = [...this.#sizes.values()].reduce<number>((sum, size = 1) => sum + size, 0);
  }

  get count(): number {
    return this.#sizes.size;
  }

  get begun(): boolean {
    return this.#done.size > 0;
  }

  /** Whether this was one of the parts. */
  take({ event, id, done }: TaskNews): boolean {
    if (!this.#sizes.has(id)) return false;
    const size = this.#sizes.get(id);
    const part = event === "end" ? (size ?? 1) : Math.min(done, size ?? 0);
    if (event === "end") this.ended.add(id);
    this.#done.set(id, Math.max(this.#done.get(id) ?? 0, part));
    return true;
  }

  /** From 0 to 1. */
  get part(): number {
    const done = [...this.#done.values()].reduce((sum, part) => sum + part, 0);
    return this.#whole === 0 ? 1 : done / this.#whole;
  }
}

const nothing = new Share(new Map());

export class Status {
  /** What the work is given. */
  readonly progress: Progress = listeningProgress({
    task: (news) => this.#take(news),
    expect: (ids) => this.#expect(ids),
  });
  readonly #tell: (status: ProgressStatus) => void;
  readonly #written: Written;
  readonly #kind: keyof typeof phrases;
  #downloads = nothing;
  #layers = nothing;
  readonly #sizes = new Map<string, number | undefined>();
  #status = "";
  #value = 0;
  #told = 0;
  #unpacking = false;
  /** Layers in the order in which they began, and how many of them were told. */
  readonly #begun = new Set<string>();
  #said = 0;

  /** Throws E_SOURCE for a source that there cannot be. */
  constructor(source: string, written: Written, tell: (status: ProgressStatus) => void) {
    this.#kind = kindOf(source);
    this.#written = written;
    this.#tell = tell;
    if (this.#kind === "built") this.#say(phrases.built.first);
  }

  /** The image is open. */
  opened(layers: readonly LayerRef[]): void {
    for (const layer of layers) {
      this.#sizes.set(unpackId(layer), layer.size);
      if (layer.digest !== undefined) this.#sizes.set(downloadId(layer.digest), layer.size);
    }
    this.#expect(layers.map(unpackId));
    // Making it was half of the work.
    if (this.#kind === "built") this.#value = 50;
    if (this.#kind === "fetched") this.#say(phrases.fetched.first);
    else this.#sayLayers();
  }

  /** All is written. */
  finished(): void {
    this.#value = 100;
    this.#say(phrases[this.#kind].last);
  }

  /** What is going to be downloaded or unpacked; not all, where much is there already. Anew for each attempt. */
  #expect(ids: readonly string[]): void {
    if (ids.length === 0) return;
    const share = new Share(new Map(ids.map((id) => [id, this.#sizes.get(id)])));
    if (ids.some(isDownload)) this.#downloads = share;
    else this.#layers = share;
  }

  #take(news: TaskNews): void {
    if (this.#downloads.take(news)) this.#download(news);
    else if (this.#layers.take(news)) this.#unpack(news);
  }

  #download({ event, done }: TaskNews): void {
    const { count, ended } = this.#downloads;
    // What is in the cache is not downloaded: it ends as it begins.
    if (done > 0 && !this.#unpacking) {
      if (!this.#status.startsWith("Downloading")) this.#say("Downloading container image");
      if (ended.size < count) this.#say(`Downloading layer (${ended.size + 1}/${count})`);
    }
    this.#move();
    if (done > 0 && event === "end" && ended.size === count) this.#sayLayers();
  }

  #unpack({ event, id }: TaskNews): void {
    this.#begun.add(id);
    // Only with its first bytes is it known whether there are downloads.
    if (event !== "start" && this.#downloads.ended.size === this.#downloads.count) this.#sayLayers();
    this.#move();
  }

  /** All layers that have begun; those that began while others were downloaded come at once. */
  #sayLayers(): void {
    if (!this.#unpacking) this.#say(phrases[this.#kind].unpack[this.#written]);
    this.#unpacking = true;
    if (this.#kind === "built") return;
    for (const id of [...this.#begun].slice(this.#said)) {
      const size = this.#sizes.get(id);
      const part = `(${++this.#said}/${this.#layers.count})`;
      if (this.#written === "qcow2") for (const text of diskPhrases(this.#said, part)) this.#say(text);
      this.#say(`Extracting layer ${part}${size === undefined ? "" : ` with size: ${shownSize(size)}`}`);
    }
  }

  #move(): void {
    const layers = this.#layers.begun ? this.#layers.part : 0;
    const downloads = this.#downloads.begun ? this.#downloads.part : 0;
    const before = { fetched: 50 * downloads, built: 50, local: 0 }[this.#kind];
    const value = before + (this.#kind === "local" ? 100 : 50) * layers;
    if (value <= this.#value) return;
    this.#value = value;
    if (performance.now() - this.#told >= RATE) this.#say(this.#status);
  }

  #say(status: string): void {
    if (status === this.#status && performance.now() - this.#told < RATE) return;
    this.#status = status;
    this.#told = performance.now();
    this.#tell({ status, value: this.#value });
  }
}

/** A size as virt-bootstrap writes it: powers of 1024, two digits behind the point where it is not whole. */
export function shownSize(bytes: number): string {
  const units = ["", "KiB", "MiB", "GiB"];
  let value = bytes;
  let unit = 0;
  for (; value > 999 && unit < units.length - 1; unit++) value /= 1024;
  return `${Number.isInteger(value) ? value : value.toFixed(2)} ${units[unit]}`.trim();
}
