/** Names of images are forgotten; an image goes with its last one. */
import { existsSync } from "node:fs";
import { Failure } from "../base/errors.ts";
import { listContainers } from "../store/containers.ts";
import { findImage, removeImage, removeRef, type StoredImage } from "../store/images.ts";
import { type Layout, refPath } from "../store/layout.ts";

/** Forgets a name of an image; the image goes with its last name. Throws E_BUSY while a container needs it. */
export async function forgetImage(layout: Layout, name: string, signal: AbortSignal): Promise<void> {
  const image = imageToForget(layout, name);
  if (image !== undefined) return removeImage(layout, image, signal);
  if (!(await removeRef(layout, name))) throw unnamed(name);
}

const unnamed = (name: string): Failure =>
  new Failure("E_NOT_FOUND", `no image is named ${name}`, { mend: "see `rootling images`" });

/**
 * The image that goes with this name of it; undefined where only the name goes: the image has others, or is damaged.
 * Throws E_BUSY while a container needs it, E_NOT_FOUND for a name that nothing has.
 */
export function imageToForget(layout: Layout, name: string): StoredImage | undefined {
  const image = findImage(layout, name);
  if (image === undefined) {
    if (existsSync(refPath(layout, name))) return undefined;
    throw unnamed(name);
  }
  if (image.refs.length > 1 && image.refs.includes(name)) return undefined;
  const users = listContainers(layout).filter((container) => container.image.digest === image.digest);
  if (users.length > 0) {
    throw new Failure("E_BUSY", `the image ${name} is used by ${users.map((user) => user.name).join(", ")}`, {
      mend: "remove these containers first",
    });
  }
  return image;
}
