/** enroot's commands: its words, and which of our own functions each means. */
import { Failure } from "../base/errors.ts";
import type { Cli } from "../commands/cli.ts";
import { HELP, helpOf, type Option, readWords, type Words } from "./enroot-words.ts";

/** The version of enroot whose behaviour this is. */
export const ENROOT_VERSION = "4.1.2";

interface EnrootCommand {
  /** The words behind the name. */
  readonly usage: string;
  readonly about: string;
  readonly options: readonly Option[];
  /** How many operands there are at least. */
  readonly least: number;
  run(cli: Cli, words: Words): Promise<void> | void;
}

const ARCH: Option = {
  long: "arch",
  short: "a",
  value: "ARCH",
  about: "architecture of the image, such as x86_64, aarch64 or ppc64le; this machine's if not given",
};
const FORCE: Option = { long: "force", short: "f", about: "replace what has the name already" };
const NAME = (from: string): Option => ({
  long: "name",
  short: "n",
  value: "NAME",
  about: `name of the container; made from ${from} if not given`,
});
const OUTPUT = (from: string): Option => ({
  long: "output",
  short: "o",
  value: "FILE",
  about: `the file; named after ${from} if not given`,
});
const ENV: Option = {
  long: "env",
  short: "e",
  value: "KEY[=VAL]",
  about: "set a variable; without a value, to the caller's (may repeat)",
};

const images = () => import("./enroot-images.ts");
const starts = () => import("./enroot-start.ts");
const lists = () => import("./enroot-list.ts");

export const commands: Readonly<Record<string, EnrootCommand>> = {
  batch: {
    usage: "batch [options] [--] CONFIG [COMMAND] [ARG...]",
    about:
      "Start what the line #ENROOT_ROOTFS= of CONFIG names: start --conf CONFIG.\nIt may interpret CONFIG: #!/usr/bin/env -S enroot batch",
    options: [],
    least: 1,
    run: async (cli, words) => (await starts()).batch(cli, words),
  },
  bundle: {
    usage: "bundle [options] [--] IMAGE",
    about: "Make a file of a squashfs file that unpacks and runs itself.",
    options: [
      { long: "all", short: "a", about: "take the user's configuration along, not only the system's" },
      { long: "checksum", short: "c", about: "have it verify a checksum before it runs" },
      { long: "desc", short: "d", value: "TEXT", about: "what it says of itself" },
      OUTPUT("the image"),
      { long: "target", short: "t", value: "DIR", about: "where its --keep puts the root" },
      FORCE,
    ],
    least: 1,
    run: async (cli, words) => (await images()).bundle(cli, words),
  },
  create: {
    usage: "create [options] [--] IMAGE",
    about: "Make a container of a squashfs file.",
    options: [NAME("the file's"), FORCE],
    least: 1,
    run: async (cli, words) => (await import("./enroot-create.ts")).create(cli, words),
  },
  digest: {
    usage: "digest [options] [--] URI",
    about: "Print the digest of an image's manifest.",
    options: [ARCH],
    least: 1,
    run: async (cli, words) => (await images()).digest(cli, words),
  },
  exec: {
    usage: "exec [options] [--] PID|NAME COMMAND [ARG...]",
    about: "Run a command in a container that runs.",
    options: [ENV],
    least: 2,
    run: async (cli, words) => (await starts()).exec(cli, words),
  },
  export: {
    usage: "export [options] [--] NAME",
    about: "Write a container as a squashfs file.",
    options: [OUTPUT("the container"), FORCE],
    least: 1,
    run: async (cli, words) => (await images()).exportImage(cli, words),
  },
  import: {
    usage: "import [options] [--] URI",
    about:
      "Bring an image into a squashfs file.\n\n Schemes:\n   docker://[USER@][REGISTRY#]IMAGE[:TAG]  an image of a registry\n   dockerd://IMAGE[:TAG]                   an image of Docker's daemon\n   podman://IMAGE[:TAG]                    an image of podman",
    options: [ARCH, OUTPUT("the URI")],
    least: 1,
    run: async (cli, words) => (await images()).importImageFile(cli, words),
  },
  info: {
    usage: "info",
    about: "Show the settings in force.",
    options: [],
    least: 0,
    run: async (cli) => {
      const { settingsText } = await import("../commands/info.ts");
      cli.print(settingsText(cli.context("none")));
    },
  },
  list: {
    usage: "list [options]",
    about: "List containers.",
    options: [{ long: "fancy", short: "f", about: "as a table, with what runs in them" }],
    least: 0,
    run: async (cli, words) => (await lists()).list(cli, words),
  },
  load: {
    usage: "load [options] [--] URI",
    about: "Make a container of an image; URI as of import.",
    options: [ARCH, NAME("the URI"), FORCE],
    least: 1,
    run: async (cli, words) => (await images()).load(cli, words),
  },
  remove: {
    usage: "remove [options] [--] NAME...",
    about: "Remove containers, with all that is in them.",
    options: [{ long: "force", short: "f", about: "do not ask, and kill what runs in them" }],
    least: 1,
    run: async (cli, words) => (await lists()).remove(cli, words),
  },
  start: {
    usage: "start [options] [--] NAME|IMAGE [COMMAND] [ARG...]",
    about: "Start a container, or a squashfs file. COMMAND goes to its /etc/rc or entrypoint.",
    options: [
      {
        long: "conf",
        short: "c",
        value: "CONFIG",
        about: "a bash script: environ(), mounts(), hooks(), rc(), #ENROOT_…",
      },
      { long: "rc", value: "SCRIPT", about: "run this in the place of /etc/rc; may be a pipe" },
      ENV,
      { long: "root", short: "r", about: "be root inside" },
      { long: "rw", short: "w", about: "keep changes in the container" },
      { long: "mount", short: "m", value: "FSTAB", about: "mount SRC:DST[:OPTIONS] (may repeat)" },
      { long: "pid", about: "processes of its own" },
      { long: "net", about: "no network but its own lo" },
      { long: "ipc", about: "System V IPC and message queues of its own" },
      { long: "uts", about: "a host name of its own" },
    ],
    least: 1,
    run: async (cli, words) => (await starts()).start(cli, words),
  },
  version: {
    usage: "version",
    about: "Print the version of enroot whose behaviour this is.",
    options: [],
    least: 0,
    run: (cli) => cli.print(ENROOT_VERSION),
  },
};

function overview(): string {
  return [
    "Usage: enroot COMMAND [ARG...]",
    "",
    "Containers as enroot has them, by rootling.",
    "",
    " Commands:",
    ...Object.values(commands).map(({ usage }) => `   ${usage}`),
  ].join("\n");
}

/** Does what the words say. Throws E_USAGE. */
export async function enroot(cli: Cli, words: readonly string[]): Promise<void> {
  const [name, ...rest] = words;
  if (name === undefined) {
    cli.print(overview());
    return cli.setStatus(1);
  }
  if (name === "help" && rest[0] !== undefined) return enroot(cli, [rest[0], "--help"]);
  if (["help", "-h", "--help"].includes(name)) return cli.print(overview());
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (command === undefined) {
    throw new Failure("E_USAGE", `there is no command ${JSON.stringify(name)}`, { mend: "see `enroot help`" });
  }
  const { usage, about, options, least } = command;
  const read = readWords(name, options, least, rest);
  if (read === HELP) return cli.print(helpOf(usage, about, options));
  await command.run(cli, read);
}
