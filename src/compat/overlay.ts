/** The commands of overlay-boot: their words, and which of our own functions each means. */
import { Failure } from "../base/errors.ts";
import type { OverlayName } from "../base/settings-places.ts";
import { bootSubhost } from "../commands/boot.ts";
import type { Cli } from "../commands/cli.ts";
import { mountDiskFile } from "../commands/diskfile.ts";
import { execIn, findRun } from "../commands/exec.ts";
import { share } from "../commands/share.ts";
import { stopContainers } from "../commands/stop.ts";
import { listContainers } from "../store/containers.ts";

interface OverlayCommand {
  /** The words behind the name. */
  readonly usage: string;
  /** Begins lower, without full stop. */
  readonly short: string;
  readonly about: string;
  readonly least: number;
  readonly most: number;
  run(cli: Cli, words: readonly string[]): Promise<void> | void;
}

/** What a shell of the subhost is started by: it need not have a bash. */
const SHELL = ["/bin/sh", "-c", "[ -x /bin/bash ] && exec /bin/bash; exec /bin/sh"];

export const overlayCommands: Readonly<Record<OverlayName, OverlayCommand>> = {
  "overlay-boot": {
    usage: "CONF",
    short: "boot a subhost",
    about:
      "Boots the subhost that the configuration file CONF describes: `rootling boot CONF`. Ends once its services were started.",
    least: 1,
    most: 1,
    run: (cli, [conf = ""]) => bootSubhost(cli, conf, {}),
  },
  "overlay-go": {
    usage: "[NAME [COMMAND...]]",
    short: "run a command in a subhost",
    about:
      "Runs COMMAND, or a shell, in the namespaces of the subhost NAME, not as a child of its first process. Without NAME: lists the subhosts that run.",
    least: 0,
    most: Number.POSITIVE_INFINITY,
    run: (cli, words) => go(cli, words),
  },
  "overlay-stop": {
    usage: "NAME",
    short: "stop a subhost",
    about:
      "Stops the services of the subhost NAME in the reverse order of their start, ends everything else in it, and waits until all is gone.",
    least: 1,
    most: 1,
    run: (cli, [name = ""]) => stopContainers(cli, [name], {}),
  },
  "overlay-share": {
    usage: "PATH NAME",
    short: "share a directory with a subhost that runs",
    about: "Binds the directory PATH of the host at the same path in the subhost NAME, until that stops.",
    least: 2,
    most: 2,
    run: (cli, [path = "", name = ""]) => share(cli, path, name, {}),
  },
  "overlay-diskfile": {
    usage: "MOUNT/PATH [DISKFILE [INDEX]]",
    short: "mount a disk image for a subhost",
    about:
      "Mounts the disk image DISKFILE, or its partition INDEX, at MOUNT, which is the part of MOUNT/PATH that exists, and prints MOUNT/PATH. Written as LOWER=!overlay-diskfile in a configuration it is unmounted when the subhost stops.",
    least: 1,
    most: 3,
    run: async (cli, [path = "", file, index]) => {
      await mountDiskFile(cli, path, file, index);
      cli.print(path);
    },
  },
};

/** Does what the words say. */
export async function overlay(cli: Cli, name: OverlayName, words: readonly string[]): Promise<void> {
  const { usage, about, least, most, run } = overlayCommands[name];
  if (words[0] === "--help" || words[0] === "-h") return cli.print(`Usage: ${name} ${usage}\n\n${about}`);
  if (words.length < least || words.length > most)
    throw new Failure("E_USAGE", `the words are ${name} ${usage}`, { mend: `see ${name} --help` });
  await run(cli, words);
}

async function go(cli: Cli, [name, ...command]: readonly string[]): Promise<void> {
  if (name !== undefined) {
    const { isatty } = process.getBuiltinModule("node:tty");
    const tty = isatty(0) && isatty(1);
    return execIn(cli, findRun(cli, name), command.length > 0 ? command : SHELL, tty ? { tty } : {});
  }
  const running = listContainers(cli.layout).filter(({ subhost, runs }) => subhost !== undefined && runs.length > 0);
  for (const { name: shown } of running) cli.print(shown);
}
