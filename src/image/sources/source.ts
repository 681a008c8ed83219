/** The front of all sources: from a SOURCE text to an image. */
import type { Context } from "../../base/context.ts";
import { escapeText } from "../../base/text.ts";
import type { BlobCache, Platform, SourceImage } from "../types.ts";
import { openOciArchive } from "./archive.ts";
import { openCached } from "./cached.ts";
import { openDaemon } from "./daemon.ts";
import { openDebootstrap } from "./debootstrap.ts";
import { openDirectory, openHost } from "./directory.ts";
import { openDocker } from "./docker.ts";
import { openDockerArchive } from "./docker-archive.ts";
import type { RegistryOptions } from "./environment.ts";
import { isSquashfs } from "./files.ts";
import { openLayout } from "./layout.ts";
import { checkLocal } from "./policy-check.ts";
import { hostPlatform, parseSource } from "./reference.ts";
import { openSquashfs } from "./squashfs.ts";
import { openStandardInput, openTarball } from "./tarball.ts";
import { openVirtBuilder } from "./virt-builder.ts";

export interface SourceOptions {
  /** The platform to choose; by default this machine's. */
  platform?: Platform;
  cache: BlobCache;
  /** The image is read once, and its digest is not needed before: sources without manifest need no reading ahead. */
  once?: boolean;
  /** What is written: no part of a directory that is read. */
  output?: string;
  /** How registries are spoken to. */
  registry: RegistryOptions;
}

/** What each source gets. */
export interface OpenContext extends Context {
  readonly platform: Platform;
  readonly cache: BlobCache;
  readonly once: boolean;
  readonly output: string | undefined;
  readonly registry: RegistryOptions;
}

/**
 * Opens what a SOURCE text names: manifest and configuration are read and verified, layers are not fetched before they
 * are opened. Throws E_SOURCE for texts that name no image.
 */
export async function openSource(text: string, options: SourceOptions, context: Context): Promise<SourceImage> {
  const reference = parseSource(text);
  const { platform = hostPlatform(), cache, registry, once = false, output } = options;
  const open: OpenContext = { ...context, platform, cache, registry, once, output };
  if (reference.kind !== "docker") checkLocal(reference, escapeText(text), open);
  switch (reference.kind) {
    case "docker":
      return openDocker(reference, open);
    case "dockerd":
    case "podman":
      return openDaemon(reference, open);
    case "oci":
      return openLayout(reference.directory, reference.reference, open);
    case "oci-archive":
      return openOciArchive(reference.file, reference.reference, open);
    case "docker-archive":
      return openDockerArchive(reference.file, reference.reference, open);
    case "file":
      return (await isSquashfs(reference.file))
        ? openSquashfs(reference.file, open)
        : openTarball(reference.file, open);
    case "stdin":
      return openStandardInput(open);
    case "directory":
      return openDirectory(reference.directory, open);
    case "cached":
      return openCached(reference.digest, open);
    case "debootstrap":
      return openDebootstrap(reference, open);
    case "virt-builder":
      return openVirtBuilder(reference, open);
    case "host":
      return openHost(open);
  }
}
