/** From a stored image with layers in common to what the image side takes files from. */
import type { Donor } from "../image/build.ts";
import type { SourceImage } from "../image/types.ts";
import { findDonor } from "../store/donors.ts";
import type { StoredImage } from "../store/images.ts";
import type { Layout } from "../store/layout.ts";

/**
 * The best donor for an image, whose tree `treeOf` names: its files must have the owners that the new tree's will have.
 * The caller releases it.
 */
export function donorFor(
  layout: Layout,
  image: SourceImage,
  treeOf: (donor: StoredImage) => string | undefined,
): (Donor & { release(): void }) | undefined {
  const diffIds = image.layers.flatMap(({ diffId }) => diffId ?? []);
  // What is read to the end of a stream has no digest yet, and no DiffIDs.
  if (diffIds.length === 0) return undefined;
  const donor = findDonor(layout, image.digest, diffIds);
  const tree = donor && treeOf(donor.image);
  if (donor === undefined || tree === undefined) {
    donor?.release();
    return undefined;
  }
  return { tree, listing: (diffId) => donor.listing(diffId), release: () => donor.release() };
}
