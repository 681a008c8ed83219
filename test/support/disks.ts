/** Disks as others see them: qemu-img and e2fsck check them, the kernel mounts them. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { capture } from "../../src/base/process.ts";
import { describeTree } from "./image-support.ts";

/** The files of a chain, lowest first. */
export const filesOfChain = (directory: string): string[] =>
  readdirSync(directory)
    .sort((a, b) => a.length - b.length || (a < b ? -1 : 1))
    .map((name) => join(directory, name));

/** Calls `use` with a raw copy of a disk, all of its chain merged, after the checks that each disk has to pass. */
async function withRaw<T>(file: string, use: (raw: string, scratch: string) => Promise<T>): Promise<T> {
  const scratch = mkdtempSync(join(tmpdir(), "rootling-disk-"));
  try {
    const isQcow2 = (await capture("qemu-img", ["info", file])).includes("file format: qcow2");
    const raw = isQcow2 ? join(scratch, "raw") : file;
    if (isQcow2) {
      await capture("qemu-img", ["check", "-q", file]);
      await capture("qemu-img", ["convert", "-O", "raw", file, raw]);
    }
    await capture("e2fsck", ["-fn", raw]);
    return await use(raw, scratch);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Checks a disk: nothing is wrong in the file and in the file system. */
export const checkDisk = (file: string): Promise<void> => withRaw(file, async () => {});

/** Calls `use` with the directory where a disk is mounted, or for an ordinary user copied to, after the same checks. */
export const withMounted = <T>(file: string, use: (mounted: string) => Promise<T>): Promise<T> =>
  withRaw(file, async (raw, scratch) => {
    const mounted = join(scratch, "mounted");
    mkdirSync(mounted);
    if (process.getuid?.() !== 0) {
      await capture("debugfs", ["-R", `rdump / ${mounted}`, raw]);
      return use(mounted);
    }
    await capture("mount", ["-o", "loop,ro,noload", raw, mounted]);
    try {
      return await use(mounted);
    } finally {
      await capture("umount", [mounted]);
    }
  });

/** The tree of a disk, as describeTree has it, without what each ext4 has. */
export const treeOfDisk = (file: string): Promise<string[]> =>
  withMounted(file, async (mounted) => (await describeTree(mounted)).filter((line) => !line.startsWith("lost+found|")));
