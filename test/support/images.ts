/** Images made by others' tools (umoci, GNU tar, mmdebstrap), so that others' idea of a layer is tested. */
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { must } from "./command.ts";

/** Debian's static busybox, and the commands that our busybox image offers. */
const BUSYBOX = "/bin/busybox";
const APPLETS =
  "sh ls cat echo id env pwd true false sleep mkdir rm rmdir touch mount umount test stat ps kill tty stty hostname wc chmod ln readlink grep head dd";

export interface ImageConfig {
  entrypoint?: readonly string[];
  cmd?: readonly string[];
  /** `NAME=VALUE` */
  env?: readonly string[];
  workdir?: string;
  stopSignal?: string;
  user?: string;
  labels?: Record<string, string>;
  volumes?: readonly string[];
}

/** A local layout that images are added to; `reference` gives what umoci and skopeo call an image of it. */
export class ImageLayout {
  readonly directory: string;

  private constructor(directory: string) {
    this.directory = directory;
  }

  static async create(directory: string): Promise<ImageLayout> {
    await must(["umoci", "init", "--layout", directory]);
    return new ImageLayout(directory);
  }

  reference(tag: string): string {
    return `${this.directory}:${tag}`;
  }

  /** A new image without layers. */
  async image(tag: string): Promise<void> {
    await must(["umoci", "new", "--image", this.reference(tag)]);
  }

  /** Adds a tar file as it is as the next layer. umoci compresses it. */
  async addLayer(tag: string, tar: string): Promise<void> {
    await must(["umoci", "raw", "add-layer", "--image", this.reference(tag), tar]);
  }

  async configure(tag: string, config: ImageConfig): Promise<void> {
    const words = ["umoci", "config", "--image", this.reference(tag)];
    const clear = (what: string, values: readonly string[] | undefined) => {
      if (values === undefined) return;
      words.push("--clear", `config.${what}`, ...values.map((value) => `--config.${what}=${value}`));
    };
    clear("entrypoint", config.entrypoint);
    clear("cmd", config.cmd);
    clear("env", config.env);
    if (config.workdir !== undefined) words.push(`--config.workingdir=${config.workdir}`);
    if (config.stopSignal !== undefined) words.push(`--config.stopsignal=${config.stopSignal}`);
    if (config.user !== undefined) words.push(`--config.user=${config.user}`);
    for (const volume of config.volumes ?? []) words.push(`--config.volume=${volume}`);
    for (const [name, value] of Object.entries(config.labels ?? {})) words.push(`--config.label=${name}=${value}`);
    await must(words);
  }

  /** umoci's own unpacking: what an import has to equal. `rootless` as an ordinary user's. Returns the root file system. */
  async unpack(tag: string, bundle: string, rootless = false): Promise<string> {
    await must(["umoci", "unpack", ...(rootless ? ["--rootless"] : []), "--image", this.reference(tag), bundle]);
    return join(bundle, "rootfs");
  }
}

/** A tar of `directory` with owners of root, byte-sorted names and fixed times: the same bytes at every run. */
async function tarOf(directory: string, tar: string): Promise<string> {
  await must([
    "tar",
    "--create",
    "--file",
    tar,
    "--directory",
    directory,
    "--format=pax",
    "--sort=name",
    "--mtime=@1700000000",
    "--owner=0",
    "--group=0",
    "--numeric-owner",
    "--pax-option=delete=atime,delete=ctime",
    ".",
  ]);
  return tar;
}

/** A small real system: /bin/busybox with its commands, /etc/passwd, /tmp. */
export async function busyboxRoot(root: string): Promise<void> {
  for (const directory of ["bin", "etc", "tmp", "root", "proc", "sys", "dev", "home/demo"]) {
    mkdirSync(join(root, directory), { recursive: true });
  }
  cpSync(BUSYBOX, join(root, "bin/busybox"));
  for (const applet of APPLETS.split(" ")) symlinkSync("busybox", join(root, "bin", applet));
  // An id that no user of the tests has: on a fresh machine the first of them is 1000.
  writeFileSync(join(root, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\ndemo:x:4242:4242::/home/demo:/bin/sh\n");
  writeFileSync(join(root, "etc/group"), "root:x:0:\ndemo:x:4242:\n");
  writeFileSync(join(root, "etc/os-release"), 'ID=busybox\nPRETTY_NAME="BusyBox test image"\n');
  await must(["chmod", "1777", join(root, "tmp")]);
}

/** The same as an image. */
export async function busyboxImage(layout: ImageLayout, tag: string, scratch: string, config: ImageConfig = {}) {
  const root = join(scratch, `busybox-${tag}`);
  await busyboxRoot(root);
  await layout.image(tag);
  await layout.addLayer(tag, await tarOf(root, join(scratch, `busybox-${tag}.tar`)));
  await layout.configure(tag, { cmd: ["/bin/sh"], env: ["PATH=/bin"], ...config });
  await must(["rm", "-rf", root, join(scratch, `busybox-${tag}.tar`)]);
}

/** One entry of a layer that is written by hand, for what no directory can hold. */
export interface TarEntry {
  /** A byte string (Latin-1): names of any bytes. */
  name: string;
  type?: "file" | "directory" | "symlink" | "hardlink" | "fifo" | "character" | "block";
  /** Byte string. */
  content?: string;
  target?: string;
  mode?: number;
  uid?: number;
  gid?: number;
  mtime?: number;
  device?: [number, number];
  /** Values are byte strings. */
  xattrs?: Record<string, string>;
}

/** Writes a tar in PAX format by Python's tarfile, another implementation than ours. */
export function writeTar(file: string, entries: readonly TarEntry[]): string {
  execFileSync("python3", [join(import.meta.dirname, "write-tar.py"), file], { input: JSON.stringify(entries) });
  return file;
}

// A capability set as `setcap cap_net_raw+ep` stores it: its NUL bytes are what careless tar codecs damage.
const CAP_NET_RAW = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";

/**
 * Three layers that hold what goes wrong: whiteouts, an opaque directory, a file that becomes a directory and the
 * reverse, hard links within and across layers, xattrs with binary values, names of any bytes, set-id files,
 * devices, a FIFO, owners, times before 1970, a directory after its children, long names.
 */
export const trickyLayers: readonly (readonly TarEntry[])[] = [
  [
    { name: "bin/", type: "directory" },
    { name: "bin/tool", content: "#!/bin/sh\necho tool\n", mode: 0o755 },
    { name: "bin/setuid", content: "set-user-id", mode: 0o4755 },
    { name: "bin/setgid", content: "set-group-id", mode: 0o2755, gid: 42 },
    { name: "bin/capable", content: "capable", mode: 0o755, xattrs: { "security.capability": CAP_NET_RAW } },
    { name: "etc/", type: "directory" },
    { name: "etc/gone", content: "removed by the next layer" },
    { name: "etc/changed", content: "old" },
    { name: "etc/was-file", content: "a file at first" },
    { name: "etc/was-directory/", type: "directory" },
    { name: "etc/was-directory/child", content: "goes with it" },
    { name: "opaque/", type: "directory", mode: 0o700 },
    { name: "opaque/hidden", content: "hidden" },
    { name: "opaque/deep/", type: "directory" },
    { name: "opaque/deep/hidden", content: "hidden too" },
    { name: "removed/", type: "directory" },
    { name: "removed/child", content: "goes with its directory" },
    { name: "links/", type: "directory" },
    { name: "links/a", content: "one inode, three names" },
    { name: "links/b", type: "hardlink", target: "links/a" },
    { name: "links/c", type: "hardlink", target: "links/a" },
    { name: "links/target", content: "linked from the layer above" },
    { name: "links/symlink", type: "symlink", target: "../etc/changed" },
    { name: "links/dangling", type: "symlink", target: "/nowhere/\xff" },
    { name: "names/", type: "directory" },
    { name: "names/\xff\xfe not UTF-8", content: "bytes" },
    { name: "names/caf\xc3\xa9", content: "UTF-8" },
    { name: "names/line\nbreak", content: "newline" },
    { name: "names/back\\slash", content: "backslash" },
    { name: "names/ blank ", content: "blanks" },
    { name: "names/-dash", content: "dash" },
    { name: `names/${"long-".repeat(50)}`, content: "255 bytes and fewer" },
    { name: `deep/${"directory/".repeat(40)}leaf`, content: "a long path, without its directories" },
    { name: "late/child", content: "comes before its directory" },
    { name: "late/", type: "directory", mode: 0o750, uid: 7, gid: 8, mtime: 1_234_567_890 },
    { name: "owned", content: "another's", uid: 1000, gid: 100, mode: 0o640 },
    { name: "big-id", content: "a large id", uid: 2_000_000, gid: 3_000_000 },
    { name: "empty", content: "" },
    { name: "attributes", content: "attributes", xattrs: { "user.text": "text", "user.binary": "\x00\xff=\n\x00" } },
    { name: "old", content: "before 1970", mtime: -86_400 },
    { name: "sticky/", type: "directory", mode: 0o1777 },
    { name: "fifo", type: "fifo", mode: 0o600 },
  ],
  [
    { name: "etc/", type: "directory", mode: 0o755, mtime: 1_600_000_000 },
    { name: "etc/.wh.gone", content: "" },
    { name: "etc/changed", content: "new" },
    { name: "etc/was-file/", type: "directory" },
    { name: "etc/was-file/child", content: "a directory now" },
    { name: "etc/.wh.was-directory", content: "" },
    { name: "opaque/", type: "directory", mode: 0o755 },
    { name: "opaque/.wh..wh..opq", content: "" },
    { name: "opaque/seen", content: "of the opaque layer" },
    { name: ".wh.removed", content: "" },
    { name: "links/from-above", type: "hardlink", target: "links/target" },
  ],
  [
    { name: "etc/was-directory", content: "a file now" },
    { name: "removed/", type: "directory", mode: 0o711 },
    { name: "removed/new", content: "back again" },
    { name: "links/a", content: "parted from its links" },
    { name: "opaque/later", content: "of the layer above the opaque one" },
  ],
];

/** Devices, which only root can unpack. */
export const deviceLayer: readonly TarEntry[] = [
  { name: "dev/", type: "directory" },
  { name: "dev/null", type: "character", device: [1, 3], mode: 0o666 },
  { name: "dev/loop0", type: "block", device: [7, 0], mode: 0o660, gid: 6 },
];

/** An image of layers that are written by hand. */
export async function layeredImage(
  layout: ImageLayout,
  tag: string,
  scratch: string,
  layers: readonly (readonly TarEntry[])[],
  config: ImageConfig = {},
): Promise<void> {
  await layout.image(tag);
  for (const [index, entries] of layers.entries()) {
    const tar = writeTar(join(scratch, `${tag}-${index}.tar`), entries);
    await layout.addLayer(tag, tar);
    await must(["rm", tar]);
  }
  await layout.configure(tag, config);
}

/** A Debian root file system from the machine's own apt sources, as an image of one layer. */
export async function debianImage(layout: ImageLayout, tag: string, scratch: string, config: ImageConfig = {}) {
  const tar = join(scratch, `${tag}.tar`);
  if (!existsSync(tar))
    await must([join(import.meta.dirname, "../../scripts/make-debian.sh"), tar], { timeout: 600_000 });
  await layout.image(tag);
  await layout.addLayer(tag, tar);
  await layout.configure(tag, {
    cmd: ["/bin/bash"],
    env: ["PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"],
    ...config,
  });
  await must(["rm", tar]);
}
