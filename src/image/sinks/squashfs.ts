/** The squashfs sink: `mksquashfs - OUT -tar`, needs no privileges. Written for the traps of 4.5.1. */
import { rm } from "node:fs/promises";
import { availableParallelism } from "node:os";
import type { ByteString } from "../../base/bytes.ts";
import type { Context } from "../../base/context.ts";
import { fileBeside } from "../../base/destination.ts";
import { Failure } from "../../base/errors.ts";
import { moveIntoPlace, syncFile } from "../../base/files.ts";
import { type Enter, requireProgram, run } from "../../base/process.ts";
import { RESERVED } from "../names.ts";
import type { Entry, SourceImage } from "../types.ts";
import { programFailure } from "./program.ts";
import { ourIds, runningAs } from "./run-as.ts";
import { type OpenSink, RootDiffers, type Sink, USUAL_ROOT } from "./sink.ts";
import { type TarStream, tarStreamInto } from "./tar-stream.ts";

export interface SquashfsOptions {
  /** The file to write. */
  output: string;
  /** Compressor and level, such as `zstd:3` or `lz4`. */
  comp: string;
  /** Options of mksquashfs in place of those that `comp` stands for. */
  words?: readonly string[] | undefined;
  force: boolean;
  /** Everything belongs to root, the directory / too: it takes no user namespace then. */
  rootOwned?: boolean | undefined;
  /** Seconds since 1970 that no time in the file exceeds: then the same image makes the same bytes. */
  sourceDateEpoch?: string | undefined;
}

/** Levels that mksquashfs takes; null where it takes none. */
const compressors: Record<string, readonly [number, number] | null> = {
  gzip: [1, 9],
  lzo: [1, 9],
  zstd: [1, 22],
  xz: null,
  lz4: null,
};

/** mksquashfs's options for `NAME` or `NAME:LEVEL`. Throws E_USAGE. */
export function compressionOptions(comp: string): string[] {
  const [name = "", level] = comp.split(":");
  const range = Object.hasOwn(compressors, name) ? compressors[name] : undefined;
  const valid =
    range !== undefined &&
    (level === undefined ||
      (range !== null && /^[0-9]{1,2}$/.test(level) && Number(level) >= range[0] && Number(level) <= range[1]));
  if (!valid) {
    throw new Failure("E_USAGE", "not a compression that squashfs has", {
      where: "--comp",
      mend: "use zstd:1 to zstd:22, gzip:1 to gzip:9, lzo:1 to lzo:9, xz or lz4",
    });
  }
  return level === undefined ? ["-comp", name] : ["-comp", name, "-Xcompression-level", level];
}

/** A sink that writes a squashfs file, with the image's configuration in /.rootling. */
export function squashfsSink(options: SquashfsOptions, context: Context): OpenSink {
  const compression = options.words ?? compressionOptions(options.comp);
  return async (image, root) => {
    const program = requireProgram("mksquashfs", "squashfs-tools");
    const temporary = await fileBeside(options.output, options.force);
    const { uid, gid } = root ?? USUAL_ROOT;
    const enter = options.rootOwned ? asWeAre : await runningAs(uid, gid, temporary);
    return new SquashfsSink([program, ...compression], enter, temporary, options, image, root, context);
  };
}

const asWeAre: Enter = (words) => [...words];

const KEPT_ATTRIBUTES = /^(user|trusted|security)\./;

class SquashfsSink implements Sink {
  readonly #stream: TarStream;
  readonly #running: ReturnType<typeof run>;
  readonly #temporary: string;
  readonly #options: SquashfsOptions;
  readonly #image: SourceImage;
  /** What the file's root gets. */
  readonly #root: Pick<Entry, "mode" | "uid" | "gid">;
  readonly #keepsOwner: boolean;
  readonly #context: Context;
  #ignored: string | undefined;
  #warned = false;

  constructor(
    words: readonly string[],
    enter: Enter | undefined,
    temporary: string,
    options: SquashfsOptions,
    image: SourceImage,
    root: Entry | undefined,
    context: Context,
  ) {
    this.#temporary = temporary;
    this.#options = options;
    this.#image = image;
    const { mode, uid, gid } = root ?? USUAL_ROOT;
    this.#keepsOwner = enter !== undefined;
    this.#root = this.#keepsOwner ? { mode, uid, gid } : { mode, ...ourIds() };
    this.#context = context;
    const [program = "", ...compression] = words;
    // With -tar, 4.5.1 ignores -root-uid and -root-gid as well as an entry for the root: it belongs to who runs it.
    const [file = "", ...args] = (enter ?? asWeAre)([
      program,
      ...["-", temporary, "-tar", "-noappend", "-no-progress", "-quiet", "-xattrs"],
      ...["-processors", String(context.settings.MAX_PROCESSORS || availableParallelism()), "-mem", "128M"],
      ...["-root-mode", this.#root.mode.toString(8), ...(options.rootOwned ? ["-all-root"] : [])],
      ...compression,
    ]);
    this.#running = run(file, args, {
      stdin: "pipe",
      signal: context.signal,
      // With -tar, 4.5.1 takes the time of the root from nowhere else.
      ...(options.sourceDateEpoch === undefined ? {} : { env: { SOURCE_DATE_EPOCH: options.sourceDateEpoch } }),
      // It says so, leaves a file out, and ends with status 0.
      onStderr: (text) => {
        if (/ignoring/i.test(text)) this.#ignored ??= text;
      },
    });
    this.#stream = tarStreamInto(this.#running);
  }

  entry(given: Entry): void {
    const entry = given.xattrs === undefined ? given : this.#withAttributes(given, given.xattrs);
    // squashfs keeps whole seconds from 1970 to 2106.
    const mtime = Math.min(Math.max(entry.mtime, 0), 0xffffffff);
    if (mtime === entry.mtime && !entry.nanoseconds) this.#stream.entry(entry);
    else this.#stream.entry({ ...entry, mtime, nanoseconds: 0 });
  }

  /** squashfs has three namespaces of attributes; those of others, such as access control lists, are told of once. */
  #withAttributes(entry: Entry, xattrs: NonNullable<Entry["xattrs"]>): Entry {
    const lost = [...xattrs.keys()].find((name) => !KEPT_ATTRIBUTES.test(name));
    if (lost === undefined) return entry;
    if (!this.#warned) this.#context.warn(`squashfs cannot keep the extended attribute ${lost} of ${entry.path}`);
    this.#warned = true;
    return { ...entry, xattrs: new Map([...xattrs].filter(([name]) => KEPT_ATTRIBUTES.test(name))) };
  }

  data(slice: Buffer): void {
    this.#stream.data(slice);
  }

  end(): void {
    this.#stream.end();
  }

  flush(): Promise<void> | undefined {
    return this.#stream.flush()?.catch((error: unknown) => {
      throw this.#explain(error);
    });
  }

  async commit(root: Entry): Promise<void> {
    const { mode, uid, gid } = this.#root;
    const sameOwner = root.uid === uid && root.gid === gid;
    if (root.mode !== mode || (this.#keepsOwner && !sameOwner)) throw new RootDiffers(root);
    if (!sameOwner) {
      this.#context.warn(`mksquashfs cannot give the root directory the owner ${root.uid}:${root.gid} here`);
    }
    this.#addConfiguration();
    try {
      await this.#stream.commit();
      if (this.#ignored !== undefined) throw new Failure("E_PROGRAM", "mksquashfs left something out");
      await syncFile(this.#temporary);
    } catch (error) {
      throw this.#explain(error);
    }
    await moveIntoPlace(this.#temporary, this.#options.output, this.#options.force);
  }

  async abort(): Promise<void> {
    await this.#running.kill();
    await rm(this.#temporary, { force: true }).catch(() => {});
  }

  #addConfiguration(): void {
    const add = (path: string, kind: "file" | "directory", mode: number, content: Buffer) => {
      this.#stream.entry({ path: path as ByteString, kind, mode, uid: 0, gid: 0, size: content.length, mtime: 0 });
      if (content.length > 0) this.#stream.data(content);
      this.#stream.end();
    };
    if (this.#image.config === undefined) return;
    add(RESERVED, "directory", 0o755, Buffer.alloc(0));
    add(`${RESERVED}/config.json`, "file", 0o644, this.#image.config);
    add(`${RESERVED}/manifest-digest`, "file", 0o644, Buffer.from(`${this.#image.digest}\n`));
  }

  #explain(error: unknown): unknown {
    return programFailure(error, "writing the squashfs file", this.#options.output);
  }
}
