/**
 * The directory sink: GNU tar, into a new directory closed to others while it is filled. As root owners, devices and
 * all xattrs are kept. An ordinary user gets what `umoci unpack --rootless` makes: everything is the user's own,
 * devices are empty files, only `user.` xattrs are set, and owners are noted in `user.rootlesscontainers`. In a user
 * namespace with a map of many ids owners are kept, and file capabilities; devices are empty files there too.
 */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { type ByteString, fromText } from "../../base/bytes.ts";
import type { Context } from "../../base/context.ts";
import { checkOutput, contentOf } from "../../base/destination.ts";
import { Failure, fileFailure } from "../../base/errors.ts";
import { clearTemporaries, moveIntoPlace, ownPower, type Power, temporaryName } from "../../base/files.ts";
import { capture, type Enter, requireProgram, run } from "../../base/process.ts";
import { escapeText } from "../../base/text.ts";
import { OWNER_NOTE, ownerNote } from "../owner-note.ts";
import type { Entry } from "../types.ts";
import { programFailure } from "./program.ts";
import { type OpenSink, passing, type Sink } from "./sink.ts";
import { type TarStream, tarStreamInto } from "./tar-stream.ts";
import { XattrSamples } from "./xattr-probe.ts";

export interface DirectoryOptions {
  /** Fills a directory that must be new and empty, and leaves its name and removal to the caller. */
  directory: string;
  /** Whether owners and devices can be made; by default for root. */
  privileged?: boolean;
  /** Owners are made inside a user namespace. */
  mapped?: Mapped | undefined;
  /** Says so where files do not get the owners that the image gives them. */
  tellsOwners?: boolean;
}

/** A user namespace whose root unpacks. */
export interface Mapped {
  /** Runs programs in it. */
  readonly enter: Enter;
  /** The entry with its ids as they are called there. Throws E_SUBUID for those that it has not. */
  inside(entry: Entry): Entry;
}

/** How a directory of one's own is made, whose files may be others'. */
export interface Owners {
  readonly mapped?: Mapped | undefined;
  /** Over such files. */
  readonly power: Power;
}

/** A sink that fills an existing empty directory. Its content is durable after commit. */
export function fillDirectorySink(options: DirectoryOptions, context: Context): OpenSink {
  return async () => {
    requireProgram("tar", "tar");
    const privileged = options.mapped ?? options.privileged ?? process.geteuid?.() === 0;
    return new DirectorySink(options, privileged, context);
  };
}

/**
 * A sink that makes the directory `output` with the tree in it. An empty one where a file system is mounted cannot be
 * replaced, and need not be: it is filled in place.
 */
export function directorySink(
  output: string,
  force: boolean,
  context: Context,
  { mapped, power }: Owners = { power: ownPower },
): OpenSink {
  return async (image, root) => {
    const fill = (directory: string) =>
      fillDirectorySink({ directory, mapped, tellsOwners: true }, context)(image, root);
    if ((await checkOutput(output, "tree", force)) === "in place") {
      return wrapped(await fill(output), {
        committed: async () => {},
        aborted: async () => {
          for (const name of await contentOf(output)) await power.remove(join(output, name));
        },
      });
    }
    await clearTemporaries(output, power);
    const directory = temporaryName(output);
    await mkdir(directory, { mode: 0o700 }).catch((error: unknown) => {
      throw fileFailure(error, "making the output", output);
    });
    return wrapped(await fill(directory), {
      committed: () => moveIntoPlace(directory, output, force, power),
      aborted: () => power.remove(directory),
    });
  };
}

/** A sink that has more to do at its end. */
const wrapped = (sink: Sink, then: { committed(): Promise<void>; aborted(): Promise<void> }): Sink => ({
  ...passing(sink),
  commit: async (root) => {
    await sink.commit(root);
    await then.committed();
  },
  abort: async () => {
    await sink.abort();
    await then.aborted().catch(() => {});
  },
});

class DirectorySink implements Sink {
  readonly #directory: string;
  readonly #privileged: boolean | Mapped;
  readonly #running: ReturnType<typeof run>;
  readonly #stream: TarStream;
  readonly #samples = new XattrSamples();
  readonly #context: Context;
  readonly #tellsOwners: boolean;
  /** An owner that a file of the image does not get. */
  #lostOwner: string | undefined;
  /** What tar said of an attribute that it could not set. */
  #lost: string | undefined;

  constructor({ directory, tellsOwners = false }: DirectoryOptions, privileged: boolean | Mapped, context: Context) {
    this.#directory = directory;
    this.#tellsOwners = tellsOwners;
    this.#privileged = privileged;
    this.#context = context;
    const owner = privileged ? "--same-owner" : "--no-same-owner";
    const [file = "", ...args] = entered(
      privileged,
      // -P: names are clean already, and targets of symlinks stay as they are. Directories get their times last,
      // since their entries may come before or after what is in them.
      [
        requireProgram("tar", "tar"),
        ...["-x", "-f", "-", "-C", directory, "-p", "-P", "-b", "512", "--numeric-owner", owner],
        ...["--delay-directory-restore", "--xattrs", "--xattrs-include=*", "--warning=no-timestamp"],
      ],
    );
    this.#running = run(file, args, {
      stdin: "pipe",
      signal: context.signal,
      // To tar an attribute that did not fit is worth a warning. Where a file system keeps none, the samples tell.
      onStderr: (text) => {
        this.#lost ??= /Cannot set .* extended attribute.*(No space left|quota|Input\/output).*/.exec(text)?.[0];
      },
    });
    this.#stream = tarStreamInto(this.#running);
  }

  entry(entry: Entry): void {
    const possible = asPossible(entry, this.#privileged);
    if (this.#privileged === false && (entry.uid !== 0 || entry.gid !== 0))
      this.#lostOwner ??= `${entry.uid}:${entry.gid}`;
    if (possible.xattrs !== undefined) this.#samples.add(possible);
    this.#stream.entry(possible);
  }

  /** To tar it is one more hard link; what such an entry says of the file's metadata counts for nothing. */
  reuse({ path, mode, uid, gid, mtime }: Entry, present: ByteString): void {
    this.#stream.entry({ path, kind: "link", target: present, mode, uid, gid, size: 0, mtime });
    this.#stream.end();
  }

  data(slice: Buffer): void {
    this.#stream.data(slice);
  }

  end(): void {
    this.#stream.end();
  }

  flush(): Promise<void> | undefined {
    return this.#stream.flush()?.catch((error: unknown) => {
      throw programFailure(error, "unpacking the image", this.#directory);
    });
  }

  async commit(root: Entry): Promise<void> {
    try {
      // The probe would change the root's time.
      const missing = await this.#samples.missingIn(this.#directory, (words) => entered(this.#privileged, words));
      if (missing.length > 0) {
        const names = missing.map((name) => escapeText(name)).join(", ");
        this.#context.warn(`the file system does not keep extended attributes (${names}): ${this.#directory}`);
      }
      if (this.#lostOwner !== undefined && this.#tellsOwners) {
        this.#context.warn(
          `all files are yours, also those of ${this.#lostOwner} and others: ${OWNER_NOTE} says whose they were`,
        );
      }
      this.entry({ ...root, path: fromText(".") });
      this.end();
      await this.#stream.commit();
      if (this.#lost !== undefined) throw new Failure("E_PROGRAM", escapeText(this.#lost));
      // One syncfs(2) for the whole tree: a sync of each file would take minutes.
      const [sync = "", ...words] = entered(this.#privileged, [
        requireProgram("sync", "coreutils"),
        "-f",
        this.#directory,
      ]);
      await capture(sync, words);
    } catch (error) {
      throw programFailure(error, "unpacking the image", this.#directory);
    }
  }

  async abort(): Promise<void> {
    await this.#running.kill();
  }
}

const entered = (privileged: boolean | Mapped, words: readonly string[]): string[] =>
  typeof privileged === "boolean" ? [...words] : privileged.enter(words);

const asPossible = (entry: Entry, privileged: boolean | Mapped): Entry => {
  if (typeof privileged === "boolean") return privileged ? entry : asOwnUser(entry);
  return asMapped(entry, privileged);
};

/** The entry as root of a user namespace can have it. */
function asMapped(given: Entry, map: Mapped): Entry {
  const entry = map.inside(given);
  const { major, minor, xattrs, ...plain } = entry;
  const kept = new Map([...(xattrs ?? [])].filter(([name]) => /^user\.|^security\.capability$/.test(name)));
  const kind = entry.kind === "character" || entry.kind === "block" ? "file" : entry.kind;
  return { ...plain, kind, ...(kept.size > 0 ? { xattrs: kept } : {}) };
}

/** The entry as an ordinary user can have it. */
function asOwnUser(entry: Entry): Entry {
  const { major, minor, xattrs, ...plain } = entry;
  const own: Entry = { ...plain, uid: 0, gid: 0 };
  if (entry.kind === "character" || entry.kind === "block") own.kind = "file";
  const kept = new Map([...(xattrs ?? [])].filter(([name]) => name.startsWith("user.") && name !== OWNER_NOTE));
  // xattr(7): user attributes are for files and directories that the caller may write to.
  const takesNote = (own.kind === "file" || own.kind === "directory") && (entry.mode & 0o200) !== 0;
  if (takesNote && (entry.uid !== 0 || entry.gid !== 0)) kept.set(OWNER_NOTE, ownerNote(entry.uid, entry.gid));
  if (kept.size > 0 && (own.kind === "file" || own.kind === "directory")) own.xattrs = kept;
  return own;
}
