/** The image store: merged trees by digest, and the names that point to them. The record comes last. */
import { existsSync, mkdirSync, promises, readFileSync } from "node:fs";
import { join } from "node:path";
import { errnoOf, Failure, fileFailure } from "../base/errors.ts";
import { makePrivateDirectory, syncDirectory, temporaryName, writeFileSafely } from "../base/files.ts";
import { type Owner, ourselves, ownerName, suffix } from "../base/owner.ts";
import { escapeText } from "../base/text.ts";
import { imagePaths, type Layout, refPath } from "./layout.ts";
import { clearLeavings, namesIn } from "./leavings.ts";
import { type Lock, lock } from "./lock.ts";
import { removeStored } from "./trees.ts";
import { usersIn } from "./use.ts";

/** The format that this rootling writes. It refuses newer ones. */
const FORMAT = 1;

/** What the store knows of an image. The image side's words, as far as they have to be kept. */
export interface ImageRecord {
  format: number;
  /** Of the manifest, or what identifies the source. */
  digest: string;
  /** The name that it was first imported as. */
  name: string;
  platform: { os: string; architecture: string; variant?: string };
  /** Bytes of content in the tree. */
  size: number;
  /** When it was imported: ISO 8601. */
  created: string;
  /** The SOURCE it came from, pinned by digest where that can be; absolute where it is a file. */
  source: string;
  /** Its layers, lowest first, as the source stores them. */
  layers: readonly LayerRecord[];
  /** OCI's `config` object: how to run it. */
  run: Record<string, unknown>;
}

export interface LayerRecord {
  digest?: string;
  size?: number;
  diffId?: string;
  /** Digest of the layer's listing (donors.ts), where one is kept. */
  listing?: string;
}

export interface StoredImage extends ImageRecord {
  /** The directory with the merged tree. */
  tree: string;
  /** The image's OCI configuration as it came; undefined for sources without. */
  config: string | undefined;
  /** Names that point to it. */
  refs: string[];
}

interface RefRecord {
  format: number;
  digest: string;
}

/** A tree that is being made. */
export interface StagedImage {
  /** The directory for the tree: there, empty, private. */
  tree: string;
  /** Keeps the listing of a layer, named by its DiffID, beside the tree. It is made durable with the tree. */
  keepListing(diffId: string, bytes: Uint8Array): Promise<void>;
  /** Makes it part of the store: afterwards a power cut does not harm it. */
  commit(record: Omit<ImageRecord, "format" | "created">, config: Buffer | undefined): Promise<StoredImage>;
  /** Removes it. Never rejects. */
  discard(): Promise<void>;
}

export const hexOf = (digest: string): string | undefined => /^sha256:([0-9a-f]{64})$/.exec(digest)?.[1];

/** A name that an image may get: printable, and short enough for a file name. Throws E_NAME. */
export function checkRef(name: string, where: string): void {
  const fits = encodeURIComponent(name).length <= 240 && name !== "";
  if (fits && /^[A-Za-z0-9_[][A-Za-z0-9_.:/@#+[\]-]*$/.test(name) && hexOf(name) === undefined) return;
  throw new Failure("E_NAME", `not a name for an image: ${escapeText(name.slice(0, 100))}`, {
    where,
    mend: "use letters, digits and _ . : / @ + -, beginning with a letter or digit",
  });
}

/** The image that `name` (a REF, or a digest) stands for; undefined if there is none. */
export function findImage(layout: Layout, name: string): StoredImage | undefined {
  const digest = hexOf(name) === undefined ? readRef(layout, name) : name;
  if (digest === undefined) return undefined;
  const record = readRecord(layout, digest);
  return record === undefined ? undefined : describe(layout, record, refsByDigest(layout));
}

/** All whole images, by name and digest. */
export function listImages(layout: Layout): StoredImage[] {
  const refs = refsByDigest(layout);
  return namesIn(layout.images)
    .flatMap((hex) => readRecord(layout, `sha256:${hex}`) ?? [])
    .map((record) => describe(layout, record, refs))
    .sort((a, b) => (a.name === b.name ? (a.digest < b.digest ? -1 : 1) : a.name < b.name ? -1 : 1));
}

/** Lets `name` point to the image `digest`, instead of what it pointed to before. */
export async function addRef(layout: Layout, name: string, digest: string): Promise<void> {
  checkRef(name, "--name");
  makePrivateDirectory(layout.refs);
  await writeFileSafely(refPath(layout, name), JSON.stringify({ format: FORMAT, digest } satisfies RefRecord));
}

/** Forgets a name; the image stays. False if there was none. */
export async function removeRef(layout: Layout, name: string): Promise<boolean> {
  try {
    await promises.rm(refPath(layout, name));
    await syncDirectory(layout.refs);
    return true;
  } catch (error) {
    if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ENAMETOOLONG") return false;
    throw fileFailure(error, "forgetting a name", refPath(layout, name));
  }
}

/**
 * Removes an image with all its names. Whether a container refers to it is for the caller to know. Throws E_BUSY while
 * something runs on it, here or on another machine.
 *
 * In the reverse order of an import: first the names, then the record, then the tree. Who dies on the way leaves a
 * whole image without a name, or one whose record is withdrawn, which is none; never a name of nothing.
 */
export async function removeImage(layout: Layout, image: StoredImage, signal: AbortSignal): Promise<void> {
  const held = await lockImage(layout, image.digest, signal, () => {});
  try {
    await recoverImage(layout, image.digest);
    const paths = imagePaths(layout, hexOf(image.digest) ?? "");
    refuseInUse(image, paths.users);
    const names = await removeRefs(layout, image.digest);
    try {
      await withdrawRecord(paths);
      // Whoever started just now made their mark before they looked for the record.
      refuseInUse(image, paths.users);
    } catch (error) {
      await recoverImage(layout, image.digest);
      for (const name of names) if (readRef(layout, name) === undefined) await addRef(layout, name, image.digest);
      throw error;
    }
    await removeImageDirectory(layout, hexOf(image.digest) ?? "");
    // An import that found the image stored may have named it in the meantime: it looks for the record afterwards.
    await removeRefs(layout, image.digest);
  } finally {
    held.release();
  }
}

/**
 * Undoes the removal of an image whose remover died before its tree was touched: something may run on it. The caller
 * holds the image's lock.
 */
export async function recoverImage(layout: Layout, digest: string): Promise<void> {
  const { record, withdrawn } = imagePaths(layout, hexOf(digest) ?? "");
  if (!existsSync(withdrawn)) return;
  try {
    await promises.rename(withdrawn, record);
  } catch (error) {
    throw fileFailure(error, "restoring an image", record);
  }
}

/** Without its record it is no image any more. */
async function withdrawRecord({ record, withdrawn }: ReturnType<typeof imagePaths>): Promise<void> {
  try {
    await promises.rename(record, withdrawn);
  } catch (error) {
    // Another process removed it before we had the lock.
    if (errnoOf(error) !== "ENOENT") throw fileFailure(error, "removing an image", record);
  }
}

/**
 * Removes what there is of an image without a record. In one step it is out of the way; what becomes of the rest is
 * for whoever comes next, if we die here. The caller holds the image's lock.
 */
export async function removeImageDirectory(layout: Layout, hex: string): Promise<void> {
  const { directory } = imagePaths(layout, hex);
  if (!existsSync(directory)) return;
  makePrivateDirectory(layout.temporary);
  const trash = join(layout.temporary, `${ownerName(ourselves())}.${suffix()}`);
  try {
    await promises.rename(directory, trash);
    await syncDirectory(layout.images);
  } catch (error) {
    throw fileFailure(error, "removing an image", directory);
  }
  await removeStored(layout, trash);
}

/** Forgets all names of an image; returns them. */
async function removeRefs(layout: Layout, digest: string): Promise<string[]> {
  const removed: string[] = [];
  for (const name of refsByDigest(layout).get(digest) ?? [])
    if (await removeRefOf(layout, name, digest)) removed.push(name);
  if (removed.length > 0) await syncDirectory(layout.refs);
  return removed;
}

/** Forgets a name unless it was given to another image meanwhile. It is moved aside first: only then is it known whose. */
async function removeRefOf(layout: Layout, name: string, digest: string): Promise<boolean> {
  const path = refPath(layout, name);
  const aside = temporaryName(path);
  try {
    if (readRef(layout, name) !== digest) return false;
    await promises.rename(path, aside);
    const ours = (readJson(aside) as RefRecord | undefined)?.digest === digest;
    // A still newer name is left alone.
    if (!ours) await promises.link(aside, path).catch(() => {});
    await promises.rm(aside);
    return ours;
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return false;
    throw fileFailure(error, "forgetting a name", path);
  }
}

function refuseInUse(image: StoredImage, users: string): void {
  const { alive, foreign } = usersIn(users);
  if (alive + foreign === 0) return;
  const name = image.refs[0] ?? image.digest;
  throw new Failure("E_BUSY", `the image ${name} is in use${alive === 0 ? " on another machine" : ""}`, {
    where: users,
    mend:
      alive === 0
        ? "end what runs there, or remove its mark if that machine is gone"
        : "end what runs first: see `rootling list`",
  });
}

/** One process at a time makes or removes an image. */
export function lockImage(
  layout: Layout,
  digest: string,
  signal: AbortSignal,
  onWait: (owner: Owner) => void,
): Promise<Lock> {
  makePrivateDirectory(layout.locks);
  return lock(join(layout.locks, `image-${hexOf(digest) ?? ""}`), signal, onWait);
}

/** Begins a tree, after clearing what dead processes have left. The caller holds the image's lock. */
export async function stageImage(layout: Layout): Promise<StagedImage> {
  for (const directory of [layout.images, layout.temporary]) makePrivateDirectory(directory);
  await clearLeavings(layout);
  const base = join(layout.temporary, `${ownerName(ourselves())}.${suffix()}`);
  const tree = join(base, "tree");
  const listings = join(base, "listings");
  try {
    for (const directory of [base, tree, listings]) mkdirSync(directory, { mode: 0o700 });
  } catch (error) {
    await removeStored(layout, base).catch(() => {});
    throw fileFailure(error, "making a directory of the store", base);
  }
  const discard = async () => {
    await removeStored(layout, base).catch(() => {});
  };
  return {
    tree,
    discard,
    keepListing: async (diffId, bytes) => {
      const path = join(listings, hexOf(diffId) ?? "");
      await promises.writeFile(path, bytes, { mode: 0o600 }).catch((error: unknown) => {
        throw fileFailure(error, "keeping the listing of a layer", path);
      });
    },
    commit: async (record, config) => {
      const complete: ImageRecord = { ...record, format: FORMAT, created: new Date().toISOString() };
      return commitImage(layout, base, complete, config);
    },
  };
}

async function commitImage(
  layout: Layout,
  staged: string,
  record: ImageRecord,
  config: Buffer | undefined,
): Promise<StoredImage> {
  const paths = imagePaths(layout, hexOf(record.digest) ?? "");
  try {
    if (config !== undefined) await writeFileSafely(join(staged, "config.json"), config);
    // An earlier import that died before its record.
    await removeImageDirectory(layout, hexOf(record.digest) ?? "");
    await promises.rename(staged, paths.directory);
    await syncDirectory(layout.images);
  } catch (error) {
    throw fileFailure(error, "storing the image", paths.directory);
  }
  await writeFileSafely(paths.record, JSON.stringify(record));
  return describe(layout, record, refsByDigest(layout));
}

function describe(layout: Layout, record: ImageRecord, refs: Map<string, string[]>): StoredImage {
  const paths = imagePaths(layout, hexOf(record.digest) ?? "");
  const hasConfig = namesIn(paths.directory).includes("config.json");
  return {
    ...record,
    tree: paths.tree,
    config: hasConfig ? paths.config : undefined,
    refs: refs.get(record.digest) ?? [],
  };
}

/** The record of a whole image. Undefined where there is none: such an image was never finished. */
function readRecord(layout: Layout, digest: string): ImageRecord | undefined {
  const hex = hexOf(digest);
  if (hex === undefined) return undefined;
  const paths = imagePaths(layout, hex);
  const record = readJson(paths.record) as ImageRecord | undefined;
  if (record === undefined || record === null) return undefined;
  if (typeof record.format === "number" && record.format > FORMAT) {
    throw new Failure("E_RECORD", "the image was stored by a newer rootling", {
      where: paths.record,
      mend: "use that version, or remove the image",
    });
  }
  return record.format === FORMAT && record.digest === digest ? record : undefined;
}

function readRef(layout: Layout, name: string): string | undefined {
  const path = refPath(layout, name);
  const record = path.length > 4000 ? undefined : (readJson(path) as RefRecord | undefined);
  return typeof record?.digest === "string" ? record.digest : undefined;
}

function refsByDigest(layout: Layout): Map<string, string[]> {
  const refs = new Map<string, string[]>();
  for (const file of namesIn(layout.refs).sort()) {
    if (!file.endsWith(".json")) continue;
    const name = decodeURIComponent(file.slice(0, -".json".length));
    const digest = readRef(layout, name);
    if (digest !== undefined) refs.set(digest, [...(refs.get(digest) ?? []), name]);
  }
  return refs;
}

/** What a JSON file holds; undefined if it is missing or damaged. */
function readJson(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === undefined || errno === "ENOENT" || errno === "ENOTDIR" || errno === "ENAMETOOLONG") return undefined;
    throw fileFailure(error, "reading a record", path);
  }
}
