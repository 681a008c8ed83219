/** From a failed step (verb, errno, what the host says) to what went wrong and how to mend it. */
import { existsSync, readFileSync } from "node:fs";
import { getSystemErrorMessage, getSystemErrorName } from "node:util";
import { Failure, type FailureCode } from "../base/errors.ts";
import { escapeText } from "../base/text.ts";
import type { StepFailure } from "../plan/wire.ts";

interface Words {
  code: FailureCode;
  what: string;
  mend?: string;
}

/** Exit statuses of a command that cannot be executed, as of the shell and env(1). */
const NOT_EXECUTABLE = 126;
const NOT_FOUND = 127;

const readSysctl = (name: string): string | undefined => {
  const path = `/proc/sys/${name.replaceAll(".", "/")}`;
  return existsSync(path) ? readFileSync(path, "utf8").trim() : undefined;
};

/** Whether AppArmor lets only programs with a profile use user namespaces (Ubuntu 23.10 and later). */
export const appArmorRestricts = (): boolean => readSysctl("kernel.apparmor_restrict_unprivileged_userns") === "1";

/** How to mend refused user namespaces, by the three switches that distributions know. */
export function userNamespaceMend(): string {
  if (readSysctl("kernel.unprivileged_userns_clone") === "0") {
    return "ask the administrator for: sysctl kernel.unprivileged_userns_clone=1";
  }
  if (appArmorRestricts()) {
    return "AppArmor restricts user namespaces: ask the administrator for the AppArmor profile that `rootling unit --apparmor` prints, or for: sysctl kernel.apparmor_restrict_unprivileged_userns=0";
  }
  const most = readSysctl("user.max_user_namespaces");
  if (most === "0") return "ask the administrator for: sysctl user.max_user_namespaces=65536";
  return `a container or chroot that you run in may forbid it: start rootling outside (user.max_user_namespaces is ${most ?? "unknown"})`;
}

const namespaces = ({ fields, errno, call }: StepFailure): Words => {
  const name = getSystemErrorName(-errno);
  if (call === "setns" || call === "pidfd_open" || call === "start time") {
    const pids = fields.slice(1).map((join) => join.split(" ")[0]);
    return {
      code: name === "EPERM" ? "E_USERNS" : "E_NOT_FOUND",
      what: `the namespaces of process ${escapeText(pids.join(", "))} cannot be entered: ${reason(errno, call)}`,
      mend: "it may have ended: see `rootling list`; only its owner and root may enter its namespaces",
    };
  }
  const user = fields[0]?.split(",").includes("user");
  if (user && (name === "EPERM" || name === "ENOSPC" || name === "EUSERS")) {
    return { code: "E_USERNS", what: "this user may not make user namespaces", mend: userNamespaceMend() };
  }
  return {
    code: "E_USERNS",
    what: `new namespaces (${fields[0]}) are refused: ${reason(errno, call)}`,
    mend: "see `rootling doctor`",
  };
};

const idMap = ({ errno, call }: StepFailure): Words => ({
  code: "E_USERNS",
  what: `the id map is refused: ${reason(errno, call)}`,
  mend: userNamespaceMend(),
});

const subordinateMap = ({ errno, call, detail, fields }: StepFailure): Words => {
  const said = detail ? `: ${escapeText(detail.trim())}` : ` (${getSystemErrorName(-errno)})`;
  return {
    code: "E_SUBUID",
    what: `${call} refuses the map${said}`,
    mend: `check that ${fields[0]} and ${fields[1]} are set-id root or have file capabilities, and that /etc/subuid and /etc/subgid give the ids`,
  };
};

const lend = ({ fields, errno, call }: StepFailure): Words =>
  call === "mount_setattr"
    ? {
        code: "E_MOUNT",
        what: `the owners of ${escapeText(fields[1] ?? "")} cannot be mapped: ${reason(errno, call)}`,
        mend: "its file system takes no idmapped mounts on this kernel (tmpfs: Linux 6.3): choose another with ROOTLING_DATA_PATH",
      }
    : {
        code: "E_MOUNT",
        what: `${escapeText(fields[1] ?? "")} cannot be opened as a mount: ${reason(errno, call)}`,
        mend:
          getSystemErrorName(-errno) === "ENOSYS"
            ? "maps of root's need Linux 5.12, and no filter of an outer container: start it as an ordinary user, or without a map"
            : "check the path",
      };

const squashfs = ({ verb, fields, errno, call, detail }: StepFailure): Words => {
  const name = getSystemErrorName(-errno);
  const said = detail ? ` (${escapeText(detail.trim())})` : "";
  const mends: Record<string, string> = {
    "open /dev/fuse": "ask the administrator to give /dev/fuse the mode 0666, or import the file into the store",
    "open /dev/loop-control": "this machine has no loop devices for root: import the file into the store",
    open: "check the path, and that you may read the file",
    fsopen: `the kernel does not know this file system: ask the administrator for: modprobe ${verb === "fuse" ? "fuse" : "squashfs"}`,
  };
  return {
    code: "E_MOUNT",
    what: `the squashfs file ${escapeText(fields[verb === "serve" ? 2 : 1] ?? "")} cannot be mounted: ${reason(errno, call)}${said}`,
    mend: mends[call] ?? (name === "EINVAL" ? "the file is damaged, or no squashfs" : "see `rootling doctor`"),
  };
};

const machine = ({ errno, call, detail }: StepFailure): Words => ({
  code: "E_PROGRAM",
  what: `the virtual machine cannot be started: ${reason(errno, call)}${detail ? ` (${escapeText(detail)})` : ""}`,
  mend: "try again",
});

const files = ({ verb, fields, errno, call, detail }: StepFailure): Words => {
  const path = escapeText(detail || (fields[0] ?? ""));
  const doing = verb === "pack" ? "reading" : "writing";
  const name = getSystemErrorName(-errno);
  const mends: Record<string, string> = {
    ENOENT: "check the path: directories above it must exist",
    ENOTDIR: "the target must be a directory, or the name of something new in one",
    EACCES: "it belongs to another user: see --map",
    EPERM: "it cannot be made by this user: see --map",
    EROFS: "the container runs read-only: end it first, or start it with --rw",
    ENOSPC: "free some space",
    EINVAL: "the map has no such owner, or the name leads out of the directory",
  };
  return {
    code: name === "ENOENT" ? "E_NOT_FOUND" : name === "ENOSPC" ? "E_SPACE" : "E_IO",
    what: `${doing} ${path} in the container failed: ${reason(errno, call)}`,
    mend: mends[name] ?? "try again",
  };
};

const takeIds = ({ fields, errno, call }: StepFailure): Words => ({
  code: "E_USERNS",
  what: `the ids ${fields.join(":")} cannot be taken on inside: ${reason(errno, call)}`,
  mend: "choose another map with --map",
});

const overlay = ({ errno, call, detail, fields }: StepFailure): Words => {
  const name = getSystemErrorName(-errno);
  const said = detail ? ` (${escapeText(detail)})` : "";
  const upper = fields[2];
  const mends: Record<string, string> = {
    ENODEV: "the kernel has no overlayfs: ask the administrator for: modprobe overlay",
    EPERM: "overlayfs in a user namespace needs Linux 5.11 or newer: see `rootling doctor`",
    ENOENT: "the image or the container is damaged: import or create it again",
  };
  const mend =
    mends[name] ??
    `the file system of ${upper} may not be fit for an upper directory (NFS and Lustre are not): choose another with ROOTLING_DATA_PATH`;
  return { code: "E_OVERLAY", what: `the root cannot be overlaid: ${reason(errno, call)}${said}`, mend };
};

const KINDS_DIFFER = "source and target must both be directories, or both be files";

/** What an image may leave out, but not replace. */
const OWN_DIRECTORIES = new Set(["/proc", "/sys", "/dev"]);

const expect = ({ fields, errno, call }: StepFailure): Words => ({
  code: "E_MOUNT",
  what: `${fields[0]} of the root is not the file system that was mounted there: ${reason(errno, call)}`,
  mend: "something changes the root at the same time: start the container again when nobody does",
});

const keyring = ({ errno, call }: StepFailure): Words => ({
  code: "E_EXECUTOR",
  what: `a session keyring cannot be made: ${reason(errno, call)}`,
  mend:
    getSystemErrorName(-errno) === "EDQUOT"
      ? "this user has too many keys: end other sandboxes, or ask the administrator for a higher kernel.keys.maxkeys"
      : "leave out --isolate, or start rootling where keyctl is allowed",
});

const seccomp = ({ errno, call }: StepFailure): Words => ({
  code: "E_EXECUTOR",
  what: `the system call filter cannot be loaded: ${reason(errno, call)}`,
  mend: "the kernel needs CONFIG_SECCOMP_FILTER; --seccomp=none does without the filter",
});

const loopback = ({ errno, call }: StepFailure): Words => ({
  code: "E_NAMESPACE",
  what: `the loopback interface cannot be brought up: ${reason(errno, call)}`,
  mend: "start it without --net, to use the host's network",
});

const SETTINGS: Readonly<Record<string, string>> = {
  ulimit: "who is not root may lower limits, and raise the soft one up to the hard one",
  nice: "only root may ask for more than a fair share: use a number of 0 or more",
  "oom-score-adj": "only root may lower it: use a larger number",
  sysctl:
    "this kernel does not know it in a namespace, or does not let this user set it; for the host name use --hostname",
};

const setting = ({ verb, fields, errno, call }: StepFailure): Words => ({
  code: "E_CONFLICT",
  what: `${verb} ${escapeText(fields.join(" "))} is refused: ${reason(errno, call)}`,
  mend: SETTINGS[verb] ?? "leave it out",
});

const cgroup = ({ detail, errno, call, fields, verb }: StepFailure): Words => ({
  code: "E_CGROUP",
  what: `the cgroup ${escapeText(fields[verb === "cgroup" ? 1 : 0] ?? "")} cannot be ${verb === "cgroup" ? "made" : "joined"}: ${reason(errno, call)}${detail ? ` (${escapeText(detail)})` : ""}`,
  mend:
    verb === "cgroup"
      ? "see which limits the kernel takes; `rootling doctor` says what is delegated"
      : "both sides must be delegated to you: with systemd, run it by systemd-run --user --scope",
});

const pasta = ({ detail, errno, call, fields }: StepFailure): Words => {
  const said = escapeText(detail || reason(errno, call));
  const mend = /bind|in use|port/i.test(detail)
    ? "choose other ports with --publish: one is in use, or below 1024 and closed to this user"
    : /interface|route/i.test(detail)
      ? "the host has no network to share: use --net=none or --net=host"
      : "try it without --net=user, and see `rootling doctor`";
  return { code: "E_PROGRAM", what: `${escapeText(fields[1] ?? "pasta")} cannot connect the network: ${said}`, mend };
};

const cable = ({ verb, fields, errno, call, detail }: StepFailure): Words => {
  const name = getSystemErrorName(-errno);
  const subject = escapeText(fields[verb === "ifup" ? 2 : 0] ?? "");
  const mends: Record<string, string> = {
    EEXIST:
      verb === "netns"
        ? "choose another name, or see who has it: rootling network, ip netns"
        : "choose another name, or remove it: see `rootling network` and `ip link`",
    ENOTSUP:
      verb === "vlan"
        ? "the kernel has no VLANs: load its module 8021q (modprobe 8021q), or leave the VLAN out"
        : "the interface that is named is no bridge, or the kernel has no such links",
    ENOTUNIQ: "the interface of this name is no bridge: choose another name",
    ENODEV: "the interface that is named is not there: see `ip link`",
    EPERM: "cables need root of the machine, with CAP_NET_ADMIN",
  };
  return {
    code: name === "EEXIST" ? "E_CONFLICT" : "E_CABLE",
    what: `the ${verb} ${subject} cannot be made: ${reason(errno, call)}${detail ? ` (${escapeText(detail)})` : ""}`,
    mend: mends[name] ?? "see the steps with --dry-run",
  };
};

const nft = ({ errno, call, detail }: StepFailure): Words => ({
  code: "E_CABLE",
  what: `nft refuses the rules: ${escapeText(detail.trim()) || reason(errno, call)}`,
  mend: "the kernel may lack parts of nftables: leave out nat, antispoof, bandwidth and --publish, or use another kernel",
});

const mount = ({ verb, fields, errno, call, detail }: StepFailure): Words => {
  const [source, target] = verb === "bind" || verb === "device" ? [fields[0], fields[1]] : [fields[0], fields[2]];
  const name = getSystemErrorName(-errno);
  const said = detail ? ` (${escapeText(detail)})` : "";
  const mends: Record<string, string> = {
    ENOENT:
      call === "openat2"
        ? "the target does not exist: add the option x-create=auto"
        : call === "mkdirat"
          ? "the target cannot be made there: choose another"
          : "check the source of the mount",
    EPERM:
      "the mount is not allowed to this user: flags that the host locked stay, and some file systems are for root only",
    EROFS: "the root is read-only there: choose a target that exists",
    ENODEV: "the kernel does not know this file system, or the device is not what it should be",
    EXDEV:
      call === "target check"
        ? "nothing is mounted on files of /proc and /sys: choose another target"
        : "the target leads out of the root",
    ELOOP: OWN_DIRECTORIES.has(target ?? "")
      ? `the image has a symlink for ${target}, which would lead the kernel's files elsewhere: mend the image`
      : "the target is a symlink that leads nowhere",
    ENOTDIR: KINDS_DIFFER,
    ...(call === "move_mount" ? { EINVAL: KINDS_DIFFER } : {}),
  };
  return {
    code: "E_MOUNT",
    what: `mounting ${escapeText(source ?? "")} on ${escapeText(target ?? "")} failed: ${reason(errno, call)}${said}`,
    mend: mends[name] ?? "see the steps with --dry-run",
  };
};

const exec = ({ fields, errno, call }: StepFailure): Words => {
  const command = escapeText(fields[0] ?? "");
  const name = getSystemErrorName(-errno);
  if (name === "ENOENT") {
    return {
      code: "E_EXEC",
      what: `${command}: not found in the container, or its interpreter is missing`,
      mend: "check the name, and PATH with --env PATH=…",
    };
  }
  if (name === "ENOEXEC") {
    return {
      code: "E_EXEC",
      what: `${command}: not a program of this machine's architecture`,
      mend: "import the image with the right --platform, or let the kernel run foreign programs (Debian, Ubuntu: apt-get install qemu-user-static)",
    };
  }
  return {
    code: "E_EXEC",
    what: `${command}: cannot be executed: ${reason(errno, call)}`,
    mend: "check the file's mode, and the mode of the directories above it",
  };
};

const workdir = ({ fields, errno, call }: StepFailure): Words => ({
  code: "E_EXEC",
  what: `the directory ${escapeText(fields[0] ?? "")} cannot be entered: ${reason(errno, call)}`,
  mend: "choose another with --workdir",
});

const user = ({ fields, errno, call }: StepFailure): Words =>
  call === "passwd" || call === "group"
    ? {
        code: "E_NOT_FOUND",
        what: `the container's /etc/${call} does not name ${escapeText(fields[0] ?? "")}`,
        mend: "give numbers with --user UID:GID",
      }
    : {
        code: "E_EXEC",
        what: `the user ${escapeText(fields[0] ?? "")} cannot be taken on: ${reason(errno, call)}`,
        mend: "choose another with --user",
      };

const join = ({ fields, errno, call }: StepFailure): Words => ({
  code: "E_NOT_FOUND",
  what: `the namespaces of process ${fields[0]} cannot be entered: ${reason(errno, call)}`,
  mend: "it may have ended: see `rootling list`; only its owner and root may enter a container",
});

const upper = ({ fields, errno, call }: StepFailure): Words => ({
  code: getSystemErrorName(-errno) === "ENOSPC" ? "E_SPACE" : "E_IO",
  what: `the directory for changes ${escapeText(fields[0] ?? "")} cannot be made: ${reason(errno, call)}`,
  mend: "check ROOTLING_DATA_PATH and its free space",
});

const temporary = ({ fields, errno, call }: StepFailure): Words => ({
  code: "E_NOT_FOUND",
  what: `the directory ${escapeText(fields[0] ?? "")} is gone: ${reason(errno, call)}`,
  mend: "another program may clear it while it is in use: name another place with TMPDIR",
});

/** Files of a start that has a monitor of its own: log, record of the end, socket of the terminal. */
const monitorFile = ({ verb, fields, errno, call }: StepFailure): Words => ({
  code: getSystemErrorName(-errno) === "ENOSPC" ? "E_SPACE" : "E_IO",
  what: `${verb === "listen" ? "the socket" : "the file"} ${escapeText(fields[0] ?? "")} cannot be made: ${reason(errno, call)}`,
  mend: `check ${verb === "listen" ? "ROOTLING_RUNTIME_PATH" : "ROOTLING_DATA_PATH"} and its free space`,
});

const terminal = ({ errno, call }: StepFailure): Words => ({
  code: "E_EXECUTOR",
  what: `a terminal cannot be made in the container: ${reason(errno, call)}`,
  mend: "it needs the container's own /dev/pts: leave out --tty, or what is mounted there",
});

/** Lines of fstab that are met while the container is made: known before, of the root, or of a hook. */
const line = ({ verb, fields, errno, call, detail }: StepFailure): Words => {
  const said = escapeText(detail.trim());
  const what = verb === "fstab" ? escapeText(fields[1] ?? "") : said;
  return {
    code: call === "store" ? "E_CONFLICT" : "E_MOUNT",
    what:
      call === "store"
        ? `${said} belongs to the store, which no container may see`
        : `mounting failed: ${what}: ${reason(errno, call)}${verb === "fstab" && said ? ` (${said})` : ""}`,
    mend: "correct the line, or add the option nofail; x-create=dir or x-create=file makes a target that is missing",
  };
};

const hook = ({ verb, fields, call, errno, detail }: StepFailure): Words => ({
  code: "E_HOOK",
  what:
    call === "hook"
      ? `the hook ${escapeText(fields[verb === "hook" ? 2 : 3] ?? "")} ended with ${escapeText(detail)}`
      : `a hook cannot be run: ${reason(errno, call)}${detail ? ` (${escapeText(detail)})` : ""}`,
  mend: "see what it said above; a hook that is not executable is left out",
});

const hidden = ({ fields, errno, call }: StepFailure): Words => ({
  code: "E_OVERLAY",
  what: `${escapeText(fields[2] ?? "")} cannot be hidden: ${reason(errno, call)}`,
  mend:
    getSystemErrorName(-errno) === "ELOOP" ? "it leads over a symlink: name where that leads" : "leave it out of HIDE",
});

/** A command line of a subhost's configuration. */
const hostCommand = ({ fields, call, errno, detail }: StepFailure): Words => ({
  code: "E_HOOK",
  what:
    call === "command"
      ? `${escapeText(fields[2] ?? "")} ended with ${escapeText(detail)}`
      : `${escapeText(fields[2] ?? "")} cannot be run: ${reason(errno, call)}`,
  mend: "see what it said above; nothing was started",
});

const rootFile = ({ fields, errno, call }: StepFailure): Words => ({
  code: "E_IO",
  what: `${escapeText(fields[0] ?? "")} of the root cannot be read: ${reason(errno, call)}`,
  mend: "it has to be a regular file of at most a mebibyte",
});

const BY_VERB: Readonly<Record<string, (failure: StepFailure) => Words>> = {
  namespaces,
  "id-map": idMap,
  overlay,
  mount,
  bind: mount,
  device: mount,
  exec,
  workdir,
  user,
  join,
  upper,
  temporary,
  log: monitorFile,
  "exit-status": monitorFile,
  listen: monitorFile,
  terminal,
  expect,
  keyring,
  seccomp,
  loopback,
  pasta,
  cables: monitorFile,
  netns: cable,
  bridge: cable,
  cable,
  vlan: cable,
  ifup: cable,
  "host-interface": cable,
  interface: cable,
  route: cable,
  rate: cable,
  "host-sysctl": cable,
  nft,
  cgroup,
  "cgroup-join": cgroup,
  ulimit: setting,
  nice: setting,
  "oom-score-adj": setting,
  sysctl: setting,
  "subordinate-map": subordinateMap,
  lend,
  "lend-squashfs": squashfs,
  machine,
  pack: files,
  unpack: files,
  fuse: squashfs,
  serve: squashfs,
  "take-ids": takeIds,
  owner: takeIds,
  fstab: line,
  "fstab-file": (failure) => (failure.call === "read" ? rootFile(failure) : line(failure)),
  "hook-mounts": line,
  hook,
  "runtime-hook": hook,
  "host-command": hostCommand,
  hide: hidden,
  "hook-rc": hook,
  "rc-local": (failure) => rootFile({ ...failure, fields: ["/etc/rc.local"] }),
  "variables-file": rootFile,
  login: (failure) => exec({ ...failure, fields: failure.fields.slice(3 + Number(failure.fields[2])) }),
};

const reason = (errno: number, call: string): string =>
  `${getSystemErrorMessage(-errno)} (${getSystemErrorName(-errno)} from ${call})`;

/** The Failure that says what the executor could not do. */
export function explain(failure: StepFailure): Failure {
  const { verb, errno, call, detail, index, origin } = failure;
  const words = BY_VERB[verb]?.(failure) ?? {
    code: "E_EXECUTOR" as const,
    what: `step ${index} (${escapeText(verb)}) failed: ${reason(errno, call)}${detail ? ` (${escapeText(detail)})` : ""}`,
    mend: "see the steps with --dry-run",
  };
  const exitStatus =
    verb === "exec" || verb === "login"
      ? getSystemErrorName(-errno) === "ENOENT"
        ? NOT_FOUND
        : NOT_EXECUTABLE
      : undefined;
  return new Failure(words.code, words.what, {
    where: origin,
    ...(words.mend === undefined ? {} : { mend: words.mend }),
    ...(exitStatus === undefined ? {} : { exitStatus }),
  });
}
