/**
 * Merges the layers of an image, top layer first, in one pass: the first to name a path wins; whiteouts and opaque
 * directories hide what lower layers say (OCI image-spec, layer.md).
 */
import type { ByteString } from "../base/bytes.ts";
import { Failure } from "../base/errors.ts";
import { checkNames, tooLarge } from "./limits.ts";
import { Links, type Missed } from "./links.ts";
import type { Listed, ListingWriter } from "./listing.ts";
import { cleanPath, RESERVED, shown, whiteoutOf } from "./names.ts";
import { type EntrySink, USUAL_ROOT } from "./sinks/sink.ts";
import type { TarHandler } from "./tar-read.ts";
import { Tree } from "./tree.ts";
import type { Entry } from "./types.ts";

/** Directories that no layer describes get what a root of its own would have. */
const UNDESCRIBED = USUAL_ROOT;

/**
 * A layer names something twice. As extraction would have it the last one wins, which shows only at the end: the
 * import starts anew, with the list of what that layer supersedes.
 */
export class RepeatedName extends Error {
  readonly layer: number;

  constructor(layer: number) {
    super("a layer names something twice");
    this.layer = layer;
  }
}

/** What is known of a layer before it is merged: the ordinals of entries that later ones in it supersede. */
export type Superseded = ReadonlySet<number>;

/** The entry to pass on, perhaps under another name, and the names to link to it. */
interface Accepted {
  readonly file: Entry;
  readonly links: readonly ByteString[];
}

const nameOfFile = (accepted: Accepted | undefined): ByteString | undefined =>
  accepted?.file.kind === "file" ? accepted.file.path : undefined;

/** What is told what a layer hides of those below it. */
export interface Below {
  /** Lower layers say nothing of `path`. */
  hide(path: ByteString): void;
  /** Nor of what is in the directory `path`. */
  hideContent(path: ByteString): void;
}

export interface MergeOptions {
  maxEntries: number;
  warn(message: string): void;
  /**
   * One layer is merged alone, for a sink that has the lower ones already: whiteouts and the root's entry are passed
   * on, and a link to a file that the layer has not so far is one to theirs, then and there.
   */
  below?: Below;
}

export class Merge {
  readonly #sink: EntrySink;
  readonly #options: MergeOptions;
  readonly #tree: Tree;
  readonly #links = new Links();
  #entries = 0;
  #bytes = 0;
  #warnedReserved = false;
  /** The root's own metadata, from the topmost layer that has an entry for it. */
  root: Entry = UNDESCRIBED;

  constructor(sink: EntrySink, options: MergeOptions) {
    this.#sink = sink;
    this.#options = options;
    this.#tree = new Tree(options.maxEntries);
  }

  /** Entries that were read so far. */
  get entries(): number {
    return this.#entries;
  }

  /** Bytes of content that entered the tree. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * What takes the entries of layer `index`. `superseded` is given once that layer was found to repeat a name;
   * `listing` is told of each entry, and what its file is called in the tree.
   */
  layer(
    index: number,
    label: string,
    superseded: Superseded | undefined,
    listing: Pick<ListingWriter, "add"> | undefined,
  ): TarHandler {
    let ordinal = -1;
    let links: readonly ByteString[] = [];
    let file: Entry | undefined;
    return {
      entry: (raw) => {
        const accepted = this.#take(raw, index, ++ordinal, label, superseded);
        listing?.add(raw, nameOfFile(accepted));
        if (accepted === undefined) return false;
        ({ file, links } = accepted);
        this.#sink.entry(file);
        this.#bytes += file.size;
        return true;
      },
      data: (slice) => this.#sink.data(slice),
      end: () => {
        this.#sink.end();
        if (file !== undefined) for (const path of links) this.#emitLink(path, file.path, file);
      },
    };
  }

  /**
   * What takes the entries of layer `index` from a listing, with the names that their files have in another tree. Files
   * that this tree has not are missed: `endLayer` names them, and the layer has to be read after all.
   */
  listed(
    index: number,
    label: string,
    superseded: Superseded | undefined,
    listing: Pick<ListingWriter, "add">,
    reuse: (file: Entry, name: ByteString) => void,
  ): (listed: Listed) => void {
    let ordinal = -1;
    return ({ entry: raw, name }) => {
      const accepted = this.#take(raw, index, ++ordinal, label, superseded);
      listing.add(raw, nameOfFile(accepted));
      if (accepted === undefined) return;
      const { file, links } = accepted;
      if (file.size > 0 && name === undefined) {
        this.#links.wait({ kind: "missed", name: file.path, ordinal }, [file.path, ...links], index);
        return;
      }
      if (file.size > 0 && name !== undefined) reuse(file, name);
      else this.#emit(file);
      this.#bytes += file.size;
      for (const path of links) this.#emitLink(path, file.path, file);
    };
  }

  /** Ends a layer: the covered files of it that links want after all. */
  endLayer(): Missed {
    return this.#links.endLayer();
  }

  /** For the second reading of layer `index`: takes the files that were `missed`, and nothing else. */
  again(missed: Missed, label: string): TarHandler {
    let ordinal = -1;
    let paths: ByteString[] = [];
    let file: Entry | undefined;
    return {
      entry: (raw) => {
        paths = missed.get(++ordinal) ?? [];
        const [first] = paths;
        const entry = first === undefined ? undefined : readEntry(raw, label);
        if (first === undefined || entry === undefined) return false;
        file = { ...entry, path: first };
        this.#sink.entry(file);
        this.#bytes += file.size;
        return true;
      },
      data: (slice) => this.#sink.data(slice),
      end: () => {
        this.#sink.end();
        if (file !== undefined) for (const path of paths.slice(1)) this.#emitLink(path, file.path, file);
      },
    };
  }

  /** All layers were read: passes on the directories that none described. Throws E_LAYER for a link without file. */
  finish(): void {
    const broken = this.#links.unresolved();
    if (broken?.loop) throw linkLoop(broken.path, broken.target);
    if (broken !== undefined) throw brokenLink(broken.path, broken.target, undefined);
    if (this.#options.below !== undefined) return;
    for (const path of this.#tree.undescribed()) this.#emit({ ...UNDESCRIBED, path });
  }

  /** What of an entry, as an archive spells it, is to be passed on. */
  #take(
    raw: Entry,
    layer: number,
    ordinal: number,
    label: string,
    superseded: Superseded | undefined,
  ): Accepted | undefined {
    this.#count(label);
    if (superseded?.has(ordinal)) return undefined;
    const entry = readEntry(raw, label);
    if (entry === undefined || this.#reserved(entry.path)) return undefined;
    return this.#accept(entry, layer, ordinal, label, superseded !== undefined);
  }

  #accept(entry: Entry, layer: number, ordinal: number, label: string, indexed: boolean): Accepted | undefined {
    const whiteout = whiteoutOf(entry.path, label);
    if (whiteout?.kind === "remove") this.#hide(whiteout.path, layer);
    if (whiteout?.kind === "opaque") this.#hideContent(whiteout.path, layer);
    if (whiteout !== undefined) return undefined;
    // To overlayfs such a device is a whiteout. It would make the name vanish, so it does that here and now.
    if (entry.kind === "character" && entry.major === 0 && entry.minor === 0) {
      this.#hide(entry.path, layer);
      return undefined;
    }
    const placement =
      entry.kind === "directory"
        ? this.#tree.placeDirectory(entry.path, layer)
        : this.#tree.placeLeaf(entry.path, layer);
    if (placement === "repeated") {
      if (!indexed) throw new RepeatedName(layer);
      throw new Failure("E_LAYER", `an entry lies below a name that is no directory: ${shown(entry.path)}`, {
        where: label,
        mend: "the archive is damaged or malicious; ask whoever made it",
      });
    }
    if (entry.kind === "directory") {
      if (placement === "hidden") return undefined;
      if (entry.path === "") this.root = entry;
      return entry.path !== "" || this.#options.below !== undefined ? { file: entry, links: [] } : undefined;
    }
    return entry.kind === "link"
      ? this.#acceptLink(entry, placement, layer, label)
      : this.#acceptFile(entry, placement, layer, ordinal);
  }

  #acceptFile(entry: Entry, placement: "new" | "hidden", layer: number, ordinal: number) {
    const waiting = this.#links.take(entry.path, layer);
    if (placement === "new") return { file: entry, links: waiting };
    const [first, ...others] = waiting;
    if (first === undefined) {
      this.#links.passCovered(entry.path, { kind: "missed", name: entry.path, ordinal });
      return undefined;
    }
    this.#links.passCovered(entry.path, { kind: "there", name: first });
    return { file: { ...entry, path: first }, links: others };
  }

  #acceptLink(entry: Entry, placement: "new" | "hidden", layer: number, label: string): undefined {
    const target = entry.target ?? ("" as ByteString);
    if (target === entry.path) throw brokenLink(entry.path, target, label);
    const paths = this.#links.take(entry.path, layer);
    const finding = this.#links.find(target, (path) => this.#tree.leafLayer(path) === layer);
    if (placement === "new") paths.push(entry.path);
    else this.#links.passCovered(entry.path, finding);
    const present = finding.kind === "there" || (finding.kind === "expected" && this.#options.below !== undefined);
    if (present) for (const path of paths) this.#emitLink(path, finding.name, entry);
    else this.#links.wait(finding, paths, layer);
  }

  #hide(path: ByteString, layer: number): void {
    if (this.#options.below === undefined) this.#tree.hide(path, layer);
    else this.#options.below.hide(path);
  }

  #hideContent(path: ByteString, layer: number): void {
    if (this.#options.below === undefined) this.#tree.hideContent(path, layer);
    else this.#options.below.hideContent(path);
  }

  /** A link says what its file is: some unpackers, docker's among them, give the file what its last link says. */
  #emitLink(path: ByteString, target: ByteString, { mode, uid, gid, mtime }: Entry): void {
    this.#emit({ path, kind: "link", target, mode, uid, gid, size: 0, mtime });
  }

  #emit(entry: Entry): void {
    this.#sink.entry(entry);
    this.#sink.end();
  }

  #count(label: string): void {
    checkNames(++this.#entries, this.#options.maxEntries, label);
  }

  #reserved(path: ByteString): boolean {
    if (path !== RESERVED && !path.startsWith(`${RESERVED}/`)) return false;
    if (!this.#warnedReserved) this.#options.warn(`the image's own /${RESERVED} is left out: the name is reserved`);
    this.#warnedReserved = true;
    return true;
  }
}

/** The entry with clean names and without what must not enter a tree; undefined if nothing remains of it. */
export function readEntry(raw: Entry, label: string): Entry | undefined {
  const entry = { ...raw, path: cleanPath(raw.path, label) };
  if (entry.path === "" && entry.kind !== "directory") {
    throw new Failure("E_LAYER", "an entry that is no directory would replace the root", {
      where: label,
      mend: "the archive is damaged or malicious; ask whoever made it",
    });
  }
  if (entry.kind === "link") entry.target = cleanPath(entry.target ?? ("" as ByteString), label);
  if (entry.kind === "symlink") checkTarget(entry, label);
  if (entry.xattrs !== undefined) {
    // They would steer an overlayfs that has the tree as a layer: hide files, redirect directories.
    const xattrs = new Map([...entry.xattrs].filter(([name]) => !/^(user|trusted)\.overlay\./.test(name)));
    if (xattrs.size > 0) entry.xattrs = xattrs;
    else delete entry.xattrs;
  }
  return entry;
}

function checkTarget(entry: Entry, label: string): void {
  const target = entry.target ?? "";
  if (target.length >= 4096) throw tooLarge(`a symlink to a name of ${target.length} bytes`, label);
  if (target === "" || target.includes("\0")) {
    throw new Failure("E_LAYER", `a symlink without a valid target: ${shown(entry.path)}`, {
      where: label,
      mend: "the archive is damaged or malicious; ask whoever made it",
    });
  }
}

function linkLoop(path: ByteString, target: ByteString): Failure {
  return new Failure("E_LAYER", `hard links lead to each other and to no file: ${shown(path)}, ${shown(target)}`, {
    mend: "the image is damaged or malicious; ask whoever made it",
  });
}

function brokenLink(path: ByteString, target: ByteString, label: string | undefined): Failure {
  return new Failure("E_LAYER", `the hard link ${shown(path)} names a file that is not there: ${shown(target)}`, {
    ...(label === undefined ? {} : { where: label }),
    mend: "the image is damaged; ask whoever made it",
  });
}
