/** How large, deep or odd an image may be. Real images stay far below; what exceeds a limit gets E_LIMIT. */
import { Failure } from "../base/errors.ts";

export const limits = {
  /** Bytes of a path or link target: PATH_MAX, limits.h. */
  nameBytes: 4096,
  /** Bytes of one part of a path: NAME_MAX, limits.h. */
  partBytes: 255,
  /** Directories above a name. The deepest found in public images are about 40. */
  depth: 512,
  /** Bytes of one PAX header. An xattr value has at most 64 KiB (xattr(7)), base names much less. */
  paxBytes: 1 << 20,
  /** Bytes of holes in the sparse files of one archive: they cost nothing there, and their full size in a tree. */
  holeBytes: 16 * 2 ** 30,
  /** Files of an archive of images (docker save, oci-archive): blobs and manifests, not what is in layers. */
  archiveEntries: 100_000,
  /** Bytes of the global PAX headers of an archive together: they count for each of its entries. */
  globalBytes: 1 << 16,
  /** Bytes of attributes that entries may have beyond the archive's own size, by global headers. */
  sharedAttributeBytes: 16 << 20,
  /** Bytes of a manifest, index or token answer: registries refuse larger ones too (4 MiB, distribution-spec). */
  manifestBytes: 4 << 20,
  /** Bytes of an image configuration. */
  configBytes: 8 << 20,
  /** Indexes within indexes. */
  indexDepth: 4,
  /** Manifests of one index. */
  indexEntries: 1000,
  /** Layers of one image; overlayfs takes 500, docker 127. */
  layers: 500,
  /** Bytes from which on the ratio of compression of an image matters; see the setting MAX_RATIO. */
  ratioFloorBytes: 1 << 30,
} as const;

/** Throws E_LIMIT. `what` names the thing that is too large, `where` the layer or document. */
export function tooLarge(what: string, where: string): Failure {
  return new Failure("E_LIMIT", what, { where, mend: "do not use this image, unless you trust whoever made it" });
}

/** Throws E_LIMIT for names, those of directories that are only implied among them. */
export function checkNames(count: number, maximum: number, where?: string): void {
  if (count <= maximum) return;
  throw new Failure("E_LIMIT", `more than ${maximum} names`, {
    ...(where === undefined ? {} : { where }),
    mend: "set ROOTLING_MAX_ENTRIES higher if you trust whoever made this image",
  });
}
