/**
 * A guest in the words of what starts it: a domain of libvirt (domain XML, for its LXC and QEMU drivers), or a
 * configuration of LXC (lxc.container.conf(5)). Pure.
 */
import { Failure } from "../base/errors.ts";

export const GUEST_DRIVERS = ["libvirt-lxc", "lxc", "qemu"] as const;
export type GuestDriver = (typeof GUEST_DRIVERS)[number];

/** All paths are absolute paths of the host. */
export interface GuestDefinition {
  readonly name: string;
  /** The boot file system: a directory; for `qemu` an initial RAM file system. */
  readonly boot: string;
  /** The next root, which the guest finds at /mnt/root: a directory; for `qemu` a disk. */
  readonly root?: string;
  /** Found at /mnt/layers/0, 1 and so on. */
  readonly layers: readonly string[];
  /** A writable directory, found at /mnt/cache; for `qemu` a disk. */
  readonly cache?: string;
  /** An init.yml. Its directory is found at /mnt/config, so that it may change between boots. */
  readonly config?: { readonly directory: string; readonly file: string };
  /** Bytes. */
  readonly memory: number;
  readonly cpus?: number;
  /** The host's bridge that its one interface is a port of; without, it has none. */
  readonly bridge?: string;
  /** Ids of the whole guest; what init.yml maps comes on top. */
  readonly idMap?: readonly { readonly inside: number; readonly outside: number; readonly count: number }[];
  /** `qemu`: a kernel. */
  readonly kernel?: string;
  /** `qemu`: whether the processor runs it, or QEMU translates. */
  readonly accelerated?: boolean;
}

/** The text of the definition. Throws E_USAGE for what the driver cannot have. */
export function defineGuest(guest: GuestDefinition, driver: GuestDriver): string {
  if (driver === "lxc") return lxcConfig(guest);
  return driver === "libvirt-lxc" ? libvirtLxc(guest) : libvirtQemu(guest);
}

const escapes: Readonly<Record<string, string>> = {
  "<": "&lt;",
  ">": "&gt;",
  "&": "&amp;",
  "'": "&apos;",
  '"': "&quot;",
};
const xml = (text: string): string => text.replace(/[<>&'"]/g, (c) => escapes[c] ?? c);

/** Where a guest finds what it is given, and whether it may write there. */
function places({
  root,
  layers,
  cache,
  config,
}: GuestDefinition): { source: string; target: string; readOnly: boolean }[] {
  return [
    ...(root === undefined ? [] : [{ source: root, target: "/mnt/root", readOnly: true }]),
    ...layers.map((source, i) => ({ source, target: `/mnt/layers/${i}`, readOnly: true })),
    ...(cache === undefined ? [] : [{ source: cache, target: "/mnt/cache", readOnly: false }]),
    ...(config === undefined ? [] : [{ source: config.directory, target: "/mnt/config", readOnly: true }]),
  ];
}

const initWords = ({ config }: GuestDefinition): string[] =>
  config === undefined ? [] : ["--config", `/mnt/config/${config.file}`];

function domain(type: string, guest: GuestDefinition, inner: readonly string[]): string {
  return [
    `<domain type='${type}'>`,
    `  <name>${xml(guest.name)}</name>`,
    `  <memory unit='b'>${guest.memory}</memory>`,
    `  <vcpu>${guest.cpus ?? 1}</vcpu>`,
    ...inner.map((line) => `  ${line}`),
    "</domain>",
  ].join("\n");
}

const network = ({ bridge }: GuestDefinition, more: readonly string[] = []): string[] =>
  bridge === undefined
    ? []
    : ["  <interface type='bridge'>", `    <source bridge='${xml(bridge)}'/>`, ...more, "  </interface>"];

/** https://libvirt.org/drvlxc.html */
function libvirtLxc(guest: GuestDefinition): string {
  const mount = (source: string, target: string, readOnly: boolean) => [
    "  <filesystem type='mount' accessmode='passthrough'>",
    `    <source dir='${xml(source)}'/>`,
    `    <target dir='${xml(target)}'/>`,
    ...(readOnly ? ["    <readonly/>"] : []),
    "  </filesystem>",
  ];
  const idMap = guest.idMap?.flatMap(({ inside, outside, count }) =>
    ["uid", "gid"].map((kind) => `  <${kind} start='${inside}' target='${outside}' count='${count}'/>`),
  );
  return domain("lxc", guest, [
    "<os>",
    "  <type>exe</type>",
    "  <init>/sbin/init</init>",
    ...initWords(guest).map((word) => `  <initarg>${xml(word)}</initarg>`),
    "</os>",
    ...(idMap === undefined ? [] : ["<idmap>", ...idMap, "</idmap>"]),
    // Without it a guest that has no interface would have the host's network.
    "<features>",
    "  <privnet/>",
    "</features>",
    "<devices>",
    ...mount(guest.boot, "/", false),
    ...places(guest).flatMap(({ source, target, readOnly }) => mount(source, target, readOnly)),
    ...network(guest),
    "  <console type='pty'/>",
    "</devices>",
  ]);
}

/** https://libvirt.org/formatdomain.html */
function libvirtQemu(guest: GuestDefinition): string {
  if (guest.kernel === undefined) {
    throw new Failure("E_USAGE", "a virtual machine needs a kernel", {
      where: "--driver",
      mend: "name one with --kernel",
    });
  }
  if (guest.idMap !== undefined) {
    throw new Failure("E_USAGE", "a virtual machine has all ids of its own", {
      where: "--map",
      mend: "leave it out, or write id_map into its init.yml",
    });
  }
  if (guest.config !== undefined) {
    throw new Failure("E_USAGE", "a virtual machine sees no directory of the host", {
      where: "--config",
      mend: "put the file into the boot file system: rootling bootfs build --format initramfs --config FILE",
    });
  }
  const disk = (source: string, target: string, readOnly: boolean) => [
    "  <disk type='file' device='disk'>",
    `    <driver name='qemu' type='${source.endsWith(".qcow2") ? "qcow2" : "raw"}'/>`,
    `    <source file='${xml(source)}'/>`,
    `    <target dev='${target}' bus='virtio'/>`,
    ...(readOnly ? ["    <readonly/>"] : []),
    "  </disk>",
  ];
  const sources = places(guest);
  return domain(guest.accelerated === false ? "qemu" : "kvm", guest, [
    "<os>",
    "  <type arch='x86_64'>hvm</type>",
    `  <kernel>${xml(guest.kernel)}</kernel>`,
    `  <initrd>${xml(guest.boot)}</initrd>`,
    "  <cmdline>console=ttyS0 quiet</cmdline>",
    "</os>",
    "<devices>",
    ...sources.flatMap(({ source, readOnly }, i) => disk(source, `vd${String.fromCharCode(97 + i)}`, readOnly)),
    ...network(guest, ["    <model type='virtio'/>"]),
    "  <console type='pty'/>",
    "</devices>",
  ]);
}

/** lxc.container.conf(5). It has no quotes: paths with blanks cannot be said in it. */
function lxcConfig(guest: GuestDefinition): string {
  const plain = (path: string): string => {
    if (!/[\s\\]/.test(path)) return path;
    throw new Failure("E_USAGE", "LXC's configuration has no way to write a path with blanks", {
      where: JSON.stringify(path),
      mend: "use a path without",
    });
  };
  const mount = (source: string, target: string, readOnly: boolean) =>
    `lxc.mount.entry = ${plain(source)} ${target.slice(1)} none bind${readOnly ? ",ro" : ""},create=dir 0 0`;
  return [
    `lxc.uts.name = ${guest.name}`,
    `lxc.rootfs.path = dir:${plain(guest.boot)}`,
    `lxc.init.cmd = ${["/sbin/init", ...initWords(guest)].map(plain).join(" ")}`,
    "lxc.environment = container=lxc",
    // Whole: below parts that are read-only the kernel lets nobody mount them anew in a user namespace (mount_namespaces(7)).
    "lxc.mount.auto = proc:rw sys:rw",
    "lxc.autodev = 1",
    "lxc.pty.max = 64",
    ...(guest.idMap ?? []).flatMap(({ inside, outside, count }) =>
      ["u", "g"].map((kind) => `lxc.idmap = ${kind} ${inside} ${outside} ${count}`),
    ),
    ...places(guest).map(({ source, target, readOnly }) => mount(source, target, readOnly)),
    ...(guest.bridge === undefined
      ? ["lxc.net.0.type = empty"]
      : ["lxc.net.0.type = veth", `lxc.net.0.link = ${guest.bridge}`, "lxc.net.0.flags = up"]),
    `lxc.cgroup2.memory.max = ${guest.memory}`,
  ].join("\n");
}
