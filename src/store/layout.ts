/** Every path of the store, and nowhere else. */
import { join } from "node:path";
import type { Settings } from "../base/settings.ts";

export interface Layout {
  /** Downloaded blobs by digest: `blobs/sha256/<hex>`. */
  readonly blobs: string;
  /** Code that Node compiled, by its versions. */
  readonly compiled: string;
  /** Merged images by digest: `images/<hex>/{tree,record.json,config.json}`. */
  readonly images: string;
  /** Names of images: `refs/<name, percent-encoded>.json`. */
  readonly refs: string;
  /** Squashfs files of images, by digest, and marks of who borrowed them: `squashfs/{<hex>.sqsh,loans/}`. */
  readonly squashfs: string;
  /** Containers by name. */
  readonly containers: string;
  /** Upper directories of ephemeral containers whose upper is on disk: `ephemeral/<pid>-<start time>`. */
  readonly ephemeral: string;
  /** Locks that are not a container's own. */
  readonly locks: string;
  /** Unfinished writes of trees, on the file system of `images`, so that a rename finishes them. */
  readonly temporary: string;
  /** Where an executor lies that was compiled here. */
  readonly executors: string;
  /** Files that live as long as a process: wire files, records of running sandboxes. */
  readonly runtime: string;
}

export function layoutOf(settings: Settings): Layout {
  return {
    blobs: join(settings.CACHE_PATH, "blobs", "sha256"),
    compiled: join(settings.CACHE_PATH, "compiled"),
    images: join(settings.DATA_PATH, "images"),
    refs: join(settings.DATA_PATH, "refs"),
    squashfs: join(settings.DATA_PATH, "squashfs"),
    containers: join(settings.DATA_PATH, "containers"),
    ephemeral: join(settings.DATA_PATH, "ephemeral"),
    locks: join(settings.DATA_PATH, "locks"),
    temporary: join(settings.DATA_PATH, "temporary"),
    executors: settings.CACHE_PATH,
    runtime: settings.RUNTIME_PATH,
  };
}

export const imagePaths = (layout: Layout, hex: string) => {
  const directory = join(layout.images, hex);
  return {
    directory,
    tree: join(directory, "tree"),
    record: join(directory, "record.json"),
    /** The record of an image that is being removed, until its tree is out of the way. */
    withdrawn: join(directory, "withdrawn.json"),
    config: join(directory, "config.json"),
    /** Trees with the owners of maps of many ids: `mapped/<hash of the owners>/tree`. */
    mapped: join(directory, "mapped"),
    /** Marks of the starts that use it: `<owner>`. */
    users: join(directory, "users"),
  };
};

export const refPath = (layout: Layout, name: string): string => join(layout.refs, `${encodeURIComponent(name)}.json`);

export const containerPaths = (layout: Layout, name: string) => {
  const directory = join(layout.containers, name);
  return {
    directory,
    record: join(directory, "container.json"),
    upper: join(directory, "upper"),
    work: join(directory, "work"),
    /** The whole tree of a container that is a copy. */
    root: join(directory, "root"),
    /** Records of its running processes: `<pid>-<start time>.json`. */
    runs: join(directory, "runs"),
    /** Prefix of the generations of its writer's lock. */
    lock: join(directory, "writer"),
    /** The same of what runs detached, of which there is one: it alone has the log and the record of the end. */
    detached: join(directory, "detached"),
    log: join(directory, "log"),
    olderLog: join(directory, "log.1"),
    exit: join(directory, "exit"),
  };
};

export const runtimePaths = (layout: Layout) => ({
  /** An empty directory: in the mount namespace of a container that is being made, its tmpfs is mounted here. */
  stage: join(layout.runtime, "stage"),
  /** Marks of cgroups with limits: the path of each. */
  cgroups: join(layout.runtime, "cgroups"),
  /** Marks of the programs that connect networks: "PID START". */
  networks: join(layout.runtime, "networks"),
  /** Plans on their way to the executor. */
  wires: join(layout.runtime, "wires"),
  /** Records of running sandboxes without a container. */
  runs: join(layout.runtime, "runs"),
  /** Sockets of monitors, by which clients come to a payload's terminal. */
  terminals: join(layout.runtime, "terminals"),
});
