/**
 * The boot file system: the small root that a guest begins with. Its /sbin/init prepares the guest's own root, as
 * /mnt/init.yml says, and enters it. It is an image of one layer, made here.
 */
import { readFileSync } from "node:fs";
import { fromText } from "../../base/bytes.ts";
import { Failure, fileFailure } from "../../base/errors.ts";
import { digestOf } from "../digest.ts";
import { END_OF_ARCHIVE, encodeEntry, paddingAfter } from "../tar-write.ts";
import type { Entry, Platform, SourceImage } from "../types.ts";
import type { KernelModule } from "./kernel-modules.ts";

export interface BootfsParts {
  /** The program of guests: a static executable of this path. */
  readonly guest: string;
  /** A static busybox, and what it answers to; without, there is no shell. */
  readonly busybox?: string;
  readonly applets: readonly string[];
  readonly platform: Platform;
  /** Seconds since 1970: the time of every file. */
  readonly time: number;
  /** Loaded before anything else, in this order. */
  readonly modules: readonly KernelModule[];
  /** What becomes /mnt/init.yml. */
  readonly config?: string;
  /** Further files, which only root may read, by their paths below the root. */
  readonly files?: ReadonlyMap<string, Buffer>;
}

/** Of the program of guests: each is a link. lcboot's own names are links, too. */
const TOOLS = ["init", "tolerant", "overlay", "mount-idmapped", "initctl", "machine"];
const DIRECTORIES = [
  ...["bin", "dev", "etc", "mnt", "mnt/cache", "mnt/layers", "mnt/root", "proc", "root", "run", "sbin", "sys"],
  ...["tmp", "usr", "usr/bin", "usr/sbin", "var", "var/tmp"],
];
const STICKY = new Set(["tmp", "var/tmp"]);

/** The boot file system as an image. Throws E_NOT_FOUND for parts that are not there. */
export function bootfsImage(parts: BootfsParts): SourceImage {
  const bytes = archive(parts);
  const digest = digestOf(bytes);
  const layer = {
    label: "the boot file system",
    size: bytes.length,
    digest,
    diffId: digest,
    open: async () => once(bytes),
  };
  const { platform } = parts;
  return {
    digest,
    name: "bootfs",
    run: { Entrypoint: ["/sbin/init"] },
    config: Buffer.from(
      JSON.stringify({
        architecture: platform.architecture,
        os: platform.os,
        ...(platform.variant ? { variant: platform.variant } : {}),
        config: { Entrypoint: ["/sbin/init"] },
        rootfs: { type: "layers", diff_ids: [digest] },
      }),
    ),
    platform,
    layers: [layer],
    close: async () => {},
  };
}

async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

function archive({ guest, busybox, applets, time, modules, config, files }: BootfsParts): Buffer {
  const parts: Buffer[] = [];
  const add = (path: string, about: Partial<Entry> & Pick<Entry, "kind">, content: Buffer = Buffer.alloc(0)) => {
    const entry: Entry = {
      path: fromText(path),
      mode: 0o755,
      uid: 0,
      gid: 0,
      size: content.length,
      mtime: time,
      ...about,
    };
    parts.push(encodeEntry(entry), content, paddingAfter(content.length) ?? Buffer.alloc(0));
  };
  const link = (path: string, target: string) => add(path, { kind: "symlink", mode: 0o777, target: fromText(target) });
  for (const path of DIRECTORIES) add(path, { kind: "directory", mode: STICKY.has(path) ? 0o1777 : 0o755 });
  // Of an initial RAM file system the kernel opens this one before anything is mounted.
  add("dev/console", { kind: "character", mode: 0o600, major: 5, minor: 1 });
  add("dev/null", { kind: "character", mode: 0o666, major: 1, minor: 3 });
  add("sbin/rootling-guest", { kind: "file" }, content(guest));
  for (const name of TOOLS) link(`sbin/${name}`, "rootling-guest");
  for (const name of TOOLS.filter((each) => each !== "machine"))
    link(`bin/p5.lcboot.${name}`, "../sbin/rootling-guest");
  // What a kernel starts in an initial RAM file system.
  link("init", "sbin/init");
  if (busybox !== undefined) add("bin/busybox", { kind: "file" }, content(busybox));
  for (const name of applets) if (!TOOLS.includes(name) && name !== "busybox") link(`bin/${name}`, "busybox");
  const text = (path: string, lines: string) => add(path, { kind: "file", mode: 0o644 }, Buffer.from(lines));
  text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
  text("etc/group", "root:x:0:\n");
  for (const path of parentsOf(modules)) add(path, { kind: "directory" });
  for (const { path, content } of modules) add(path, { kind: "file", mode: 0o644 }, content);
  if (modules.length > 0) text("etc/rootling-modules", modules.map(({ path }) => `/${path}\n`).join(""));
  if (config !== undefined) text("mnt/init.yml", config);
  for (const [path, bytes] of files ?? []) add(path, { kind: "file", mode: 0o600 }, bytes);
  return Buffer.concat([...parts, END_OF_ARCHIVE]);
}

/** The directories above, each once, parents first. */
function parentsOf(modules: readonly KernelModule[]): string[] {
  const parts = modules.flatMap(({ path }) => path.split("/").map((_, i, all) => all.slice(0, i).join("/")));
  return [...new Set(parts)].filter(Boolean);
}

/** A program that needs no other file. */
function content(path: string): Buffer {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    throw fileFailure(error, "reading a part of the boot file system", path);
  }
  if (!hasInterpreter(bytes)) return bytes;
  throw new Failure("E_PROGRAM", "the program needs libraries, which the boot file system does not have", {
    where: path,
    mend: "name a static one (Debian, Ubuntu: apt-get install busybox-static)",
  });
}

/** Whether an ELF program names a loader: elf(5), a program header of type PT_INTERP. Ours are of 64 bits. */
function hasInterpreter(elf: Buffer): boolean {
  if (elf.length < 64 || elf.readUInt32BE(0) !== 0x7f454c46 || elf[4] !== 2) return false;
  const at = Number(elf.readBigUInt64LE(32));
  const size = elf.readUInt16LE(54);
  return Array.from({ length: elf.readUInt16LE(56) }, (_, i) => at + i * size).some(
    (offset) => offset + 4 <= elf.length && elf.readUInt32LE(offset) === 3,
  );
}
