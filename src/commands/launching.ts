/** The way from an intent to a running container: plan, records and locks, then the executor. */
import { realpathSync } from "node:fs";
import { join } from "node:path";
import { makePrivateDirectory } from "../base/files.ts";
import { mark } from "../base/marks.ts";
import { type Owner, ourselves, ownerName, ownerOf } from "../base/owner.ts";
import type { Settings } from "../base/settings.ts";
import { storePath } from "../base/settings-places.ts";
import { markOfOwner } from "../base/survivors.ts";
import { carryOut, carryOutBeside, planStart, showTerminal, startMonitor } from "../boot/boot.ts";
import { isCableName } from "../boot/cables.ts";
import type { Places } from "../boot/facts.ts";
import type { Intent } from "../boot/intent.ts";
import { isDetached } from "../boot/lower-life.ts";
import type { Plan } from "../plan/plan.ts";
import { type DiskFile, handOver, ownedBy } from "../store/disk-files.ts";
import { hexOf } from "../store/images.ts";
import { runtimePaths } from "../store/layout.ts";
import { clearLeavings } from "../store/leavings.ts";
import { placeOfRun, type RunRecord, writeRun } from "../store/runs.ts";
import { markUse } from "../store/use.ts";
import { type BootOptions, showPlan } from "./boot-words.ts";
import type { Cli } from "./cli.ts";
import { containersToJoin } from "./join-words.ts";
import { DETACH_KEYS, ownTerminal, readDetachKeys, refuseWithoutTerminal } from "./terminal-words.ts";

/** Where a start is recorded, and how. */
export interface Launch {
  /** Directory of the records. */
  readonly runs: string;
  readonly container?: string;
  readonly image: string;
  /** Digest of the stored image below, which must stay while it is used. */
  readonly digest?: string;
  /** Called when the plan is made and about to be carried out by `owner`. */
  readonly before?: (owner: Owner) => void;
  /** Where a detached start leaves its log and the record of its end. */
  readonly life?: NonNullable<Places["life"]>;
  /** Where pid 1 of a subhost says what became of its services. */
  readonly services?: string;
  /** Disk files that were mounted for this start, which its owner takes over. */
  readonly diskFiles?: readonly DiskFile[];
  /** Awaited once the payload of a detached start runs. */
  readonly begun?: (owner: Owner) => Promise<void>;
}

/** Makes the plan, prints it or becomes it. */
export async function launch(cli: Cli, asked: Intent, options: BootOptions, how: Launch): Promise<void> {
  const intent = { ...(await withDevicesOf(cli, asked, options)), ...ownTerminal(asked) };
  mark("plan");
  const context = cli.context(options.progress);
  const keys = readDetachKeys(options.detachKeys ?? DETACH_KEYS);
  if (options.vm) return launchMachine(cli, intent, options, how);
  if (options.dryRun) return showPlan(cli, planStart(intent, placesOf(cli, intent, ourselves(), how)), options.json);
  if (intent.terminal && !intent.detached) refuseWithoutTerminal();
  // Records and locks name whoever lives as long as the container: this process, or a monitor that waits for its plan.
  const monitor = isDetached(intent) ? await startMonitor(context) : undefined;
  const owner = monitor === undefined ? ourselves() : ownerOf(monitor.pid);
  const places = placesOf(cli, intent, owner, how);
  const plan = planStart(intent, places);
  mark("records and locks");
  await record(cli, intent, plan, owner, how);
  const wire = join(runtimePaths(cli.layout).wires, ownerName(owner));
  if (monitor === undefined) return carryOut(context, plan, wire);
  const failed = await carryOutBeside(context, plan, wire, monitor);
  if (failed !== undefined) return cli.setStatus(failed);
  await how.begun?.(owner);
  if (intent.detached) return cli.print(how.container ?? String(owner.pid));
  return showTerminal(context, places.socket, keys, "starter");
}

/** The same with a virtual machine, whose files lie beside its plan. */
async function launchMachine(cli: Cli, intent: Intent, options: BootOptions, how: Launch): Promise<void> {
  const { planMachine } = await import("./machine.ts");
  const context = cli.context("none");
  const { wires, trials } = runtimePaths(cli.layout);
  const wire = join(wires, ownerName(ourselves()));
  const places = placesOf(cli, intent, ourselves(), how);
  const dry = options.dryRun === true;
  if (!dry) makePrivateDirectory(wires);
  const plan = await planMachine(context, intent, options, places, { directory: `${wire}.vm`, trials, dry });
  if (dry) return showPlan(cli, plan, options.json);
  await record(cli, intent, plan, ourselves(), how);
  return carryOut(context, plan, wire);
}

/** What reads specs is loaded where a device is asked for. */
async function withDevicesOf(cli: Cli, intent: Intent, options: BootOptions): Promise<Intent> {
  if (options.device === undefined && intent.startup === undefined) return intent;
  return (await import("./device-flags.ts")).withDevices(cli, intent, options);
}

/** What is wrong with --device is said before an image is fetched. */
export async function refuseDevices(cli: Cli, { device }: BootOptions): Promise<void> {
  if (device !== undefined) await (await import("./device-flags.ts")).refuseWrongDevices(cli, device);
}

/** The paths of one start, which all name its owner. */
function placesOf(cli: Cli, intent: Intent, owner: Owner, how: Launch): Places & { readonly socket: string } {
  const { layout } = cli;
  const { settings } = cli.context("none");
  const runtime = runtimePaths(layout);
  const name = ownerName(owner);
  return {
    stage: runtime.stage,
    ephemeral: join(layout.ephemeral, name),
    record: placeOfRun(how.runs, owner).pid,
    cgroup: { name: `rootling-${name}`, mark: join(runtime.cgroups, name) },
    network: join(runtime.networks, name),
    ...(intent.cables === undefined ? {} : { cables: cablePlace(join(runtime.cables, name), owner, how) }),
    containers: containersToJoin(layout, intent),
    hidden: hiddenPaths(settings),
    mark: markOfOwner(owner),
    socket: join(runtime.terminals, name),
    ...(how.life === undefined ? {} : { life: how.life }),
    ...(how.diskFiles?.length ? { diskFiles: ownedBy(layout, owner, how.diskFiles) } : {}),
    ...(how.services === undefined ? {} : { services: how.services }),
  };
}

/** The name of a container is that of its cables, where it is short enough for names of interfaces. */
const cablePlace = (mark: string, owner: Owner, { container }: Launch): NonNullable<Places["cables"]> => ({
  name: container !== undefined && isCableName(container) ? container : `rl${owner.pid}`,
  mark,
  machine: owner.machine,
});

/** Makes the store's directories, clears what the dead left, takes the locks and writes down what is about to run. */
async function record(cli: Cli, intent: Intent, plan: Plan, owner: Owner, how: Launch): Promise<void> {
  const { layout } = cli;
  const { stage, wires, networks, cables, cgroups, terminals } = runtimePaths(layout);
  for (const directory of [stage, wires, networks, cables, cgroups, terminals, layout.ephemeral, how.runs])
    makePrivateDirectory(directory);
  await clearLeavings(layout);
  const hex = how.digest === undefined ? undefined : hexOf(how.digest);
  if (hex !== undefined) markUse(layout, hex, owner);
  how.before?.(owner);
  if (how.diskFiles !== undefined) handOver(layout, owner, how.diskFiles);
  writeRun(placeOfRun(how.runs, owner), recordOf(intent, plan, how));
}

/** What no mount may show inside. */
export const hiddenPaths = (settings: Settings): string[] =>
  outermost([storePath(settings), settings.RUNTIME_PATH].map(realPathOrSame));

/** Without those that lie in another of them. */
const outermost = (paths: readonly string[]): string[] =>
  paths.filter((path) => !paths.some((other) => path.startsWith(`${other}/`)));

/** The store's directories may be reached through symlinks; a path that does not exist yet stays as it is. */
const realPathOrSame = (path: string): string => {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
};

const recordOf = (intent: Intent, plan: Plan, how: Launch): RunRecord => ({
  format: 1,
  ...(how.container === undefined ? {} : { container: how.container }),
  image: how.image,
  started: new Date().toISOString(),
  writable: intent.writes.value !== "refused",
  command: intent.command.value,
  environment: plan.ops.flatMap(({ verb, fields }) =>
    // What is known before; what hooks add, the processes inside have.
    verb === "environment" || verb === "variables" ? fields : [],
  ),
  workdir: intent.workdir.value,
  user: intent.user?.value ?? "",
  ...(intent.isolate ? { isolate: true } : {}),
  ...(intent.seccomp ? { seccomp: intent.seccomp.value } : {}),
  ...(intent.stopSignal === undefined ? {} : { stopSignal: intent.stopSignal.value }),
  ...(intent.detached ? { detached: true } : {}),
  ...(intent.subhost ? { subhost: true } : {}),
  ...(intent.terminal ? { terminal: true } : {}),
});
