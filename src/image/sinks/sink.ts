/** What a tree is written to. */
import type { ByteString } from "../../base/bytes.ts";
import type { Entry, SourceImage } from "../types.ts";

/** Takes entries in the order of the merge: children may come before their directory, a link comes after its file. */
export interface EntrySink {
  entry(entry: Entry): void;
  /** Content of the last entry, in pieces. */
  data(slice: Buffer): void;
  /** Ends the last entry. */
  end(): void;
}

/** A sink that is being filled. Either `commit` or `abort` ends it; after `abort` nothing of it is left. */
export interface Sink extends EntrySink {
  /**
   * Makes `entry` the same file as `present`, an absolute path. Sinks that cannot do so have no such method; one that
   * fails to, on a file system without room for more links say, fails as a whole.
   */
  reuse?(entry: Entry, present: ByteString): void;
  /** Passes on what was collected. Resolves when there is room for more; rejects once the sink has failed. */
  flush(): Promise<void> | undefined;
  /** Everything was verified: makes the output complete and durable, under its final name. */
  commit(root: Entry): Promise<void>;
  /** Never rejects. */
  abort(): Promise<void>;
}

/** The methods of a sink in front of `sink` that does nothing about them. `reuse` is none of them: it would pass it by. */
export const passing = (sink: Sink): Sink => ({
  entry: (entry) => sink.entry(entry),
  data: (slice) => sink.data(slice),
  end: () => sink.end(),
  flush: () => sink.flush(),
  commit: (root) => sink.commit(root),
  abort: () => sink.abort(),
});

/** Metadata of a root that nothing is said of. */
export const USUAL_ROOT = {
  kind: "directory",
  path: "" as ByteString,
  mode: 0o755,
  uid: 0,
  gid: 0,
  size: 0,
  mtime: 0,
} as const;

/** Begins a sink. `root` is the metadata of the root as far as known: sinks may need it in the beginning. */
export type OpenSink = (image: SourceImage, root: Entry | undefined) => Promise<Sink>;

/** The root's metadata differs from what the sink was opened with: the import starts anew, knowing it. */
export class RootDiffers extends Error {
  readonly root: Entry;

  constructor(root: Entry) {
    super("the root's metadata was not known in the beginning");
    this.root = root;
  }
}

/** What was begun is too small for the image: the import starts anew, and the sink's next one is larger. */
export class TooSmall extends Error {
  constructor() {
    super("what was begun is too small for the image");
  }
}
