/** GPUs that NVIDIA_VISIBLE_DEVICES names, in the ways of enroot, as devices of CDI specs. Pure. */
import { Failure } from "../base/errors.ts";
import { type DeviceName, parseDeviceName } from "./cdi.ts";
import type { Variable } from "./intent.ts";

export const NVIDIA_KIND = "nvidia.com/gpu";

const NAME = "NVIDIA_VISIBLE_DEVICES";

/** The variable that counts: the caller's own goes before the container's, whose last one wins. */
export function visibleDevices(
  caller: Readonly<Record<string, string | undefined>>,
  environment: readonly Variable[],
): Variable | undefined {
  const own = caller[NAME];
  return own === undefined
    ? environment.findLast(({ name }) => name === NAME)
    : { name: NAME, value: own, origin: `${NAME} of the caller` };
}

/**
 * The devices: `all`, or indices, UUIDs and MIG devices separated by commas, or names of CDI as they are. None for void,
 * none and nothing. Throws E_USAGE.
 */
export function readVisibleDevices({ value, origin }: Variable): DeviceName[] {
  if (value === "" || value === "void" || value === "none") return [];
  return value
    .split(",")
    .filter((word) => word !== "")
    .map((word) => {
      const name = parseDeviceName(word) ?? parseDeviceName(`${NVIDIA_KIND}=${word}`);
      if (name !== undefined) return name;
      throw new Failure("E_USAGE", `${NAME}: ${JSON.stringify(word)} cannot be the name of a device`, {
        where: origin,
        mend: "use all, none, or indices or UUIDs of GPUs separated by commas",
      });
    });
}
