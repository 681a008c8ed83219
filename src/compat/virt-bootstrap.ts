/** The command of virt-bootstrap: its words and what it prints, by `bootstrap`. */
import { Failure } from "../base/errors.ts";
import { escapeText } from "../base/text.ts";
import { type BootstrapFormat, type BootstrapOptions, bootstrap, type IdMapping } from "../commands/bootstrap.ts";
import type { Cli } from "../commands/cli.ts";
import type { ProgressStatus } from "../commands/progress-status.ts";
import { parseIdRange } from "../image/alter-ids.ts";
import { type ArgparseOption, type ArgparseWords, readArgparseWords } from "./argparse-words.ts";

/** The version of virt-bootstrap whose behaviour this is. */
const VERSION = "1.1.1";

export const options: readonly ArgparseOption[] = [
  { long: "help", short: "h", about: "show this help and end" },
  { long: "version", about: "print the version of virt-bootstrap whose behaviour this is, and end" },
  { long: "format", short: "f", value: "FORMAT", about: "what is made in DEST: dir, the default, or qcow2" },
  {
    long: "root-password",
    value: "PASSWORD",
    about: "set root's password: file:PATH is the first line of a file, anything else the password itself",
  },
  { long: "no-cache", about: "throw away afterwards what was downloaded" },
  { long: "debug", short: "d", about: "say more" },
  { long: "quiet", short: "q", about: "say nothing but warnings and errors" },
  { long: "status-only", about: "print nothing but how far it is, on standard output" },
  {
    long: "username",
    short: "u",
    value: "USERNAME",
    about: "user at the registry; without -p its password is asked for",
  },
  { long: "password", short: "p", value: "PASSWORD", about: "password at the registry: others can read it here" },
  { long: "not-secure", about: "do not verify the certificate of the registry, nor insist on one" },
  { long: "uidmap", value: "START:TARGET:COUNT", about: "give files of these users other ones; may repeat" },
  { long: "gidmap", value: "START:TARGET:COUNT", about: "the same for groups" },
  { long: "idmap", value: "START:TARGET:COUNT", about: "the same for both" },
  { long: "force", about: "replace files in DEST; rootling's own option" },
];

const OPERANDS = ["URI", "DEST"];

/** Log lines: which of them are shown. */
type Level = "DEBUG" | "INFO" | "WARNING";
const LEVELS: readonly Level[] = ["DEBUG", "INFO", "WARNING"];

/** Columns where standard output is no terminal. */
const COLUMNS = 80;

/** Does what the words say. Throws E_USAGE with exit status 2 for words that are not known; all else ends with 1. */
export async function virtBootstrap(cli: Cli, words: readonly string[]): Promise<void> {
  if (words.some((word) => word === "-h" || word === "--help")) return cli.print(help());
  if (words.includes("--version")) return cli.print(`virt-bootstrap ${VERSION}`);
  const read = readArgparseWords(options, OPERANDS, words);
  const format = formatOf(read.values("format").at(-1));
  try {
    await run(cli, read, format);
  } catch (error) {
    if (error instanceof Failure && error.code === "E_INTERRUPTED") throw error;
    cli.report(inItsWords(error));
    cli.setStatus(1);
  }
}

/** What the function's options are called here. */
const WORDS: Readonly<Record<string, string>> = {
  uidMap: "--uidmap",
  gidMap: "--gidmap",
  rootPassword: "--root-password",
  dest: "DEST",
  uri: "URI",
};

/** The failure with the word that was given, in place of the option that it became. */
function inItsWords(error: unknown): unknown {
  if (!(error instanceof Failure)) return error;
  const { code, what, where, mend, cause } = error;
  const word = WORDS[where ?? ""];
  return word === undefined ? error : new Failure(code, what, { where: word, ...(mend && { mend }), cause });
}

function formatOf(text = "dir"): BootstrapFormat {
  if (text === "dir" || text === "qcow2") return text;
  const said = `argument -f/--format: invalid choice: ${JSON.stringify(text)} (choose from 'dir', 'qcow2')`;
  throw new Failure("E_USAGE", said, { mend: "see --help" });
}

async function run(cli: Cli, read: ArgparseWords, format: BootstrapFormat): Promise<void> {
  const [uri = "", dest = ""] = read.operands;
  const statusOnly = read.values("status-only").length > 0;
  const chosen = read.last(["debug", "quiet"]);
  const least: Level = chosen === "debug" ? "DEBUG" : chosen === "quiet" ? "WARNING" : "INFO";
  const { settings, signal, progress } = cli.context("none");
  const log = (level: Level, message: string) => {
    if (statusOnly || LEVELS.indexOf(level) < LEVELS.indexOf(least)) return;
    progress.say(`${level.padEnd(8)}: ${escapeText(message)}`);
  };
  const temporary = process.env.VIRTBOOTSTRAP_TMPDIR;
  const context = {
    settings: temporary?.startsWith("/") ? { ...settings, TEMP_PATH: temporary } : settings,
    signal,
    progress,
    warn: (message: string) => log("WARNING", message),
  };
  const username = read.values("username").at(-1);
  const password = read.values("password").at(-1) ?? (await typedPassword(uri, username, signal));
  const noCache = read.values("no-cache").length > 0;
  if (!noCache) log("DEBUG", `downloads are kept in ${context.settings.CACHE_PATH}`);
  let said = "";
  const tell = ({ status, value }: ProgressStatus) => {
    if (statusOnly) void cli.write(statusLine({ status, value }));
    // What is downloaded is shown as a share alone.
    else if (status !== said && !status.startsWith("Downloading layer")) log("INFO", status);
    said = status;
  };
  const made = await bootstrap(
    context,
    process.env,
    {
      uri,
      dest,
      format,
      ...(username === undefined ? {} : { username }),
      ...(password === undefined ? {} : { password }),
      notSecure: read.values("not-secure").length > 0,
      noCache,
      ...mapsOf(read),
      ...rootPasswordOf(read, log),
      force: read.values("force").length > 0,
    },
    tell,
  );
  log("DEBUG", `the image is ${made.digest}, with ${made.size} bytes of content`);
  log("INFO", `Files are stored in: ${made.dest}`);
}

/** The id maps: what is said of both comes first. Throws E_USAGE. */
function mapsOf(read: ArgparseWords): Pick<BootstrapOptions, "uidMap" | "gidMap"> {
  const of = (flag: string) =>
    read.values(flag).map((text): IdMapping => {
      const { start, target, count } = parseIdRange(text, `--${flag}`);
      return [start, target, count];
    });
  const both = of("idmap");
  return { uidMap: [...both, ...of("uidmap")], gidMap: [...both, ...of("gidmap")] };
}

function rootPasswordOf(
  read: ArgparseWords,
  log: (level: Level, message: string) => void,
): Pick<BootstrapOptions, "rootPassword"> {
  const given = read.values("root-password").at(-1);
  if (given === undefined) return {};
  if (given.startsWith("file:")) return { rootPassword: { file: given.slice("file:".length) } };
  log("WARNING", "others can read a root password on the command line: use --root-password file:PATH");
  return { rootPassword: given };
}

/** The line of --status-only: it writes over the one before, which may have been longer. */
function statusLine({ status, value }: ProgressStatus): Buffer {
  const line = `\rStatus: ${escapeText(status)}, Progress: ${value.toFixed(2)}%`;
  return Buffer.from(`${line.padEnd(process.stdout.columns || COLUMNS)}\r`);
}

/** The password of a user without one: asked for before anything is done, on the terminal or from standard input. */
async function typedPassword(uri: string, user: string | undefined, signal: AbortSignal): Promise<string | undefined> {
  if (user === undefined || !uri.startsWith("docker:")) return undefined;
  const { askOnTerminal, readPasswordFrom } = await import("../commands/password.ts");
  return (await askOnTerminal("Password: ", signal)) ?? readPasswordFrom(process.stdin, "--username");
}

function help(): string {
  const rows = options.map(
    ({ long, short, value, about }) =>
      [`  ${short ? `-${short}, ` : ""}--${long}${value ? ` ${value}` : ""}`, about] as const,
  );
  const width = Math.max(...rows.map(([flag]) => flag.length));
  return [
    "Usage: virt-bootstrap [OPTIONS] URI DEST",
    "",
    "Makes the root file system of URI in the directory DEST, as virt-bootstrap does, by rootling.",
    "",
    "URI:",
    "  docker://[HOST[:PORT]/]NAME[:TAG][@DIGEST]   an image of a registry; docker.io where none is named",
    "  /path/to/rootfs.tar.xz, file:///path/to/it   a tarball",
    "  virt-builder://TEMPLATE                      a template of virt-builder, by its programs",
    "",
    "Options:",
    ...rows.map(([flag, about]) => `${flag.padEnd(width)}  ${about}`),
  ].join("\n");
}
