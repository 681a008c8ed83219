/** What a case of the benchmark is. */
import type { TestUser } from "../support/users.ts";
import type { Sample } from "./measure.ts";

export interface Bed {
  /** Where subjects work: emptied by `before`. */
  work: string;
  /** `127.0.0.1:PORT` of the registry that has the tags of work.ts and `busybox:1`. */
  registry: string;
  /** The busybox image, unpacked: for peers that start directories. */
  rootfs: string;
  /** A bundle of it for OCI runtimes. */
  bundle: string;
  /** The merged tree of `work:1` as one tar, and its layers as they are stored: for what no import can do without. */
  floor: { tar: string; blobs: readonly string[] };
  /** Written to a disk: what a case writes is synced at its end. */
  onDisk: boolean;
  /** An ordinary user with subordinate ids, for what only root measures otherwise. */
  user: TestUser;
}

export interface Subject {
  name: string;
  /** Shell text, not measured. */
  before?: string;
  /** Shell text that is measured, as one `sh -c`, or words that are measured without a shell. */
  run: string | readonly string[];
  /** Shell text that prints bytes: the memory that is measured, instead of the largest process's. */
  memory?: string;
  /** In a mount namespace without the half-made cgroup v2 tree of hybrid hosts, which crun and podman refuse. */
  ownMounts?: boolean;
  /** Shell text before the first and after the last of its runs, where it runs. */
  first?: string;
  last?: string;
}

/** What has to hold: a limit for a number of ours, or for its ratio to a peer's. */
export interface Bar {
  text: string;
  limit: number;
  value(medians: ReadonlyMap<string, Sample>): number;
}

export interface Case {
  name: string;
  about: string;
  repetitions: number;
  /** Runs of each subject before the first that counts. */
  warmups: number;
  /** Shell text before all and after all; not for --peers-only. */
  before?: string;
  after?: string;
  subjects: Subject[];
  bars: Bar[];
  /** Each run is so many of something: their number a second is printed. */
  rates?: number;
}

export const OURS = "rootling";

/** podman takes no runroot of more than 50 characters. Of root, and with `-user` of the ordinary user. */
export const RUNROOT = `/tmp/rootling-podman-${process.pid}`;

export const ratioBar = (what: "wall" | "cpu", peer: string, limit: number, ours = OURS): Bar => ({
  text: `${ours === OURS ? "" : `${ours}: `}${what === "cpu" ? "CPU" : "wall"} time at most ${limit} × ${peer}`,
  limit,
  value: (medians) => (medians.get(ours)?.[what] ?? Number.NaN) / (medians.get(peer)?.[what] ?? Number.NaN),
});
