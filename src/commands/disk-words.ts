/** The words about disks that commands share. */
import type { Command } from "commander";
import { Failure } from "../base/errors.ts";
import { diskSizes, type FileSystem, fileSystems } from "../image/sinks/disk.ts";
import type { DiskWishes, OutputFormat } from "./import-image.ts";

export interface DiskFlags {
  diskSize?: string;
  fs?: string;
  flatten?: boolean;
}

const flags = { diskSize: "--disk-size", fs: "--fs", flatten: "--flatten" } as const;

/** Adds --disk-size and --fs, and --flatten where an image's layers are known. */
export function withDiskFlags(command: Command, layers: boolean): Command {
  command
    .option("--disk-size <size>", "virtual size of a disk, such as 10G; by default it fits, and has at least 5G")
    .option("--fs <type>", `file system of a disk: ${fileSystems.join(" or ")} (default: ext4)`);
  return layers ? command.option("--flatten", "qcow2: one file, in place of a directory with one a layer") : command;
}

/** What the flags say about a disk. Throws E_USAGE, also for flags that the format does not have. */
export function diskWishes(options: DiskFlags, format: OutputFormat): DiskWishes {
  for (const [name, flag] of Object.entries(flags)) {
    if (options[name as keyof DiskFlags] === undefined) continue;
    if (format === "qcow2" || (format === "raw" && name !== "flatten")) continue;
    throw new Failure("E_USAGE", `${flag} is not for the format ${format}`, {
      where: flag,
      mend: "leave it out, or use --format qcow2",
    });
  }
  const { diskSize, fs, flatten = false } = options;
  return {
    flatten,
    ...(diskSize === undefined ? {} : { size: sizeOf(diskSize) }),
    ...(fs === undefined ? {} : { fileSystem: fileSystemOf(fs) }),
  };
}

const units = ["", "K", "M", "G", "T"];

/** Bytes. Units are powers of 1024, as qemu-img has them. */
function sizeOf(text: string): number {
  const [, number, unit = ""] = /^([0-9]{1,15}(?:\.[0-9]{1,3})?)([KMGT]?)(?:i?B)?$/i.exec(text) ?? [];
  const size = Math.floor(Number(number) * 1024 ** units.indexOf(unit.toUpperCase()));
  if (size >= diskSizes.least && size <= diskSizes.most) return size;
  throw new Failure("E_USAGE", `not a size from 8M to 4T: ${JSON.stringify(text)}`, {
    where: flags.diskSize,
    mend: "give a number and a unit, such as 512M or 10G",
  });
}

function fileSystemOf(text: string): FileSystem {
  const found = fileSystems.find((name) => name === text);
  if (found !== undefined) return found;
  throw new Failure("E_USAGE", `there is no file system ${JSON.stringify(text)} for disks`, {
    where: flags.fs,
    mend: `use ${fileSystems.join(" or ")}`,
  });
}
