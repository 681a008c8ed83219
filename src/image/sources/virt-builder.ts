/**
 * A template of virt-builder as a root file system: virt-builder finds, verifies and unpacks it, and guestfish, of
 * libguestfs as well, reads its file systems, in a virtual machine of its own. What is on such a disk for a machine
 * only is left out: nodes, kernels, and what /etc/fstab would mount.
 */
import { mkdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { Failure, fileFailure } from "../../base/errors.ts";
import { removeTree } from "../../base/files.ts";
import { requireProgram } from "../../base/process.ts";
import type { Platform, SourceImage } from "../types.ts";
import type { VirtBuilderReference } from "./built-reference.ts";
import type { Environment } from "./environment.ts";
import { temporaryPath } from "./files.ts";
import { Making, type MakingOptions } from "./making.ts";
import { formatPlatform, hostPlatform } from "./reference.ts";
import type { OpenContext } from "./source.ts";
import { openOnce } from "./stream.ts";

/** virt-builder's names of architectures that are not Go's: those of uname(1). */
const ARCHITECTURES: Readonly<Record<string, string>> = {
  amd64: "x86_64",
  arm64: "aarch64",
  "386": "i686",
  arm: "armv7l",
  ppc64le: "ppc64le",
};

/** Opens the root of a template: its disk is made now. Throws E_NOT_FOUND where no index has it. */
export async function openVirtBuilder({ template }: VirtBuilderReference, context: OpenContext): Promise<SourceImage> {
  const builder = requireProgram("virt-builder", "guestfs-tools");
  const reader = requireProgram("guestfish", "guestfish");
  const scratch = await temporaryPath(context);
  try {
    await mkdir(scratch, { mode: 0o700 });
  } catch (error) {
    throw fileFailure(error, "making a temporary directory", scratch);
  }
  const disk = join(scratch, "disk");
  const env = passedOn(context.registry.env, scratch);
  const label = `virt-builder://${template}`;
  const start = (file: string, words: readonly string[], more: Record<string, string> = {}) => {
    const options: MakingOptions = {
      title: basename(file),
      env: { ...env, ...more },
      complaint: /(?:^|: )error: |supermin: /,
      failure: (said) => failed(said, label),
    };
    making = new Making(file, words, options, context);
    return making;
  };
  let making: Making | undefined;
  const close = async () => {
    await making?.end();
    await removeTree(scratch).catch(() => {});
  };
  const task = context.progress.task("make", `make ${template}`);
  try {
    await start(builder, buildWords(template, disk, context.platform)).finished();
    // The editor of guestfish's `edit` is a program of this machine, for a copy of the file.
    const tar = start(reader, readingWords(disk), { EDITOR: "sed -i s/^/#/" }).output();
    const image = await openOnce({ name: template, label, close }, tar, context);
    task.done();
    return image;
  } catch (error) {
    await close();
    throw error;
  }
}

/** Variables of virt-builder, libguestfs and supermin, and proxies. libguestfs keeps its machine where it always does. */
function passedOn(env: Environment, scratch: string): Record<string, string> {
  const passed: Record<string, string> = { TMPDIR: scratch, LIBGUESTFS_CACHEDIR: env.TMPDIR || "/var/tmp" };
  const wanted = /^(?:HOME|XDG_.*|VIRT_.*|LIBGUESTFS_.*|SUPERMIN_.*|(?:https?|ftp|no)_proxy)$/i;
  for (const [name, value] of Object.entries(env)) if (value !== undefined && wanted.test(name)) passed[name] = value;
  return passed;
}

function buildWords(template: string, disk: string, platform: Platform): string[] {
  return [
    ...[template, "--output", disk, "--format", "raw", "--no-network", ...architectureWords(platform)],
    // Otherwise it makes one up, and tells it to whoever reads the log.
    ...["--root-password", "locked:disabled"],
  ];
}

function architectureWords(platform: Platform): string[] {
  if (formatPlatform(platform) === formatPlatform(hostPlatform())) return [];
  return ["--arch", ARCHITECTURES[platform.architecture] ?? platform.architecture];
}

const readingWords = (disk: string): string[] => [
  ...["--rw", "--format=raw", "--add", disk, "--inspector", "--"],
  // A minus before a command: it may fail, where there is no such file.
  ...["-edit", "/etc/fstab", ":"],
  ...["tar-out", "/", "-", "xattrs:true", "numericowner:true", "excludes:./dev/* ./boot/* ./lost+found"],
];

function failed(said: string, where: string): Failure {
  if (/cannot find os-version/.test(said)) {
    return new Failure("E_NOT_FOUND", "virt-builder has no such template", {
      where,
      mend: "see `virt-builder --list`, and virt-builder(1) for where its indexes are named",
    });
  }
  return new Failure("E_PROGRAM", said, {
    where,
    mend: /launch|supermin/.test(said)
      ? "libguestfs needs a kernel in /boot that this user may read; where KVM does not work, set LIBGUESTFS_BACKEND_SETTINGS=force_tcg; see libguestfs-test-tool(1)"
      : "see virt-builder(1)",
  });
}
