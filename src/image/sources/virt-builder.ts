/**
 * A template of virt-builder as a root file system: virt-builder finds, verifies and unpacks it, and guestfish, of
 * libguestfs as well, reads its file systems, in a virtual machine of its own. What is on such a disk for a machine
 * only is left out: nodes, kernels, and what /etc/fstab would mount.
 */
import { type FileHandle, mkdir, open } from "node:fs/promises";
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
  const held = await makeScratch(scratch);
  const label = `virt-builder://${template}`;
  const guest = new Guest(label, passedOn(context.registry.env, shortName(held)), context);
  const close = async () => {
    await guest.end();
    await held.close();
    await removeTree(scratch).catch(() => {});
  };
  try {
    const disk = join(scratch, "disk");
    await guest.build(builder, buildWords(template, disk, context.platform));
    return await openOnce({ name: template, label, close }, guest.read(reader, readingWords(disk)), context);
  } catch (error) {
    await close();
    throw error;
  }
}

async function makeScratch(path: string): Promise<FileHandle> {
  try {
    await mkdir(path, { mode: 0o700 });
    return await open(path, "r");
  } catch (error) {
    throw fileFailure(error, "making a temporary directory", path);
  }
}

/** The name of a directory for programs that make sockets below it, as gpg-agent does: these have 107 bytes (unix(7)). */
const shortName = ({ fd }: FileHandle): string => `/proc/${process.pid}/fd/${fd}`;

/** libguestfs's programs at work: one after the other, each with a machine of its own. */
class Guest {
  readonly #label: string;
  readonly #env: Record<string, string>;
  readonly #context: OpenContext;
  #making: Making | undefined;

  constructor(label: string, env: Record<string, string>, context: OpenContext) {
    this.#label = label;
    this.#env = env;
    this.#context = context;
  }

  async build(program: string, words: readonly string[]): Promise<void> {
    try {
      await this.#start(program, words).finished();
    } catch (error) {
      if (this.#env.LIBGUESTFS_BACKEND_SETTINGS !== undefined || !isLaunch(error)) throw error;
      // A /dev/kvm that does not work, as in many a virtual machine: libguestfs does not find out by itself.
      this.#context.warn("libguestfs cannot start its machine: trying again without KVM, which is slow");
      this.#env.LIBGUESTFS_BACKEND_SETTINGS = "force_tcg";
      await this.#start(program, words).finished();
    }
  }

  read(program: string, words: readonly string[]): AsyncIterable<Buffer> {
    // The editor of guestfish's `edit` is a program of this machine, for a copy of the file.
    return this.#start(program, words, { EDITOR: "sed -i s/^/#/" }).output();
  }

  async end(): Promise<void> {
    await this.#making?.end();
  }

  #start(program: string, words: readonly string[], more: Record<string, string> = {}): Making {
    const options: MakingOptions = {
      title: basename(program),
      env: { ...this.#env, ...more },
      complaint: /(?:^|: )error: |supermin: /,
      failure: (said) => failed(said, this.#label),
    };
    return (this.#making = new Making(program, words, options, this.#context));
  }
}

/** Variables of virt-builder, libguestfs and supermin, and proxies. libguestfs keeps its machine where it always does. */
function passedOn(env: Environment, temporary: string): Record<string, string> {
  const passed: Record<string, string> = { TMPDIR: temporary, LIBGUESTFS_CACHEDIR: env.TMPDIR || "/var/tmp" };
  const wanted = /^(?:HOME|XDG_.*|VIRT_.*|LIBGUESTFS_.*|SUPERMIN_.*|(?:https?|ftp|no)_proxy)$/i;
  for (const [name, value] of Object.entries(env)) if (value !== undefined && wanted.test(name)) passed[name] = value;
  return passed;
}

function buildWords(template: string, disk: string, platform: Platform): string[] {
  return [
    ...[template, "--output", disk, "--format", "raw", "--no-network", ...architectureWords(platform)],
    // Otherwise it makes one up, and tells it to whoever reads the log.
    ...["--root-password", "disabled"],
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

const isLaunch = (error: unknown): boolean => error instanceof Failure && /guestfs_launch/.test(error.what);

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
      ? "libguestfs starts a machine: it needs a kernel in /boot that this user may read; see libguestfs-test-tool(1)"
      : "see virt-builder(1)",
  });
}
