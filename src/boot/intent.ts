/**
 * What someone asked for: unordered, each value with its origin. Every front end (flags, an image's configuration,
 * later enroot's files, init.yml, a subhost's conf, config.json) produces an intent, and nothing but an intent:
 * only lower.ts knows in what order things happen.
 */

import type { Cables } from "./cables.ts";
import type { MapWish } from "./id-map.ts";
import type { Limits } from "./limits.ts";
import type { Publish } from "./network.ts";
import type { ProcessSettings } from "./process-settings.ts";

/** A value and who asked for it, such as `--mount`, `image config` or `init.yml:12`. */
export interface Value<T> {
  readonly value: T;
  readonly origin: string;
}

export const from = <T>(value: T, origin: string): Value<T> => ({ value, origin });

/** Where the payload's / comes from. All paths are absolute paths of the host. */
export type Root =
  /** Read-only directories, the topmost first; `kept` holds what the container changed. */
  | {
      readonly kind: "layers";
      readonly lowers: readonly string[];
      readonly kept?: { readonly upper: string; readonly work: string };
      /** Where it is mounted while programs of the host finish it; else on a private tmpfs. */
      readonly live?: string;
      /** Overlayfs's marks: `trusted` are those of a root without a user namespace. */
      readonly marks?: "trusted";
    }
  /** A directory as it is; `stored`: of the store, for this very container. */
  | { readonly kind: "directory"; readonly path: string; readonly stored?: boolean; readonly live?: string }
  /** A squashfs file. */
  | { readonly kind: "squashfs"; readonly path: string }
  /** The root that rootling itself runs on. */
  | { readonly kind: "host" };

/** A mount, in the words of fstab(5), read by fstab.ts. */
export interface Mount {
  /** `bind`, or the name of a file system. */
  readonly type: string;
  /** Of a bind: an absolute path of the host. */
  readonly source: string;
  /** Absolute path in the container. */
  readonly target: string;
  /** Words such as `ro` and `nosuid` that are set, and whose opposites are. */
  readonly set: readonly string[];
  readonly clear: readonly string[];
  readonly recursive: boolean;
  readonly nofail: boolean;
  /** What is made where the target does not exist. */
  readonly create: "none" | "dir" | "file" | "auto";
  /** Of a bind: its owners are those of the container's map. */
  readonly owners?: boolean;
  /** Options for the file system itself. */
  readonly data: readonly string[];
  readonly origin: string;
}

/** A device of the host, bound into the root; its kind and number where somebody has said them. */
export interface Node {
  readonly hostPath: string;
  /** Absolute path in the container. */
  readonly path: string;
  readonly type?: "c" | "b";
  readonly major?: number;
  readonly minor?: number;
  readonly origin: string;
}

/** A program of the host that finishes the root, as the OCI runtime specification has it: createContainer. */
export interface RuntimeHook {
  readonly path: string;
  /** With the name of the program as the first one. */
  readonly args: readonly string[];
  readonly env: readonly string[];
  /** Seconds; 0: as long as it takes. */
  readonly timeout: number;
  readonly origin: string;
}

export interface Variable {
  readonly name: string;
  readonly value: string;
  readonly origin: string;
}

/** Namespaces that can be asked for; user and mount namespaces follow from the id map and the root. */
export type NamespaceKind = "pid" | "ipc" | "uts" | "net" | "cgroup" | "time";

/** The namespace of a container that runs, by its name, or of a process. */
export type JoinWish = `container:${string}` | `pid:${string}`;

/** `user`, of the network only: one of its own, connected by pasta. */
export type NamespaceWish = "private" | "host" | "user" | JoinWish;

export interface Intent {
  readonly root: Value<Root>;
  /** A directory that is there for this start only, and removed at its end. */
  readonly temporary?: Value<string>;
  /** What becomes of changes to the root. `kept` needs a root of kind directory, or layers with `kept`. */
  readonly writes: Value<"refused" | "ephemeral" | "kept">;
  /** Where ephemeral changes lie; where it is not said, in memory if the kernel can. */
  readonly upper?: Value<"disk" | "tmpfs">;
  /** Bytes at most, in the words of tmpfs(5), for ephemeral changes in memory. */
  readonly upperSize?: Value<string>;
  /** `caller` and `root` mean nothing to real root, who gets no user namespace then. */
  readonly idMap: Value<MapWish>;
  readonly namespaces: Readonly<Partial<Record<NamespaceKind, Value<NamespaceWish>>>>;
  readonly settings?: ProcessSettings;
  readonly limits?: Limits;
  /** Ports of the host that lead inside. */
  readonly publish?: readonly Publish[];
  /** A network namespace of its own that has a name and cables to the host. */
  readonly cables?: Cables;
  readonly hostname?: Value<string>;
  /** `fresh`: a small /dev of its own; `host`: the host's. */
  readonly devices: Value<"fresh" | "host">;
  /** In the order in which they were asked for; later ones lie on top. */
  readonly mounts: readonly Mount[];
  /** Devices beside those of every container. */
  readonly nodes?: readonly Node[];
  readonly runtimeHooks?: readonly RuntimeHook[];
  /** Groups of the host that devices are for. */
  readonly deviceGroups?: readonly number[];
  /** Later ones win. */
  readonly environment: readonly Variable[];
  readonly command: Value<readonly string[]>;
  readonly workdir: Value<string>;
  /** A file for a picture of where the time of the start goes: an absolute path of the host. */
  readonly timeline?: Value<string>;
  /** USER[:GROUP], for maps of more than one id and for real root; a one-id map holds nobody else. */
  readonly user?: Value<string>;
  /** A hardened sandbox: no capabilities, nothing of the host but what is mounted on purpose. */
  readonly isolate?: Value<true>;
  /** Which system calls are refused. */
  readonly seccomp?: Value<SeccompName>;
  readonly capabilities?: CapabilityWishes;
  /** It goes on without the caller: its output goes to a log, and its status to a record. */
  readonly detached?: Value<true>;
  /** The payload gets a terminal and a session of its own. */
  readonly terminal?: Value<true>;
  readonly startup?: Startup;
  readonly subhost?: Subhost;
  /** What asks the payload to end, such as SIGTERM; not part of the plan, but of the record of the run. */
  readonly stopSignal?: Value<string>;
}

/** The start as files of a site, a user and the root have it: enroot's configuration, read by read-enroot.ts. */
export interface Startup {
  /** /etc/environment, /etc/fstab and, for `rc`, /etc/rc of the root count. */
  readonly rootFiles?: Value<true>;
  /** The caller's environment, for hooks and for ${NAME} in files of the root. */
  readonly caller: readonly string[];
  /** After the root's file and before `conf`; the intent's own environment comes last. */
  readonly environment: readonly Variable[];
  /** A bash script of the host that may define environ, mounts, hooks and rc: its path, or its text. */
  readonly conf?: { readonly origin: string } & ({ readonly path: string } | { readonly text: string });
  /** Lines of fstab in their order, and when they are mounted: -1 before the hooks, 0 after them. */
  readonly lines: readonly { readonly pass: -1 | 0; readonly line: string; readonly origin: string }[];
  /** Lines that come after all others. */
  readonly lastLines: readonly { readonly line: string; readonly origin: string }[];
  /** Programs of the host, absolute paths, in their order. */
  readonly hooks: readonly Value<string>[];
  /** A login shell reads its profile first. */
  readonly login: boolean;
  /** The script that starts the payload: its text; else `conf` may have one, then the root. */
  readonly rc?: Value<string>;
  /** The image's own command as such a script, which reads /etc/rc.local: where the root has that file, and no other. */
  readonly local?: Value<string>;
  /** What a script that starts the payload gets; the intent's command is what runs without one. */
  readonly words: readonly string[];
  /** The payload gets a cgroup namespace, unless another was asked for. It is made last: hooks see what the caller sees. */
  readonly cgroups?: Value<true>;
}

/** A system with an administration of its own: su and sudo work, its network is its own to set up. See read-subhost.ts. */
export interface Subhost {
  /** Command lines of the host, run before the root is mounted, and once it is finished. */
  readonly premount?: Value<string>;
  readonly postmount?: Value<string>;
  /** Where they run. */
  readonly base: string;
  /** NAME=value for them. */
  readonly variables: readonly string[];
  readonly init: Value<SubhostInit>;
  /** What is not seen of the directory below an overlay; what the subhost has of its own there is. */
  readonly hide: readonly Hidden[];
  /** How many seconds a service has to start, and each step of the way down. */
  readonly patience: { readonly start: number; readonly stop: number };
}

export interface Hidden {
  /** An absolute path of the directory below. */
  readonly path: string;
  /** The file is seen, with every password locked. */
  readonly lock?: true;
  readonly origin: string;
}

export type SubhostInit =
  /** Started by their init scripts, in this order. */
  | { readonly kind: "services"; readonly names: readonly string[] }
  /** A command line of the host that prints what a shell of the subhost runs. */
  | { readonly kind: "script"; readonly command: string }
  /** A program of the subhost that is pid 1 itself. */
  | { readonly kind: "system"; readonly path: string };

/** `strict,compat`: both at once; what either refuses is refused. */
export type SeccompName = "strict" | "compat" | "strict,compat" | "none";

/** Changes of the usual capabilities; names as capabilities(7) has them, in lower case and without `cap_`. */
export interface CapabilityWishes {
  readonly add: readonly Value<string>[];
  readonly drop: readonly Value<string>[];
}

/** What `exec` asks for: another process in a container that runs. */
export interface ExecIntent {
  readonly target: {
    readonly pid: number;
    /** Start time of the process, field 22 of /proc/PID/stat. */
    readonly start: string;
    readonly origin: string;
  };
  readonly environment: readonly Variable[];
  readonly command: Value<readonly string[]>;
  readonly workdir: Value<string>;
  readonly user?: Value<string>;
  /** As the container was started with. */
  readonly isolate?: Value<true>;
  readonly seccomp?: Value<SeccompName>;
  readonly terminal?: Value<true>;
  readonly subhost?: Value<true>;
}
