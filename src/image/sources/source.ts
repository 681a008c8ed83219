/** The front of all sources: from a SOURCE text to an image. */
import type { Context } from "../../base/context.ts";
import { Failure } from "../../base/errors.ts";
import type { BlobCache, Platform, SourceImage } from "../types.ts";
import { openDocker } from "./docker.ts";
import type { RegistryOptions } from "./environment.ts";
import { openLayout } from "./layout.ts";
import { hostPlatform, parseSource } from "./reference.ts";
import { openTarball } from "./tarball.ts";

export interface SourceOptions {
  /** The platform to choose; by default this machine's. */
  platform?: Platform;
  cache: BlobCache;
  /** How registries are spoken to. */
  registry: RegistryOptions;
}

/** What each source gets. */
export interface OpenContext extends Context {
  readonly platform: Platform;
  readonly cache: BlobCache;
  readonly registry: RegistryOptions;
}

/**
 * Opens what a SOURCE text names: manifest and configuration are read and verified, layers are not fetched before they
 * are opened. Throws E_SOURCE for texts that name no image.
 */
export async function openSource(text: string, options: SourceOptions, context: Context): Promise<SourceImage> {
  const reference = parseSource(text);
  const { platform = hostPlatform(), cache, registry } = options;
  const open: OpenContext = { ...context, platform, cache, registry };
  switch (reference.kind) {
    case "docker":
      return openDocker(reference, open);
    case "oci":
      return openLayout(reference.directory, reference.reference, open);
    case "tarball":
      return openTarball(reference.file, open);
    case "host":
      throw new Failure("E_SOURCE", "host: is this machine's own root, which needs no import", {
        mend: "start it with `rootling run`",
      });
  }
}
