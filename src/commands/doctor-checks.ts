/** What `rootling doctor` looks at: the table of checks. docs/doctor.md lists them; a test holds both together. */
import { existsSync, mkdtempSync, rmdirSync, statfsSync, statSync } from "node:fs";
import { release } from "node:os";
import { join } from "node:path";
import { Failure } from "../base/errors.ts";
import { makePrivateDirectory } from "../base/files.ts";
import { findProgram } from "../base/process.ts";
import { readSubordinateIds } from "../base/subids.ts";
import { formatBytes } from "../base/text.ts";
import { appArmorRestricts, userNamespaceMend } from "../boot/explain.ts";
import type { TrialName } from "../boot/try.ts";
import { findExecutor } from "../plan/launch.ts";
import { type Finding, failure, type Host, ok, warning } from "./doctor-finding.ts";
import { cgroups, device, squashfs, terminal } from "./doctor-host.ts";

/** A check. */
export interface Entry {
  /** Checks whose failure says it all. */
  readonly needs?: readonly string[];
  readonly examine: (host: Host) => Finding | Promise<Finding>;
}

/** Overlays in a user namespace came with 5.11, user xattrs on tmpfs with 6.6. */
function kernel(): Finding {
  const [major = 0, minor = 0] = release().split(".").map(Number.parseFloat);
  const version = major * 1000 + minor;
  if (version < 5011)
    return failure(`Linux ${release()}: overlayfs in user namespaces is missing`, "boot Linux 5.11 or newer");
  return ok(
    version < 6006 ? `Linux ${release()}: ephemeral changes lie on disk, from 6.6 on in memory` : `Linux ${release()}`,
  );
}

/** Made if missing, private, and written to. */
function directory(path: string, variable: string): Finding {
  try {
    makePrivateDirectory(path);
    rmdirSync(mkdtempSync(join(path, ".doctor-")));
  } catch (error) {
    const what = error instanceof Failure ? error.what : (error as Error).message;
    return failure(`${path}: ${what}`, `choose a directory that you may write to with ${variable}`);
  }
  return (statSync(path).mode & 0o077) === 0
    ? ok(path)
    : warning(`${path} is open to other users`, `chmod 700 ${path}`);
}

/** TMPFS_MAGIC of linux/magic.h. */
const TMPFS = 0x01021994;

const isInMemory = (path: string): boolean => existsSync(path) && statfsSync(path).type === TMPFS;

/** What lies there should not outlive the machine's uptime. */
function runtimeDirectory({ settings: { RUNTIME_PATH }, uid }: Host): Finding {
  const found = directory(RUNTIME_PATH, "ROOTLING_RUNTIME_PATH");
  if (found.state !== "ok" || isInMemory(RUNTIME_PATH)) return found;
  const [place] = [uid === 0 ? "/run" : `/run/user/${uid}`, "/dev/shm"].filter(isInMemory);
  const such = place === undefined ? "" : `, such as ${place}/rootling${place === "/dev/shm" ? `-${uid}` : ""}`;
  return warning(
    `${RUNTIME_PATH} is not in memory: what a crash of the machine leaves there stays until the next start`,
    `set ROOTLING_RUNTIME_PATH to a directory of a tmpfs${such}`,
  );
}

const SPACE_WANTED = 1e9;

function freeSpace({ settings }: Host): Finding {
  const places = [
    [settings.DATA_PATH, "ROOTLING_DATA_PATH"],
    [settings.CACHE_PATH, "ROOTLING_CACHE_PATH"],
  ] as const;
  const measured = places.map(([path, variable]) => {
    const { bavail, bsize } = statfsSync(path);
    return { path, variable, free: bavail * bsize };
  });
  const reason = measured.map(({ path, free }) => `${path} has ${formatBytes(free)} free`).join(", ");
  const scarce = measured.filter(({ free }) => free < SPACE_WANTED).map(({ variable }) => variable);
  return scarce.length === 0
    ? ok(reason)
    : warning(reason, `free some space (rootling prune), or choose another place with ${scarce.join(" and ")}`);
}

/** A program, or one of several that serve as well. */
function program(names: readonly string[], debianPackage: string, without: string, state: Finding["state"]): Finding {
  const path = names.map((name) => findProgram(name)).find((found) => found !== undefined);
  if (path !== undefined) return ok(path);
  return {
    state,
    reason: `${names.join(" or ")} is not installed: ${without}`,
    mend: `apt-get install ${debianPackage}, or what your distribution calls it`,
  };
}

/** Where AppArmor forbids what a namespace needs, that check speaks. */
async function appArmor(host: Host): Promise<Finding> {
  if (!appArmorRestricts()) return ok("AppArmor does not restrict user namespaces");
  if ((await host.trial("user-namespace")) === undefined)
    return ok("AppArmor restricts user namespaces, but not rootling's");
  return {
    state: host.uid === 0 ? "warning" : "failed",
    reason: "AppArmor forbids user namespaces",
    mend: userNamespaceMend(),
  };
}

const tried = (name: TrialName, state: Finding["state"], works: string, mend: () => string) => async (host: Host) => {
  const said = await host.trial(name);
  return said === undefined ? ok(works) : { state, reason: said, mend: mend() };
};

async function userNamespace(host: Host): Promise<Finding> {
  const state = host.uid === 0 ? "warning" : "failed";
  return tried("user-namespace", state, "user namespaces can be made, and mounts in them", userNamespaceMend)(host);
}

const mapPrograms = (uid: number): string[] => {
  const { newuidmap, newgidmap } = readSubordinateIds(uid);
  return [newuidmap, newgidmap].filter((path) => path !== undefined);
};

function newuidmap({ uid }: Host): Finding {
  if (uid === 0) return ok("root writes id maps without help");
  const found = mapPrograms(uid);
  return found.length === 2
    ? ok(found.join(", "))
    : warning("newuidmap and newgidmap are not installed: containers hold one id", "apt-get install uidmap");
}

/** By a map of all the ids that the caller may give. */
async function subordinateIds(host: Host): Promise<Finding> {
  if (host.uid !== 0 && mapPrograms(host.uid).length < 2)
    return { state: "skipped", reason: "not tried, since newuidmap does not work" };
  const mend = () => "reinstall uidmap: newuidmap and newgidmap need set-id or file capabilities (ls -l, getcap)";
  try {
    return await tried("subordinate-ids", "warning", "maps of many ids can be written", mend)(host);
  } catch (error) {
    if (!(error instanceof Failure && error.mend)) throw error;
    return warning(`${error.what}: containers hold one id`, error.mend);
  }
}

const unprivileged = (check: (host: Host) => Finding, instead: string) => (host: Host) =>
  host.uid === 0 ? ok(instead) : check(host);

/** In the order in which they are made and printed; what is needed comes first. */
export const checks = {
  kernel: { examine: kernel },
  data: { examine: ({ settings }: Host) => directory(settings.DATA_PATH, "ROOTLING_DATA_PATH") },
  cache: { examine: ({ settings }: Host) => directory(settings.CACHE_PATH, "ROOTLING_CACHE_PATH") },
  runtime: { examine: runtimeDirectory },
  "free-space": { needs: ["data", "cache"], examine: freeSpace },
  tar: { examine: () => program(["tar"], "tar", "images cannot be unpacked", "failed") },
  mksquashfs: {
    examine: () => program(["mksquashfs"], "squashfs-tools", "squashfs files cannot be written", "failed"),
  },
  executor: {
    needs: ["data", "runtime"],
    examine: async ({ settings }: Host) => ok(await findExecutor(settings.CACHE_PATH)),
  },
  apparmor: { needs: ["executor"], examine: appArmor },
  "user-namespace": { needs: ["apparmor"], examine: userNamespace },
  overlay: {
    needs: ["user-namespace"],
    examine: tried(
      "overlay",
      "failed",
      "overlayfs can be mounted",
      () => "overlayfs in a user namespace needs Linux 5.11 or newer, and the module: modprobe overlay",
    ),
  },
  "overlay-removal": {
    needs: ["overlay"],
    examine: tried(
      "overlay-removal",
      "warning",
      "the data directory can hold what containers change",
      () =>
        "its file system cannot be an overlay's upper directory, so containers are full copies: choose ext4, xfs or btrfs with ROOTLING_DATA_PATH",
    ),
  },
  "pid-namespace": {
    needs: ["user-namespace"],
    examine: tried(
      "pid-namespace",
      "warning",
      "--pid gets a /proc of its own",
      () => "something is mounted over parts of /proc, as in a container: unmount it, or do without --pid",
    ),
  },
  terminal: { needs: ["user-namespace"], examine: terminal },
  newuidmap: { examine: newuidmap },
  "subordinate-ids": { needs: ["user-namespace"], examine: subordinateIds },
  squashfs: { examine: squashfs },
  fuse: {
    examine: unprivileged(() => device("/dev/fuse", 10, 229, "fuse"), "root needs no FUSE"),
  },
  squashfuse: {
    examine: unprivileged(
      () => program(["squashfuse_ll", "squashfuse"], "squashfuse", "squashfs files cannot be booted", "warning"),
      "root needs no squashfuse",
    ),
  },
  tun: { examine: () => device("/dev/net/tun", 10, 200, "tun") },
  pasta: { examine: () => program(["pasta"], "passt", "there is no network by --net user", "warning") },
  cgroup: { examine: cgroups },
  nft: {
    examine: ({ uid }: Host) =>
      uid === 0
        ? program(["nft"], "nftables", "cables get no rules: no nat, antispoof, bandwidth and ports", "warning")
        : ok("cables are for root"),
  },
} as const satisfies Record<string, Entry>;
