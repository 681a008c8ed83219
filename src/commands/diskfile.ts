/** `rootling diskfile`: mounts a disk image, or one partition of it, as the root of a subhost wants it. */
import { realpathSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { Failure, fileFailure } from "../base/errors.ts";
import { capture, requireProgram } from "../base/process.ts";
import { markDiskFile, mountedFile, OWNER_VARIABLE, releaseDiskFile } from "../store/disk-files.ts";
import { type Cli, newCommand } from "./cli.ts";
import { showSteps, step, withSteps } from "./dry-run.ts";

interface Options {
  dryRun?: boolean;
  json?: boolean;
}

export const define = (cli: Cli) =>
  withSteps(
    newCommand(
      "diskfile",
      "Mount a disk image, or a partition of it, and print the path: for LOWER=!rootling diskfile …",
      [
        "rootling diskfile /mnt/disk/srv/root /images/disk.img      # mounts it at /mnt/disk, which exists",
        "rootling diskfile /mnt/disk /images/disk.img 2             # its second partition",
        "rootling diskfile /mnt/disk/srv/root                       # as /etc/fstab has it",
      ],
    ),
  )
    .option("--json", "with --dry-run: print the steps as JSON")
    .argument("<path>", "MOUNT/PATH: what of it exists is the mount point, the rest lies in the image")
    .argument("[diskfile]", "the image; without it what is mounted, or what fstab(5) says of the mount point")
    .argument("[index]", "number of a partition; without it the image is a file system itself")
    .action(async (path: string, file: string | undefined, index: string | undefined, options: Options) => {
      if (options.dryRun)
        return showSteps(
          cli,
          [step("mount", `${file ?? "what fstab has"} at ${mountPointOf(resolve(path))}`)],
          options.json,
        );
      await mountDiskFile(cli, path, file, index);
      cli.print(path);
    });

const isDirectory = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;

/** The longest part of the path that is a directory. */
function mountPointOf(path: string): string {
  let at = path;
  while (!isDirectory(at)) at = dirname(at);
  return at;
}

/** Mounts, unless that file is mounted there already. Throws E_NOT_FOUND, E_PROGRAM, E_USAGE; what fails leaves nothing. */
export async function mountDiskFile(
  cli: Cli,
  path: string,
  file: string | undefined,
  index: string | undefined,
): Promise<void> {
  const whole = resolve(path);
  const image = file === undefined ? undefined : realFile(file);
  for (let at = mountPointOf(whole); image !== undefined; at = dirname(at)) {
    if (mountedFile(at) === image && isDirectory(whole)) return;
    if (at === "/") break;
  }
  if (image === undefined && isDirectory(whole)) return;
  const mount = realpathSync(mountPointOf(whole));
  const program = requireProgram("mount", "mount");
  const { signal } = cli.context("none");
  if (image === undefined) await capture(program, [mount], { signal }).catch((error) => refuse(error, mount));
  else await mountImage(cli, program, image, mount, index === undefined ? [] : await partition(image, index));
  if (isDirectory(whole)) return;
  throw new Failure("E_NOT_FOUND", `there is no such directory in what is mounted at ${mount}`, {
    where: path,
    mend: "check the path, and which partition has it",
  });
}

async function mountImage(cli: Cli, program: string, image: string, mount: string, where: string[]): Promise<void> {
  const owner = process.env[OWNER_VARIABLE];
  const marked = owner === undefined ? undefined : markDiskFile(cli.layout, owner, mount, image);
  try {
    await capture(program, ["-o", ["loop", ...where].join(","), "--", image, mount]);
  } catch (error) {
    if (marked !== undefined) await releaseDiskFile(marked);
    refuse(error, image);
  }
}

function refuse(cause: unknown, where: string): never {
  throw new Failure("E_MOUNT", (cause as Error).message, {
    where,
    mend: "name a partition by its number if the image has some; only root mounts disk images",
  });
}

function realFile(file: string): string {
  try {
    return realpathSync(file);
  } catch (error) {
    throw fileFailure(error, "opening the disk file", file);
  }
}

const SECTOR = 512;

/** Where a partition lies, as options of mount(8). partx(8) counts in sectors of 512 bytes. */
async function partition(image: string, index: string): Promise<string[]> {
  if (!/^[1-9][0-9]{0,2}$/.test(index))
    throw new Failure("E_USAGE", `${JSON.stringify(index)} is no number of a partition`, {
      mend: "use 1, 2 and so on",
    });
  const partx = requireProgram("partx", "util-linux");
  const said = await capture(partx, ["--raw", "--noheadings", "--output", "START,SECTORS", "--nr", index, image]).catch(
    (error) => refuse(error, image),
  );
  const [start, sectors] = said.trim().split(/\s+/).map(Number);
  if (!start || !sectors)
    throw new Failure("E_NOT_FOUND", `there is no partition ${index}`, {
      where: image,
      mend: `see: partx --show ${image}`,
    });
  return [`offset=${start * SECTOR}`, `sizelimit=${sectors * SECTOR}`];
}
