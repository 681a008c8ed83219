/** An image into a registry, for the command and for programs. */
import type { Context } from "../base/context.ts";
import { type Push, planPush, type Way } from "../image/push.ts";
import { publicHost } from "../image/sources/endpoints.ts";
import type { RegistryOptions } from "../image/sources/environment.ts";
import { parseSource } from "../image/sources/reference.ts";
import type { Digest, SourceImage } from "../image/types.ts";
import { listImages } from "../store/images.ts";
import type { Layout } from "../store/layout.ts";
import type { AtStore } from "./cli.ts";
import { type ArtifactWish, openArtifact } from "./open-artifact.ts";

export interface PushWish extends ArtifactWish {
  /** `docker://[USER@][REGISTRY/]NAME[:TAG]`. */
  destination: string;
  /** How the registry there is spoken to. */
  to: RegistryOptions;
}

/** What was pushed. */
export interface PushedImage {
  /** `docker://REGISTRY/NAME:TAG`. */
  readonly destination: string;
  readonly digest: Digest;
  /** Bytes that were sent. */
  readonly sent: number;
  readonly blobs: readonly ({ readonly digest: Digest; readonly size: number } & Way)[];
}

/** Asks the registry what it has of an image, and hands on what there is to do; `use` does it or only shows it. */
export async function withPush<T>(
  at: AtStore,
  context: Context,
  image: string,
  { destination, to, ...wish }: PushWish,
  use: (push: Push, digest: Digest) => Promise<T>,
): Promise<T> {
  const opened = await openArtifact(at, context, image, wish);
  try {
    const mountFrom = mounts(at.layout, opened.image);
    const expect = opened.image.expect?.bind(opened.image);
    const how = { destination, registry: to, mountFrom, ...(expect && { expect }) };
    const push = await planPush(opened.artifact, how, context);
    try {
      return await use(push, opened.artifact.manifest.digest);
    } finally {
      push.close();
    }
  } finally {
    await opened.close();
  }
}

/** Which repository of a registry has a layer, as far as stored images and the source say so. */
function mounts(layout: Layout, image: SourceImage): (registry: string, digest: Digest) => string | undefined {
  const found = new Map<string, string>();
  for (const { source, layers } of [image, ...listImages(layout)]) {
    const reference = source === undefined ? undefined : parseSource(source);
    if (reference?.kind !== "docker") continue;
    const host = publicHost(reference.registry);
    for (const { digest } of layers) if (digest !== undefined) found.set(`${host} ${digest}`, reference.name);
  }
  return (registry, digest) => found.get(`${registry} ${digest}`);
}

/** What a push that was carried out, or will be, comes to. */
export const pushedOf = ({ name, blobs }: Push, digest: Digest): PushedImage => ({
  destination: `docker://${name}`,
  digest,
  sent: blobs.reduce((sum, { blob, way }) => sum + (way.how === "send" ? blob.size : 0), 0),
  blobs: blobs.map(({ blob, way }) => ({ digest: blob.digest, size: blob.size, ...way })),
});
