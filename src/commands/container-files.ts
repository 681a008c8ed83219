/** A container's root for commands that read or change its files, whether it runs or not. */
import { join } from "node:path";
import type { Context } from "../base/context.ts";
import { makePrivateDirectory } from "../base/files.ts";
import { ourselves, ownerName } from "../base/owner.ts";
import type { Running, RunOptions } from "../base/process.ts";
import type { Places } from "../boot/facts.ts";
import { planFiles, planFilesOf, runFiles } from "../boot/files.ts";
import { parseMap } from "../boot/id-map.ts";
import { from, type Intent, type Root } from "../boot/intent.ts";
import { rootOnly } from "../boot/lower-files.ts";
import type { Op, Plan } from "../plan/plan.ts";
import { type Container, lockWriter, partsOf } from "../store/containers.ts";
import { runtimePaths } from "../store/layout.ts";
import { clearLeavings } from "../store/leavings.ts";
import type { AtStore } from "./cli.ts";
import { storedImage } from "./image-for.ts";
import { treeToStart } from "./mapped-tree.ts";

let wires = 0;

const placesOf = (cli: AtStore): Places => ({
  stage: runtimePaths(cli.layout).stage,
  ephemeral: join(cli.layout.ephemeral, ownerName(ourselves())),
  record: "",
  hidden: [],
});

/** The container's id map. As a map of one id its root inside is the caller, who may read and write all of it. */
export const idMapOf = ({ name, map }: Container): Intent["idMap"] =>
  from(map === undefined ? "root" : parseMap(map.words, name), `container ${name}`);

/** The tree of the image below a container. */
export async function treeBelow(cli: AtStore, container: Container): Promise<string> {
  const { subhost } = container;
  if (subhost !== undefined && container.image.digest === "") return subhost.lower;
  const image = storedImage(cli, container.image.digest);
  return treeToStart(cli, image, idMapOf(container), {});
}

/** The plan of some work on one directory of the store, with the ids of the container. */
export function planInDirectory(cli: AtStore, container: Container, path: string, work: Op): Plan {
  const root: Root = { kind: "directory", path, stored: true };
  const origin = `container ${container.name}`;
  const intent = rootOnly(from(root, origin), from("kept", origin), idMapOf(container));
  return planFiles(intent, placesOf(cli), work);
}

/** The plan of some work that changes nothing on a directory, with the ids of its caller. `stored`: it is the store's. */
export function planOnDirectory(cli: AtStore, path: string, work: Op, stored = false): Plan {
  const root: Root = { kind: "directory", path, ...(stored ? { stored } : {}) };
  const intent = rootOnly(from(root, path), from("refused", path), from("root", path));
  return planFiles(intent, placesOf(cli), work);
}

/** The plan of some work on the container's files; in the container itself if it runs. */
export async function planInContainer(cli: AtStore, container: Container, work: Op): Promise<Plan> {
  const { name, runs } = container;
  const run = runs.find(({ writable }) => writable) ?? runs[0];
  if (run !== undefined) return planFilesOf({ ...run.inside, origin: name }, work);
  return planOnDisk(cli, container, work);
}

/** The plan of some work on the container's files as they are stored, without what is mounted in it while it runs. */
export async function planOnDisk(cli: AtStore, container: Container, work: Op): Promise<Plan> {
  const { name, form, subhost } = container;
  const { upper, work: workdir, root } = partsOf(cli.layout, container);
  const origin = `container ${name}`;
  const layered = subhost === undefined ? form === "shared" : subhost.variant === "overlay";
  const whole: Root = layered
    ? {
        kind: "layers",
        lowers: [await treeBelow(cli, container)],
        kept: { upper, work: workdir },
        ...(subhost && !subhost.userns ? { marks: "trusted" } : {}),
      }
    : subhost
      ? { kind: "directory", path: upper }
      : { kind: "directory", path: root, stored: true };
  const writes: Intent["writes"] = from(work.verb === "unpack" ? "kept" : "refused", origin);
  return planFiles(rootOnly(from(whole, origin), writes, idMapOf(container)), placesOf(cli), work);
}

/** Nobody may change the container while it is changed here; one that runs is changed in its own namespaces. */
export function lockUnlessRunning(cli: AtStore, { name, runs }: Container): { release(): void } {
  return runs.length > 0 ? { release: () => {} } : lockWriter(cli.layout, name);
}

/** Starts the work. */
export async function startWork(
  cli: AtStore,
  context: Context,
  plan: Plan,
  streams: Pick<RunOptions, "stdin" | "stdout">,
): Promise<Running> {
  const runtime = runtimePaths(cli.layout);
  for (const directory of [runtime.stage, runtime.wires, cli.layout.ephemeral]) makePrivateDirectory(directory);
  await clearLeavings(cli.layout);
  return runFiles(context, plan, join(runtime.wires, `${ownerName(ourselves())}.files${++wires}`), streams);
}
