/**
 * Disks: an ext4 or ext3 without partition table, in a raw file, a qcow2 file, or a chain of qcow2 files, one a layer.
 * The program rootling-disk (helpers/disk) makes them of a stream of entries, without privileges.
 */
import { accessSync, constants } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { ByteString } from "../../base/bytes.ts";
import type { Context } from "../../base/context.ts";
import { nameBeside } from "../../base/destination.ts";
import { Failure, fileFailure } from "../../base/errors.ts";
import { moveIntoPlace, removeTree, syncDirectory } from "../../base/files.ts";
import { type Running, run } from "../../base/process.ts";
import { escapeText } from "../../base/text.ts";
import type { LayeredSink, OpenLayeredSink } from "../layered.ts";
import { shown } from "../names.ts";
import type { Entry, SourceImage } from "../types.ts";
import { programFailure } from "./program.ts";
import { type OpenSink, type Sink, TooSmall } from "./sink.ts";
import { type TarStream, tarStreamInto } from "./tar-stream.ts";

export const fileSystems = ["ext4", "ext3"] as const;

export type FileSystem = (typeof fileSystems)[number];

export interface DiskOptions {
  /** The file to write; of a chain, the directory. */
  output: string;
  format: "qcow2" | "raw";
  fileSystem?: FileSystem | undefined;
  /** Bytes of the virtual disk; by default so many that the image fits and room is left. */
  size?: number | undefined;
  force: boolean;
}

const GIB = 2 ** 30;

/** Bytes that a virtual disk may have: what helpers/disk takes. */
export const diskSizes = { least: 8 << 20, most: 4 * 2 ** 40 };

/** Percent of a disk that are left free where nobody said how large it is to be. */
const FREE = 10;

/** Layers unpack to two or three times their size; where nothing is known, much is assumed: a disk is mostly holes. */
function estimatedSize({ layers }: SourceImage): number {
  const stored = layers.reduce((sum, { size = 16 * GIB }) => sum + size, 0);
  return Math.max(5, Math.ceil((4 * stored) / GIB)) * GIB;
}

/** A sink that writes one disk with the merged tree. */
export function diskSink(options: DiskOptions, context: Context): OpenSink {
  const growing = growingDisk(options);
  return async (image) => {
    const program = findHelper();
    const temporary = await nameBeside(options.output, "file", options.force);
    const files = [temporary];
    return new DiskSink(program, growing(image), temporary, files, options, context);
  };
}

/** A sink that writes a directory with `layer-0.qcow2` and so on, each backed by the one before. */
export function diskChainSink(options: DiskOptions, context: Context): OpenLayeredSink {
  const growing = growingDisk(options);
  return async (image, layers) => {
    const program = findHelper();
    const directory = await nameBeside(options.output, "directory", options.force);
    await mkdir(directory).catch((error: unknown) => {
      throw fileFailure(error, "making the output", options.output);
    });
    const files = Array.from({ length: layers }, (_, index) => join(directory, `layer-${index}.qcow2`));
    return new DiskSink(program, growing(image), directory, files, options, context);
  };
}

/** The size of the disk that is begun next. One that was too small is followed by one of twice its size. */
function growingDisk({ size }: DiskOptions): (image: SourceImage) => number {
  let last: number | undefined;
  return (image) => {
    last = size ?? (last === undefined ? estimatedSize(image) : 2 * last);
    return last;
  };
}

/** dist/ beside the sources, or the directory of the bundle itself. */
const PLACES = [import.meta.dirname, join(import.meta.dirname, "../../../dist")];

/** The program for this processor. Throws E_PROGRAM. */
function findHelper(): string {
  for (const directory of PLACES) {
    const file = join(directory, `disk-${process.arch}`);
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {
      // Not here: the next place is looked at.
    }
  }
  throw new Failure("E_PROGRAM", `the program that makes disks is missing: disk-${process.arch}`, {
    mend: "in a checkout, install its library (Debian, Ubuntu: apt-get install libext2fs-dev) and run `npm run build`",
  });
}

/** Exit statuses of the program: helpers/disk/disk.h. */
const TOO_SMALL = 3;
const NO_TREE = 4;

/** Typeflags of records that no tar has: helpers/disk/main.c. */
const HIDE = "W";
const HIDE_CONTENT = "O";
const NEXT_LAYER = "N";
const DESCRIBE = "M";

const KEPT_ATTRIBUTES = /^(user|trusted|security)\.|^system\.posix_acl_(access|default)$/;

const NAMELESS = "" as ByteString;

class DiskSink implements Sink, LayeredSink {
  readonly #running: Running;
  readonly #stream: TarStream;
  /** What is being made: the file, or the directory of the files. */
  readonly #temporary: string;
  readonly #files: readonly string[];
  readonly #options: DiskOptions;
  readonly #size: number;
  readonly #context: Context;
  #said = "";
  #warned = false;

  constructor(
    program: string,
    size: number,
    temporary: string,
    files: readonly string[],
    options: DiskOptions,
    context: Context,
  ) {
    const { format, fileSystem = "ext4" } = options;
    const free = options.size === undefined ? FREE : 0;
    const words = [format, fileSystem, String(size), String(free), ...files];
    this.#running = run(program, words, {
      stdin: "pipe",
      signal: context.signal,
      onStderr: (text) => (this.#said = (this.#said + text).slice(-1000)),
    });
    this.#stream = tarStreamInto(this.#running);
    this.#temporary = temporary;
    this.#files = files;
    this.#options = options;
    this.#size = size;
    this.#context = context;
  }

  entry(entry: Entry): void {
    this.#stream.entry(this.#kept(entry));
  }

  data(slice: Buffer): void {
    this.#stream.data(slice);
  }

  end(): void {
    this.#stream.end();
  }

  hide(path: ByteString): void {
    this.#mark(HIDE, path);
  }

  hideContent(path: ByteString): void {
    this.#mark(HIDE_CONTENT, path);
  }

  describe(entry: Entry): void {
    this.#stream.record(this.#kept(entry), DESCRIBE);
  }

  nextLayer(): void {
    this.#mark(NEXT_LAYER, NAMELESS);
  }

  flush(): Promise<void> | undefined {
    return this.#stream.flush()?.catch((error: unknown) => {
      throw this.#explain(error);
    });
  }

  async commit(root?: Entry): Promise<void> {
    if (root !== undefined) {
      this.entry(root);
      this.end();
    }
    try {
      await this.#stream.commit();
      if (this.#files[0] !== this.#temporary) await syncDirectory(this.#temporary);
    } catch (error) {
      throw this.#explain(error);
    }
    await moveIntoPlace(this.#temporary, this.#options.output, this.#options.force);
  }

  async abort(): Promise<void> {
    await this.#running.kill();
    if (this.#files[0] === this.#temporary) await rm(this.#temporary, { force: true }).catch(() => {});
    else await removeTree(this.#temporary).catch(() => {});
  }

  /** The entry with the attributes that ext4 has a place for; others are told of once. */
  #kept(entry: Entry): Entry {
    const lost = [...(entry.xattrs?.keys() ?? [])].find((name) => !KEPT_ATTRIBUTES.test(name));
    if (lost === undefined) return entry;
    if (!this.#warned)
      this.#context.warn(`a disk cannot keep the extended attribute ${shown(lost)} of ${shown(entry.path)}`);
    this.#warned = true;
    return { ...entry, xattrs: new Map([...(entry.xattrs ?? [])].filter(([name]) => KEPT_ATTRIBUTES.test(name))) };
  }

  #mark(type: string, path: ByteString): void {
    this.#stream.record({ path, kind: "file", mode: 0, uid: 0, gid: 0, size: 0, mtime: 0 }, type);
  }

  #explain(error: unknown): unknown {
    const { output, size } = this.#options;
    const status = this.#running.child.exitCode;
    if (status === NO_TREE) {
      return new Failure("E_LAYER", escapeText(this.#said.trim()), {
        mend: "the image is damaged; ask whoever made it",
        cause: error,
      });
    }
    if (status !== TOO_SMALL) return programFailure(error, "writing the disk", output);
    if (size === undefined && 2 * this.#size <= diskSizes.most) return new TooSmall();
    return new Failure("E_SPACE", "the image does not fit on a disk of this size", {
      where: "--disk-size",
      mend: "name a larger one, or leave it out",
      cause: error,
    });
  }
}
