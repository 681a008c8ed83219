/** Devices of a start: those of --device, and GPUs that variables name under enroot's rules. */
import type { DeviceName } from "../boot/cdi.ts";
import { type CdiSpecs, type Definition, findDevices, readSpecs } from "../boot/cdi-files.ts";
import type { Intent } from "../boot/intent.ts";
import { gatherNodes } from "../boot/node-facts.ts";
import { NVIDIA_KIND, readVisibleDevices, visibleDevices } from "../boot/nvidia.ts";
import { cdiParts, type DeviceParts, joinParts, nodeParts, readDeviceWish } from "../boot/read-devices.ts";
import type { BootOptions } from "./boot-words.ts";
import type { Cli } from "./cli.ts";

/** The intent with its devices. Specs are read where a name of one is met. */
export async function withDevices(cli: Cli, intent: Intent, options: BootOptions): Promise<Intent> {
  const { CDI_PATHS } = cli.context("none").settings;
  let read: Promise<CdiSpecs> | undefined;
  const specs = (): Promise<CdiSpecs> => {
    read ??= readSpecs(CDI_PATHS);
    return read;
  };
  const wishes = (options.device ?? []).map(readDeviceWish);
  const names = wishes.flatMap((wish) => (wish.kind === "cdi" ? [wish.name] : []));
  const gpus = await gpusOf(intent, specs);
  const wanted = [...from(names, "--device"), ...from(gpus?.names ?? [], gpus?.origin ?? "")];
  const definitions = wanted.length === 0 ? [] : findAll(cli, await specs(), wanted);
  const nodes = wishes.flatMap((wish) => (wish.kind === "node" ? [nodeParts(wish)] : []));
  return addParts(intent, joinParts([...nodes, cdiParts(definitions)]), gpus !== undefined);
}

/** Throws what withDevices and the start would throw of --device: before an image is fetched. */
export async function refuseWrongDevices(cli: Cli, device: readonly string[]): Promise<void> {
  const wishes = device.map(readDeviceWish);
  gatherNodes(wishes.flatMap((wish) => (wish.kind === "node" ? nodeParts(wish).nodes : [])));
  const names = wishes.flatMap((wish) => (wish.kind === "cdi" ? [wish.name] : []));
  const specs = names.length === 0 ? undefined : await readSpecs(cli.context("none").settings.CDI_PATHS);
  if (specs !== undefined) for (const name of names) findDevices(specs, name, "--device");
}

interface Wanted {
  readonly name: DeviceName;
  readonly origin: string;
}

const from = (names: readonly DeviceName[], origin: string): Wanted[] => names.map((name) => ({ name, origin }));

/** Each device once, and a word about files that were no help. */
function findAll(cli: Cli, specs: CdiSpecs, wanted: readonly Wanted[]): Definition[] {
  const found = wanted.flatMap(({ name, origin }) => findDevices(specs, name, origin));
  for (const { what, where } of specs.broken) cli.context("none").warn(`a CDI spec is left out: ${where}: ${what}`);
  return [...new Map(found.map((one) => [one.device, one])).values()];
}

/** GPUs that a variable names, where a spec says what they are; undefined where they are left to the hook. */
async function gpusOf({ startup, environment }: Intent, specs: () => Promise<CdiSpecs>) {
  if (startup === undefined) return undefined;
  const variable = visibleDevices(process.env, [...startup.environment, ...environment]);
  const names = variable === undefined ? [] : readVisibleDevices(variable);
  if (variable === undefined || names.length === 0) return undefined;
  const known = (await specs()).found.some(({ spec }) => spec.kind === NVIDIA_KIND);
  return known ? { names, origin: variable.origin } : undefined;
}

/** What a device says of the environment comes last, as in other programs that know CDI. */
function addParts(intent: Intent, parts: DeviceParts, gpus: boolean): Intent {
  const { startup } = intent;
  return {
    ...intent,
    mounts: [...intent.mounts, ...parts.mounts],
    environment: [...intent.environment, ...parts.environment],
    ...(parts.nodes.length > 0 ? { nodes: parts.nodes } : {}),
    ...(parts.runtimeHooks.length > 0 ? { runtimeHooks: parts.runtimeHooks } : {}),
    ...(parts.deviceGroups.length > 0 ? { deviceGroups: parts.deviceGroups } : {}),
    // The hook 98-nvidia.sh has nothing to do then.
    ...(startup !== undefined && gpus
      ? { startup: { ...startup, caller: [...startup.caller, `ROOTLING_CDI=${NVIDIA_KIND}`] } }
      : {}),
  };
}
