/** Donors: stored images from which another one, that shares layers with them, can take its files as hard links. */
import { promises } from "node:fs";
import { join } from "node:path";
import { hexOf, type LayerRecord, listImages, type StoredImage } from "./images.ts";
import { imagePaths, type Layout } from "./layout.ts";
import { markUse, unmarkUse } from "./use.ts";

/** A stored image that stays while it is borrowed from. */
export interface Donor {
  readonly image: StoredImage;
  /** The listing of the layer with this DiffID, whole as it was kept; undefined where there is none. */
  listing(diffId: string): Promise<Buffer | undefined>;
  /** It may be removed again. */
  release(): void;
}

/**
 * The stored image that has the most bytes in layers with these DiffIDs; undefined if none has any. The image of
 * `digest` itself is none.
 */
export function findDonor(layout: Layout, digest: string, diffIds: readonly string[]): Donor | undefined {
  const wanted = new Set(diffIds);
  const shared = ({ layers }: StoredImage): number =>
    layers.reduce((sum, layer) => sum + (isListed(layer) && wanted.has(layer.diffId) ? (layer.size ?? 1) : 0), 0);
  const [best] = listImages(layout)
    .filter((image) => image.digest !== digest)
    .map((image) => ({ image, bytes: shared(image) }))
    .filter(({ bytes }) => bytes > 0)
    .sort((a, b) => b.bytes - a.bytes);
  return best === undefined ? undefined : borrow(layout, best.image);
}

type ListedLayer = LayerRecord & { readonly diffId: string; readonly listing: string };

const isListed = (layer: LayerRecord): layer is ListedLayer =>
  layer.diffId !== undefined && layer.listing !== undefined && hexOf(layer.diffId) !== undefined;

function borrow(layout: Layout, image: StoredImage): Donor | undefined {
  const hex = hexOf(image.digest) ?? "";
  try {
    markUse(layout, hex);
  } catch {
    // It was removed just now.
    return undefined;
  }
  const listed = new Map(image.layers.filter(isListed).map((layer) => [layer.diffId, layer.listing]));
  return {
    image,
    listing: async (diffId) => {
      const digest = listed.get(diffId);
      if (digest === undefined) return undefined;
      const path = join(imagePaths(layout, hex).listings, hexOf(diffId) ?? "");
      const bytes = await promises.readFile(path).catch(() => undefined);
      const { hash } = process.getBuiltinModule("node:crypto");
      return bytes !== undefined && `sha256:${hash("sha256", bytes)}` === digest ? bytes : undefined;
    },
    release: () => unmarkUse(layout, hex),
  };
}
