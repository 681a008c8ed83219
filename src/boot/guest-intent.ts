/**
 * What init.yml asks of the first process of a guest: see read-init.ts, and executor/guest/init-file.c, which reads the
 * same file where no JavaScript runs.
 */
import type { Value } from "./intent.ts";

/** A command in a guest. */
export interface GuestCommand {
  /** The program and its arguments; never empty. */
  readonly words: readonly string[];
  /** What it reads from its standard input; without, /dev/null. */
  readonly input?: string;
  /** `init.yml:12`. */
  readonly origin: string;
}

/** Ids `inside` … `inside + count - 1` of the guest are those from `outside` on. */
export interface GuestRange {
  readonly inside: number;
  readonly outside: number;
  readonly count: number;
}

/** How the next root becomes the guest's. */
export type RootMode = "pivot" | "chroot" | "none";

/** What is made ready in the next root; `auto` goes by what started the guest. */
export const SETUP_MODES = ["auto", "none", "lxc-libvirt", "lxc", "qemu", "oci"] as const;
export type SetupMode = (typeof SETUP_MODES)[number];

export interface GuestIntent {
  /** The next root: an absolute path of the boot file system. */
  readonly root: Value<string>;
  readonly rootMode: Value<RootMode>;
  /** Without: the guest's ids are those of who starts it. */
  readonly idMap?: Value<{ readonly users: readonly GuestRange[]; readonly groups: readonly GuestRange[] }>;
  readonly initctl: Value<boolean>;
  /** Devices that the guest does not get: names below /dev, and POSIX extended regular expressions for whole names. */
  readonly exclude: Value<readonly string[]>;
  readonly rexclude: Value<readonly string[]>;
  readonly setup: Value<SetupMode>;
  readonly setupBefore: readonly GuestCommand[];
  readonly execBefore: readonly GuestCommand[];
  readonly command: GuestCommand;
  /** What follows a failure: the end, or a shell on the console. */
  readonly onError: Value<"exit" | "shell">;
}

/** What is known of a guest when its first process begins. */
export interface GuestFacts {
  /** NAME=VALUE, as this process got them. */
  readonly environment: readonly string[];
}
