/** Every path of the store, and nowhere else. Parts are simple names: joining them needs no look at dots and slashes. */
import { join } from "node:path";
import type { Settings } from "../base/settings.ts";
import { storePath } from "../base/settings-places.ts";

export interface Layout {
  /** Downloaded blobs by digest: `blobs/sha256/<hex>`. */
  readonly blobs: string;
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

/** Code that Node compiled: known before any setting is read. */
export const compiledPath = (cache: string): string => join(cache, "compiled");

export function layoutOf(settings: Settings): Layout {
  const data = storePath(settings);
  return {
    blobs: join(settings.CACHE_PATH, "blobs", "sha256"),
    images: join(data, "images"),
    refs: join(data, "refs"),
    squashfs: join(data, "squashfs"),
    containers: join(data, "containers"),
    ephemeral: join(data, "ephemeral"),
    locks: join(data, "locks"),
    temporary: join(data, "temporary"),
    executors: settings.CACHE_PATH,
    runtime: settings.RUNTIME_PATH,
  };
}

export const imagePaths = (layout: Layout, hex: string) => {
  const directory = `${layout.images}/${hex}`;
  return {
    directory,
    tree: `${directory}/tree`,
    record: `${directory}/record.json`,
    /** The record of an image that is being removed, until its tree is out of the way. */
    withdrawn: `${directory}/withdrawn.json`,
    config: `${directory}/config.json`,
    /** Trees with the owners of maps of many ids: `mapped/<hash of the owners>/tree`. */
    mapped: `${directory}/mapped`,
    /** Listings of its layers: `<DiffID>`. */
    listings: `${directory}/listings`,
    /** Marks of the files that it was read from: see known-files.ts. */
    files: join(directory, "files"),
    /** Marks of the starts that use it: `<owner>`. */
    users: `${directory}/users`,
  };
};

export const refPath = (layout: Layout, name: string): string => `${layout.refs}/${encodeURIComponent(name)}.json`;

export const containerPaths = (layout: Layout, name: string) => {
  const directory = `${layout.containers}/${name}`;
  return {
    directory,
    record: `${directory}/container.json`,
    upper: `${directory}/upper`,
    work: `${directory}/work`,
    /** The whole tree of a container that is a copy. */
    root: `${directory}/root`,
    /** Records of its running processes: `<pid>-<start time>.json`. */
    runs: `${directory}/runs`,
    /** Prefix of the generations of its writer's lock. */
    lock: `${directory}/writer`,
    /** The same of what runs detached, of which there is one: it alone has the log and the record of the end. */
    detached: `${directory}/detached`,
    log: `${directory}/log`,
    olderLog: `${directory}/log.1`,
    exit: `${directory}/exit`,
    /** Of a subhost: what became of its services. */
    services: `${directory}/services`,
    /** Where the time of its last start went that `rootling web` was asked for: SVG. */
    timeline: `${directory}/timeline.svg`,
  };
};

export const runtimePaths = (layout: Layout) => ({
  /** An empty directory: in the mount namespace of a container that is being made, its tmpfs is mounted here. */
  stage: `${layout.runtime}/stage`,
  /** Marks of cgroups with limits: the path of each. */
  cgroups: `${layout.runtime}/cgroups`,
  /** Marks of the programs that connect networks: "PID START". */
  networks: `${layout.runtime}/networks`,
  /** Marks of disk files that are mounted for subhosts: what is mounted where. */
  diskFiles: `${layout.runtime}/diskfiles`,
  /** Journals of what cables have made on the host: executor/journal.c. */
  cables: `${layout.runtime}/cables`,
  /** Plans on their way to the executor. */
  wires: `${layout.runtime}/wires`,
  /** Records of running sandboxes without a container. */
  runs: `${layout.runtime}/runs`,
  /** Sockets of monitors, by which clients come to a payload's terminal. */
  terminals: `${layout.runtime}/terminals`,
  /** What was seen to work on a file system: `<trial>.<device>` holds the boot in which it did. */
  trials: `${layout.runtime}/trials`,
});
