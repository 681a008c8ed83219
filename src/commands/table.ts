/** The table of commands. Each file is loaded only where it is asked for. */
import type { CommandFile } from "./cli.ts";

interface CommandEntry {
  /** In the overview. */
  about: string;
  load(): Promise<CommandFile>;
  /** Left out of the overview: programs start it, not people. */
  hidden?: boolean;
}

const guestTools = () => import("./guest-tool.ts");

/** In the order in which the overview shows them. */
export const commands: Readonly<Record<string, CommandEntry>> = {
  run: { about: "run a command in an ephemeral container", load: () => import("./run.ts") },
  import: { about: "bring an image into the store, or into a file", load: () => import("./import.ts") },
  create: { about: "make a container of an image", load: () => import("./create.ts") },
  start: { about: "start a container", load: () => import("./start.ts") },
  boot: { about: "boot a subhost", load: () => import("./boot.ts") },
  share: { about: "show a directory of the host in a container that runs", load: () => import("./share.ts") },
  diskfile: { about: "mount a disk image, or a partition of it", load: () => import("./diskfile.ts") },
  attach: { about: "show the terminal of a container that runs", load: () => import("./attach.ts") },
  stop: { about: "end containers", load: () => import("./stop.ts") },
  wait: { about: "wait for the end of a container", load: () => import("./wait.ts") },
  logs: { about: "show what a detached container has written", load: () => import("./logs.ts") },
  unit: { about: "print a service file for a container", load: () => import("./unit.ts") },
  exec: { about: "run another command in a running container", load: () => import("./exec.ts") },
  network: { about: "show the cables of containers", load: () => import("./network.ts") },
  web: { about: "show containers in a browser", load: () => import("./web.ts") },
  list: { about: "list containers and what runs", load: () => import("./list.ts") },
  diff: { about: "show what a container changed", load: () => import("./diff.ts") },
  copy: { about: "copy files out of a container or into it", load: () => import("./copy.ts") },
  reset: { about: "take a container back to its image", load: () => import("./reset.ts") },
  snapshot: { about: "keep a container as it is now", load: () => import("./snapshot.ts") },
  restore: { about: "take a container back to a snapshot", load: () => import("./restore.ts") },
  images: { about: "list stored images", load: () => import("./images.ts") },
  inspect: { about: "show an image's configuration, layers and waste", load: () => import("./inspect.ts") },
  commit: { about: "make an image of what a container changed", load: () => import("./commit.ts") },
  export: { about: "write a container as an image file", load: () => import("./export.ts") },
  push: { about: "put an image into a registry", load: () => import("./push.ts") },
  bundle: { about: "write an image as one file that runs itself", load: () => import("./bundle.ts") },
  importer: { about: "give Slurm's pyxis squashfs files", load: () => import("./importer.ts") },
  digest: { about: "show the digest of an image's manifest", load: () => import("./digest.ts") },
  remove: { about: "remove containers or images", load: () => import("./remove.ts") },
  prune: { about: "free what nobody needs", load: () => import("./prune.ts") },
  info: { about: "show settings and disk usage", load: () => import("./info.ts") },
  plan: { about: "print the steps of a command", load: () => import("./plan.ts") },
  doctor: { about: "try what this host offers", load: () => import("./doctor.ts") },
  compat: { about: "install the names of other programs", load: () => import("./compat.ts") },
  completion: { about: "print the completion of a shell", load: () => import("./completion.ts") },
  bootfs: { about: "make the file system that a guest starts from", load: () => import("./bootfs.ts") },
  guest: { about: "define a guest for libvirt or LXC", load: () => import("./guest.ts") },
  init: { about: "check a guest's init.yml, or show its steps", load: () => import("./init.ts") },
  tolerant: {
    about: "run a program, a directory of them or a script",
    load: async () => (await guestTools()).tolerant,
  },
  overlay: { about: "mount an overlay over a directory", load: async () => (await guestTools()).overlay },
  "mount-idmapped": {
    about: "mount a directory with other owners",
    load: async () => (await guestTools()).mountIdmapped,
  },
  initctl: { about: "take the requests of halt and reboot", load: async () => (await guestTools()).initctl },
  version: { about: "show versions", load: () => import("./version.ts") },
  timeline: { about: "draw a start", load: () => import("./timeline.ts"), hidden: true },
  explain: { about: "put a failed step into words", load: () => import("./explain.ts"), hidden: true },
};
