/** The flags that choose a platform: `--platform` in Go's words, and `--arch` in anybody's. */
import type { Command } from "commander";
import { Failure } from "../base/errors.ts";
import { parsePlatform, platformOfArchitecture } from "../image/sources/reference.ts";
import type { Platform } from "../image/types.ts";
import { withRegistryFlags } from "./registry-words.ts";

export interface PlatformFlags {
  readonly platform?: string;
  readonly arch?: string;
}

/** `of`: what image is meant, where that is not plain. */
export const withPlatformFlags = (command: Command, of = ""): Command =>
  command
    .option("--platform <platform>", `OS/ARCHITECTURE[/VARIANT]${of}, such as linux/arm64`)
    .option("--arch <architecture>", "the same by its architecture alone: x86_64, aarch64, ppc64le, arm64, …");

/** How a SOURCE is read: which of its platforms, and how registries are spoken to. */
export const withSourceFlags = (command: Command): Command => withPlatformFlags(withRegistryFlags(command));

/** The platform that was asked for; undefined for this machine's. Throws E_USAGE. */
export function platformOf({ platform, arch }: PlatformFlags): Platform | undefined {
  if (platform !== undefined && arch !== undefined) {
    throw new Failure("E_USAGE", "the architecture is named twice", {
      where: "--platform, --arch",
      mend: "leave out one of them",
    });
  }
  if (arch !== undefined) return platformOfArchitecture(arch, "--arch");
  return platform === undefined ? undefined : parsePlatform(platform, "--platform");
}
