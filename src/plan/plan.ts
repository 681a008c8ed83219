/** The plan: the exact steps, in order, that the executor carries out. Made by boot/lower.ts, and by nothing else. */

/**
 * in-place: the process that reads the plan becomes the payload; nothing needs undoing later.
 * supervised: it stays outside as a small monitor, forwards signals and undoes the ops that were done.
 * detached: the same, by a monitor that was started for it and is nobody's job; the caller goes on, or becomes a client
 * of the payload's terminal.
 */
export type Topology = "in-place" | "supervised" | "detached";

/** Which process does a step: the caller's namespaces, or those of the container. */
export type Side = "inside" | "outside";

interface VerbEntry {
  side: Side;
  /** Names of the fields; the last may repeat where `repeats` says so. */
  fields: readonly string[];
  repeats?: "any" | "at-least-one";
  about: string;
}

const verbs = {
  timeline: {
    side: "outside",
    fields: ["file", "mark"],
    repeats: "any",
    about: "draw where the time goes; marks are of what came before",
  },
  upper: { side: "outside", fields: ["directory"], about: "make an ephemeral upper directory; removed at the end" },
  temporary: { side: "outside", fields: ["directory"], about: "remove a directory at the end" },
  log: { side: "outside", fields: ["file", "older"], about: "open the payload's log; the former one becomes older" },
  "exit-status": { side: "outside", fields: ["file"], about: "write the payload's exit status at the end" },
  listen: { side: "outside", fields: ["socket"], about: "let clients come to the terminal; removed at the end" },
  namespaces: {
    side: "inside",
    fields: ["list", "join"],
    repeats: "any",
    about: "enter namespaces of processes (PID START LIST), then make new ones",
  },
  "oom-score-adj": { side: "outside", fields: ["number"], about: "how soon the kernel ends it for want of memory" },
  sysctl: { side: "inside", fields: ["path", "value"], about: "set a sysctl of the container's namespaces" },
  ulimit: { side: "inside", fields: ["name", "soft", "hard"], about: "limit a resource of the process" },
  umask: { side: "inside", fields: ["mode"], about: "mask the modes of new files" },
  nice: { side: "inside", fields: ["number"], about: "set the scheduling priority" },
  cgroup: {
    side: "outside",
    fields: ["mark", "directory", "controllers", "setting"],
    repeats: "any",
    about: "make a cgroup with limits; removed at the end",
  },
  "cgroup-join": { side: "outside", fields: ["directory"], about: "put the inside into a cgroup" },
  pasta: {
    side: "outside",
    fields: ["mark", "program", "option"],
    repeats: "any",
    about: "connect the network namespace by pasta; ended at the end",
  },
  cables: { side: "outside", fields: ["mark"], about: "note what cables make on the host; undone at the end" },
  netns: { side: "outside", fields: ["name"], about: "give the network namespace a name for `ip netns`" },
  bridge: {
    side: "outside",
    fields: ["name", "mac", "alias", "address"],
    repeats: "any",
    about: "make a bridge where there is none; it goes with its last port",
  },
  cable: {
    side: "outside",
    fields: ["name", "inside", "mac", "bridge", "mtu", "alias"],
    about: "make a veth pair between the host and the inside",
  },
  vlan: { side: "outside", fields: ["name", "parent", "id", "alias"], about: "make an interface for a VLAN" },
  ifup: { side: "outside", fields: ["ifup", "ifdown", "name"], about: "try to have an interface configured" },
  "host-interface": {
    side: "outside",
    fields: ["name", "address"],
    repeats: "any",
    about: "give an interface of the host addresses",
  },
  interface: {
    side: "inside",
    fields: ["name", "address"],
    repeats: "any",
    about: "give an interface addresses, and bring it up",
  },
  route: { side: "inside", fields: ["gateway", "interface"], about: "set the default route" },
  rate: { side: "outside", fields: ["name", "bytes"], about: "limit what leaves by an interface, a second" },
  "host-sysctl": { side: "outside", fields: ["path", "value"], about: "set a sysctl of the host's network" },
  nft: {
    side: "outside",
    fields: ["program", "removal", "text"],
    about: "load tables of nftables; removed at the end",
  },
  file: { side: "inside", fields: ["path", "mode", "text"], about: "write a file of the stage" },
  loopback: { side: "inside", fields: [], about: "bring up the loopback interface" },
  join: { side: "inside", fields: ["pid", "start", "list"], about: "enter the namespaces of a process" },
  "id-map": { side: "outside", fields: ["uids", "gids", "setgroups"], about: "write the id maps" },
  "subordinate-map": {
    side: "outside",
    fields: ["newuidmap", "newgidmap", "uids", "gids"],
    about: "have the id maps written by the set-id helpers",
  },
  lend: { side: "outside", fields: ["number", "source", "words"], about: "open a tree of mounts for the inside" },
  "lend-squashfs": {
    side: "outside",
    fields: ["number", "file", "words"],
    about: "mount a squashfs file for the inside, read-only",
  },
  fuse: { side: "inside", fields: ["number", "target"], about: "mount a FUSE file system" },
  serve: {
    side: "outside",
    fields: ["number", "program", "file", "options"],
    about: "have a FUSE file system served by a program, which ends with the monitor or the mount",
  },
  "take-ids": { side: "inside", fields: ["uid", "gid"], about: "become these ids of the new user namespace" },
  owner: { side: "inside", fields: ["path", "uid", "gid"], about: "give a directory to its owner" },
  record: { side: "outside", fields: ["file"], about: "record the pid inside; removed at the end" },
  propagation: { side: "inside", fields: ["path", "kind"], about: "keep mounts to ourselves" },
  "make-directory": { side: "inside", fields: ["path", "mode"], about: "make a directory" },
  overlay: {
    side: "inside",
    fields: ["target", "options", "upper", "work", "lower"],
    repeats: "at-least-one",
    about: "mount an overlay of directories",
  },
  root: { side: "inside", fields: ["path"], about: "take this as the root that later paths lie in" },
  mount: {
    side: "inside",
    fields: ["type", "source", "target", "attributes", "data", "create"],
    about: "mount a new file system",
  },
  bind: {
    side: "inside",
    fields: ["source", "target", "set", "clear", "words", "create", "mode"],
    about: "mount a file or directory of the host",
  },
  device: {
    side: "inside",
    fields: ["source", "target", "major", "minor", "word"],
    repeats: "any",
    about: "bind a device, once checked",
  },
  symlink: { side: "inside", fields: ["target", "path"], about: "make a symlink" },
  attributes: { side: "inside", fields: ["path", "set", "words"], about: "change the attributes of a mount" },
  caller: { side: "inside", fields: ["variable"], repeats: "any", about: "the caller's environment, for hooks" },
  hidden: { side: "inside", fields: ["stage", "path"], repeats: "any", about: "what no line of fstab may show" },
  variables: { side: "inside", fields: ["variable"], repeats: "any", about: "add to the gathered environment" },
  "variables-file": { side: "inside", fields: ["path"], about: "add what a file of the root says" },
  fstab: { side: "inside", fields: ["pass", "line"], about: "mount what a line of fstab says, if it is of this pass" },
  "fstab-file": { side: "inside", fields: ["path", "pass"], about: "mount what a file of the root says" },
  hook: {
    side: "inside",
    fields: ["output", "stage", "program", "argument"],
    repeats: "any",
    about: "run a program of the host in the container's namespaces",
  },
  "runtime-hook": {
    side: "inside",
    fields: ["state", "rest", "timeout", "program", "count", "word"],
    repeats: "any",
    about: "run a program of the host that gets the container's state (COUNT arguments, then variables)",
  },
  "hook-mounts": { side: "inside", fields: ["stage"], about: "mount what hooks have listed" },
  "hook-rc": { side: "inside", fields: ["stage"], about: "keep the script that a hook has written" },
  rc: { side: "inside", fields: ["text"], about: "keep the script that starts the payload" },
  "rc-local": { side: "inside", fields: ["text"], about: "keep this script if there is an /etc/rc.local" },
  "gathered-environment": { side: "inside", fields: [], about: "what was gathered is the payload's environment" },
  pivot: { side: "inside", fields: [], about: "make the root /, and let the old one go" },
  expect: { side: "inside", fields: ["path", "type"], about: "go on only if a file system of this type is there" },
  hostname: { side: "inside", fields: ["name"], about: "set the host name" },
  terminal: { side: "inside", fields: ["rows", "columns"], about: "give the payload a terminal of its own" },
  user: { side: "inside", fields: ["spec"], about: "become the user; HOME from passwd" },
  "no-new-privileges": { side: "inside", fields: [], about: "set-id programs give nothing from here on" },
  capabilities: { side: "inside", fields: ["bounding", "own"], about: "limit the capabilities" },
  keyring: { side: "inside", fields: [], about: "a session keyring of its own" },
  session: { side: "inside", fields: [], about: "a session of its own, without the caller's terminal" },
  landlock: {
    side: "inside",
    fields: ["everywhere", "elsewhere", "apart", "path"],
    repeats: "any",
    about: "deny access once more, where the kernel has Landlock",
  },
  seccomp: { side: "inside", fields: ["profile", "program"], about: "refuse system calls from here on" },
  environment: { side: "inside", fields: ["variable"], repeats: "any", about: "the environment of the payload" },
  workdir: { side: "inside", fields: ["path"], about: "change the directory" },
  "disk-file": {
    side: "outside",
    fields: ["mark", "mount", "file"],
    about: "a disk file that is mounted already; unmounted at the end",
  },
  "service-report": { side: "outside", fields: ["file"], about: "open the file that says what became of services" },
  hide: {
    side: "inside",
    fields: ["layer", "lower", "path", "mark", "word"],
    about: "have a layer hide a path of the one below, or lock its passwords",
  },
  prepare: {
    side: "inside",
    fields: ["program", "argument"],
    repeats: "any",
    about: "run a program of the container that gets something ready, if it is there",
  },
  "host-command": {
    side: "inside",
    fields: ["output", "directory", "command", "variable"],
    repeats: "any",
    about: "run a command line of the host in the container's namespaces",
  },
  reaper: { side: "inside", fields: [], about: "stay as pid 1; go on in a child" },
  machine: {
    side: "inside",
    fields: ["directory", "end", "server", "word"],
    repeats: "at-least-one",
    about: "run a file server (SERVER words) and the emulator of a virtual machine, and end as that does",
  },
  pack: { side: "inside", fields: ["path", "words"], about: "write files of the root to standard output, and end" },
  unpack: { side: "inside", fields: ["path", "name", "words"], about: "make files from standard input, and end" },
  services: {
    side: "inside",
    fields: ["dummy", "start-seconds", "stop-seconds", "name"],
    repeats: "any",
    about: "stay as pid 1: start services by their init scripts, reap, stop them",
  },
  end: { side: "inside", fields: [], about: "end, with nothing started" },
  login: {
    side: "inside",
    fields: ["mode", "rc", "count", "word"],
    repeats: "any",
    about: "start the command as a login would",
  },
  command: {
    side: "inside",
    fields: ["input", "text", "word"],
    repeats: "at-least-one",
    about: "run a program of the guest, a directory of them or a script, and wait for it",
  },
  "system-mounts": { side: "inside", fields: [], about: "mount /proc, /sys and /dev of a machine where nobody has" },
  "mount-point": {
    side: "inside",
    fields: ["path", "when"],
    about: "bind a directory on itself, where nothing is mounted there (missing) or once more (always)",
  },
  initctl: {
    side: "inside",
    fields: ["fifo"],
    about: "take requests of halt(8) and its like, and end pid 1 when one says so",
  },
  "hand-over": {
    side: "inside",
    fields: ["uid", "gid"],
    about: "give our cgroup and the usual devices to the mapped root",
  },
  interfaces: { side: "outside", fields: [], about: "move the network interfaces into the new network namespace" },
  devices: {
    side: "inside",
    fields: ["excluded", "pattern"],
    repeats: "any",
    about: "bind what our /dev has (EXCLUDED names that it shall not have, then regular expressions)",
  },
  "enter-root": {
    side: "inside",
    fields: ["mode", "path"],
    about: "make the next root / (pivot, chroot), and let the old one go",
  },
  become: {
    side: "inside",
    fields: ["word"],
    repeats: "at-least-one",
    about: "become a program of the guest, or a script's interpreter",
  },
  exec: { side: "inside", fields: ["argument"], repeats: "at-least-one", about: "execute the command" },
} as const satisfies Record<string, VerbEntry>;

export type Verb = keyof typeof verbs;

/**
 * Every verb with its fields: what `rootling plan` prints and what executor/ops.def takes. A test holds this table
 * and `executor --ops` against each other.
 */
export const verbTable: Readonly<Record<Verb, VerbEntry>> = verbs;

/** One step. `origin` says who asked for it: `--mount`, `image config`, `rootling` for what always happens. */
export interface Op {
  readonly verb: Verb;
  readonly fields: readonly string[];
  readonly origin: string;
}

export interface Plan {
  readonly version: 1;
  readonly topology: Topology;
  readonly ops: readonly Op[];
  /** What the user should know before it starts, such as a part of the host that is only bound read-only. */
  readonly remarks: readonly string[];
}

/** The origin of what always happens, asked for or not. */
export const OURSELVES = "rootling";

export const op = (verb: Verb, origin: string, ...fields: string[]): Op => ({ verb, origin, fields });
