/** The words of the image side: what sources give, what the merge passes on, what sinks take. */
import type { ByteString } from "../base/bytes.ts";

export type EntryKind = "file" | "directory" | "symlink" | "link" | "character" | "block" | "fifo";

/**
 * One name in a tree with its metadata. Content, if any, follows it in the stream.
 * Entries that leave the merge have clean relative paths: no leading slash, no `.`, no `..`, no empty parts.
 */
export interface Entry {
  /** Path relative to the root, without leading or trailing slash; the empty string is the root itself. */
  path: ByteString;
  kind: EntryKind;
  /** Permission bits with set-id and sticky bits: 0–07777. */
  mode: number;
  uid: number;
  gid: number;
  /** Bytes of content; 0 for everything but files. */
  size: number;
  /** Modification time in whole seconds since 1970, rounded down. */
  mtime: number;
  /** What follows the whole second, 0–999,999,999; absent where the archive says nothing. */
  nanoseconds?: number;
  /** Target of a symlink (as is), or path of the file that a hard link names (clean, relative). */
  target?: ByteString;
  major?: number;
  minor?: number;
  /** Extended attributes: full names such as `security.capability`, values as bytes. */
  xattrs?: ReadonlyMap<ByteString, Buffer>;
}

/** How entries become the bytes of an archive. */
export interface ArchiveFormat {
  /** What comes before an entry's content. */
  encode(entry: Entry): Buffer;
  /** What comes after `size` bytes of content; undefined for nothing. */
  padding(size: number): Buffer | undefined;
  /** What ends the archive. */
  end(): Buffer;
}

export interface Platform {
  os: string;
  architecture: string;
  variant?: string;
}

/** A digest in the only form accepted: `sha256:` and 64 lower-case hexadecimal digits. Checked by `parseDigest`. */
export type Digest = string & { readonly digest: unique symbol };

/** What OCI's image configuration says about running a container (image-spec, config.md). */
export interface RunConfig {
  Env?: string[];
  Entrypoint?: string[];
  Cmd?: string[];
  WorkingDir?: string;
  User?: string;
  Volumes?: Record<string, unknown>;
  Labels?: Record<string, string>;
  StopSignal?: string;
}

/** One layer of an image. Bytes that come out of `open` are verified by whoever reads them to the end. */
export interface LayerRef {
  /** Digest of the bytes as stored; undefined for sources that have no digests, such as a tarball. */
  digest?: Digest;
  /** Digest of the uncompressed tar; undefined where no configuration promises one. */
  diffId?: Digest;
  /** Bytes as stored, where known. */
  size?: number;
  /** What the manifest says that the stored bytes are. */
  mediaType?: string;
  /** A short name for progress and errors. */
  label: string;
  /**
   * The stored (compressed) bytes from the beginning, more than once if asked. Sources verify digest and size of
   * what they hand out and fail at the end of the stream if they do not agree.
   */
  open(): Promise<AsyncIterable<Buffer>>;
}

/** An image as a source gives it: its configuration and its layers, lowest first. */
export interface SourceImage {
  /**
   * Digest of the manifest; for sources without one, of what identifies the bytes. Decides what is stored once. Where
   * the source was opened to be read once, it may be known only when the last layer was read.
   */
  digest: Digest;
  /** A SOURCE text that names this image again, where what was written may mean another one elsewhere. */
  source?: string;
  /** The name that the image gets in the store if the user gives none, such as `debian:12`. */
  name: string;
  /**
   * Metadata of the root where it is known without reading a layer, so that a sink that needs it first can have it.
   * Only a hint: what the layers say counts.
   */
  root?: Entry;
  /** The manifest's bytes, verified, where the source has one whose digests are those of `layers`. */
  manifest?: Buffer;
  /** The configuration's bytes, verified; kept beside the tree. Absent for tarballs. */
  config?: Buffer;
  run: RunConfig;
  platform: Platform;
  layers: readonly LayerRef[];
  /** Which layers will be read, for sources that fetch them ahead; all, where it is not said. */
  expect?(layers: readonly LayerRef[]): void;
  /** Frees connections and temporary files. */
  close(): Promise<void>;
}

/** A blob of an image: what a manifest says about it. */
export interface BlobInfo {
  digest: Digest;
  /** Bytes, as promised. */
  size: number;
}

/** Keeps blobs between imports. The store implements it; everything that comes out was verified. */
export interface BlobCache {
  /** A small blob, such as a manifest, if it is there. At most `limit` bytes. */
  read(digest: Digest, limit: number): Promise<Buffer | undefined>;
  /** Keeps a small blob whose digest was verified. */
  write(digest: Digest, bytes: Buffer): Promise<void>;
  /**
   * The path of a blob's file, downloading it if it is not there. Only one process downloads a blob at a time.
   * `download` gives the bytes from `offset` on: what an earlier attempt left is not fetched again. `report` gets the
   * bytes that arrive, or were there. Throws E_DIGEST when what arrives is not what was promised.
   */
  obtain(
    blob: BlobInfo,
    download: (offset: number) => Promise<AsyncIterable<Buffer>>,
    signal: AbortSignal,
    report: (bytes: number) => void,
  ): Promise<{ path: string; cached: boolean }>;
}
