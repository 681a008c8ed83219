/** `rootling boot`: a subhost, as its configuration file has it. */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { throwIfAborted } from "../base/context.ts";
import { Failure } from "../base/errors.ts";
import { type Owner, ourselves, stateOf } from "../base/owner.ts";
import { escapeText } from "../base/text.ts";
import { from } from "../boot/intent.ts";
import { inOrder, readSubhost, type SubhostConf } from "../boot/read-subhost.ts";
import type { Mistake } from "../boot/subhost-conf.ts";
import { subhostIntent } from "../boot/subhost-intent.ts";
import { findContainer, lockDetached, lockDirectory, lockWriter, refuseRunning } from "../store/containers.ts";
import { diskFilesOf, releaseDiskFile } from "../store/disk-files.ts";
import { findImage } from "../store/images.ts";
import { containerPaths, type Layout } from "../store/layout.ts";
import { namesIn } from "../store/leavings.ts";
import { holderOf, nameTaken, recordSubhost } from "../store/subhosts.ts";
import { refuseIdleFlags, withDryRun } from "./boot-words.ts";
import { type Cli, newCommand, showJson, withProgress } from "./cli.ts";
import { storedImage } from "./image-for.ts";
import { launch } from "./launching.ts";
import { commandVariables, hostLook, readConf, runCommands } from "./subhost-host.ts";

interface Options {
  check?: boolean;
  foreground?: boolean;
  timeline?: string;
  dryRun?: boolean;
  json?: boolean;
  progress?: never;
}

export const define = (cli: Cli) =>
  withProgress(
    withDryRun(
      newCommand("boot", "Boot a subhost: a system with a root over the host's, and its own services and network.", [
        "rootling boot /opt/subhost/mta/mta.conf",
        "rootling boot --check mta.conf      # every mistake at once, with its line; nothing is run",
        "rootling boot --dry-run mta.conf",
      ]),
    ),
  )
    .argument("<conf>", "its configuration file")
    .option("--foreground", "stay until it ends, as its monitor; what services say goes to standard output and error")
    .option("--timeline <file>", "draw where the time of the boot goes, as SVG")
    .option("--check", "name every mistake of the file, and boot nothing")
    .action(async (file: string, options: Options) => {
      if (!options.check) refuseIdleFlags(options);
      await bootSubhost(cli, file, options);
    });

/** Boots, or only checks. Mistakes of the file are all reported, and the status says so. */
export async function bootSubhost(cli: Cli, file: string, options: Options): Promise<void> {
  const context = cli.context(options.progress);
  const written = readConf(file);
  for (const remark of written.remarks) context.warn(remark);
  // Commands are run only where the rest is right.
  const before = withNames(cli.layout, readSubhost(written, hostLook()));
  if (before.mistakes.length > 0 || options.check) return showMistakes(cli, before, options.json);
  refuseOthers();
  const runs = !options.dryRun && written.assignments.some(({ command }) => command);
  try {
    const conf = runs ? await runCommands(written, context.signal) : written;
    const reading = runs ? withNames(cli.layout, readSubhost(conf, hostLook())) : before;
    if (reading.subhost === undefined || reading.mistakes.length > 0) showMistakes(cli, reading, false);
    else await start(cli, reading.subhost, options);
  } finally {
    // What a monitor has taken over is no longer ours.
    for (const file of diskFilesOf(cli.layout, ourselves())) await releaseDiskFile(file);
  }
}

type Reading = ReturnType<typeof readSubhost>;

/** Adds what only the store knows. */
function withNames(layout: Layout, reading: Reading): Reading {
  const { subhost } = reading;
  if (subhost === undefined || !/^[A-Za-z0-9_]/.test(subhost.name.value)) return reading;
  const known = [takenName(layout, subhost), unknownImage(layout, subhost), changedMarks(layout, subhost)];
  const mistakes = known.filter((mistake) => mistake !== undefined);
  if (mistakes.length === 0) return reading;
  return { subhost, mistakes: inOrder([...reading.mistakes, ...mistakes], subhost.path) };
}

function takenName(layout: Layout, { name, path }: SubhostConf): Mistake | undefined {
  const holder = holderOf(layout, name.value, path);
  if (holder === undefined) return undefined;
  const { what, mend = "" } = nameTaken(name.value, holder);
  return { what, where: name.origin, mend };
}

function unknownImage(layout: Layout, { lower }: SubhostConf): Mistake | undefined {
  const { kind, name } = lower.value;
  if (kind !== "image" || findImage(layout, name) !== undefined) return undefined;
  return {
    what: `there is no stored image ${name}`,
    where: lower.origin,
    mend: "import it, such as `rootling import docker://debian:12`; see `rootling images`",
  };
}

/** What was deleted with the marks of one kind comes back with those of the other. */
function changedMarks(layout: Layout, { name, variant, userns, upper }: SubhostConf): Mistake | undefined {
  const known = findContainer(layout, name.value)?.subhost;
  if (known?.variant !== "overlay" || variant !== "overlay" || known.upper !== upper.value) return undefined;
  if ((known.userns === true) === (userns !== undefined) || namesIn(upper.value).length === 0) return undefined;
  return {
    what: `what ${name.value} has of its own was made ${known.userns ? "with" : "without"} USERNS`,
    where: userns?.origin ?? upper.origin,
    mend: `leave that as it was, or begin anew: rootling reset ${name.value}`,
  };
}

function refuseOthers(): void {
  if (process.geteuid?.() === 0) return;
  throw new Failure("E_DENIED", "only root boots subhosts", {
    mend: "use sudo; `rootling boot --check` and containers need no root",
  });
}

const failureOf = ({ what, where, mend }: Mistake): Failure => new Failure("E_SUBHOST", what, { where, mend });

function showMistakes(cli: Cli, { subhost, mistakes }: Reading, json: boolean | undefined): void {
  if (mistakes.length > 0) cli.setStatus(new Failure("E_SUBHOST", "").exitStatus);
  if (json) cli.print(showJson({ name: subhost?.name.value ?? null, mistakes }));
  else if (mistakes.length > 0) for (const mistake of mistakes) cli.report(failureOf(mistake));
  else if (subhost !== undefined) cli.print(summaryOf(subhost));
}

function summaryOf({ name, variant, upper, lower, init }: SubhostConf): string {
  const image = lower.value.kind === "image" ? "image:" : "";
  const root =
    variant === "overlay" ? `${upper.value} over ${image}${lower.value.name}` : `${upper.value} (${variant})`;
  const { value } = init;
  const begins =
    value.kind === "system" ? value.path : value.kind === "script" ? value.command : value.names.join(" ") || "none";
  return escapeText(`${name.value}: root ${root}; starts ${begins}`);
}

/** Milliseconds at most between two looks at what became of the services. */
const PAUSE = 50;

async function start(cli: Cli, subhost: SubhostConf, options: Options): Promise<void> {
  const { layout } = cli;
  const { name, path, upper, work, lower, log, variant } = subhost;
  const image = lower.value.kind === "image" ? storedImage(cli, lower.value.name) : undefined;
  const whole = {
    ...subhostIntent(subhost, commandVariables(path), image?.tree),
    ...(options.timeline === undefined ? {} : { timeline: from(resolve(options.timeline), "--timeline") }),
  };
  const { detached: _, ...attached } = whole;
  const intent = options.foreground ? attached : whole;
  const paths = containerPaths(layout, name.value);
  const shown = `${image ? "image:" : ""}${lower.value.name}`;
  if (!options.dryRun) {
    // Its record is that of what runs.
    const known = findContainer(layout, name.value);
    if (known !== undefined) refuseRunning(known);
    await recordSubhost(
      layout,
      name.value,
      {
        ...{ conf: path, variant, lower: shown, upper: upper.value, work: work.value },
        ...(subhost.userns === undefined ? {} : { userns: true }),
        ...(log === undefined ? {} : { log: log.value }),
      },
      { digest: image?.digest ?? "", name: shown },
    );
  }
  await launch(cli, intent, options, {
    runs: paths.runs,
    container: name.value,
    image: shown,
    ...(image === undefined ? {} : { digest: image.digest }),
    life: log ? { log: log.value, olderLog: `${log.value}.1`, exit: paths.exit } : paths,
    services: paths.services,
    diskFiles: diskFilesOf(layout, ourselves()),
    before: (owner) => {
      lockDetached(layout, name.value, owner);
      lockWriter(layout, name.value, owner);
      lockDirectory(layout, hostLook().real(upper.value), owner);
    },
    begun: (owner) => sayServices(cli, subhost, paths.services, owner),
  });
}

/** Waits until all services were started, and says which were not. */
async function sayServices(cli: Cli, { name, init }: SubhostConf, file: string, owner: Owner): Promise<void> {
  const { signal, warn } = cli.context("none");
  if (init.value.kind === "system") return;
  for (let said = 0, pause = 1, over = false; !over; pause = Math.min(pause * 2, PAUSE)) {
    throwIfAborted(signal);
    // Looked at first: what was written before the end is there afterwards.
    over = stateOf(owner) !== "alive";
    const lines = readFileSync(file, "utf8").split("\n").slice(0, -1);
    for (; said < lines.length; said++) {
      over ||= lines[said] === "up";
      const complaint = complaintOf(lines[said] ?? "");
      if (complaint !== undefined) warn(`${name.value}: ${complaint} (${init.origin})`);
    }
    if (!over) await process.getBuiltinModule("node:timers/promises").setTimeout(pause);
  }
}

/** What is said of a service that did not start; `line`: as executor/subhost.c reports it. */
function complaintOf(line: string): string | undefined {
  const [service = "", what = "0"] = line.split(" ");
  if (what === "0") return undefined;
  if (what === "missing") return `the service ${service} has no init script /etc/init.d/${service}`;
  if (what === "late") return `the service ${service} did not start in time, and was ended`;
  if (what === "unit")
    return `the service ${service} has no init script, only a systemd unit: write that script in the subhost, for what the unit's ExecStart says`;
  return `the service ${service} failed with status ${what}`;
}
