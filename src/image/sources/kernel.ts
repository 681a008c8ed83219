/** Kernels: the one of an image, and the version that a kernel's file says. */
import { closeSync, lstatSync, openSync, readdirSync, readSync } from "node:fs";
import { join } from "node:path";
import { Failure, fileFailure } from "../../base/errors.ts";

/**
 * The newest kernel of a root that lies in these directories, the topmost first, and where its modules are. Symlinks are
 * not followed: those of an image lead wherever they like.
 */
export function kernelOf(roots: readonly string[]): { kernel: string; version: string } | undefined {
  for (const root of roots) {
    const names = namesIn(root, "boot").filter((name) => /^vmlinuz-./.test(name));
    const [name] = names.sort((a, b) => b.localeCompare(a, "en", { numeric: true }));
    if (name === undefined || !isKind(join(root, "boot", name), "file")) continue;
    const kernel = join(root, "boot", name);
    return { kernel, version: versionOf(kernel) };
  }
  return undefined;
}

/** The directory with the modules of a kernel; undefined where no root has it. */
export const modulesIn = (roots: readonly string[], version: string): string | undefined =>
  roots
    .flatMap((root) => [`usr/lib/modules/${version}`, `lib/modules/${version}`].map((path) => ({ root, path })))
    .filter(({ root, path }) => isOwnDirectory(root, path))
    .map(({ root, path }) => join(root, path, ".."))
    .at(0);

function isKind(path: string, kind: "file" | "directory"): boolean {
  const status = lstatSync(path, { throwIfNoEntry: false });
  return kind === "file" ? status?.isFile() === true : status?.isDirectory() === true;
}

/** Every part is a directory itself. */
const isOwnDirectory = (root: string, path: string): boolean =>
  path.split("/").every((_, i, parts) => isKind(join(root, ...parts.slice(0, i + 1)), "directory"));

const namesIn = (root: string, path: string): string[] =>
  isOwnDirectory(root, path) ? readdirSync(join(root, path)) : [];

/** Offsets in a bzImage: Documentation/arch/x86/boot.rst, "header" and "kernel_version". */
const [HEADER, VERSION, SETUP] = [0x202, 0x20e, 0x200];

/** The version that a kernel for x86 says of itself. Throws E_USAGE for what is no such kernel. */
export function versionOf(file: string): string {
  const head = Buffer.alloc(64 << 10);
  try {
    const descriptor = openSync(file, "r");
    try {
      readSync(descriptor, head, 0, head.length, 0);
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    throw fileFailure(error, "reading the kernel", file);
  }
  const at = head.readUInt16LE(VERSION) + SETUP;
  const text = head.toString("latin1", at, at + 200).split("\0")[0] ?? "";
  const [version] = /^[A-Za-z0-9._+~-]+/.exec(text) ?? [];
  if (head.toString("latin1", HEADER, HEADER + 4) === "HdrS" && version !== undefined) return version;
  throw new Failure("E_USAGE", "not a kernel of this architecture", {
    where: file,
    mend: "name a bzImage, such as /boot/vmlinuz-VERSION",
  });
}
