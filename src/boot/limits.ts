/** Limits of memory, processors and processes: their words, and the cgroups that hold them. Pure. */
import { Failure } from "../base/errors.ts";
import { type Op, op } from "../plan/plan.ts";
import type { CgroupFacts, CgroupPlace, Controller } from "./cgroup-facts.ts";
import { from, type Value } from "./intent.ts";

export interface Limits {
  /** Bytes. */
  readonly memory?: Value<number>;
  /** Processors' worth of time, such as 1.5. */
  readonly cpus?: Value<number>;
  /** Share of the processors' time where they are short: 1 to 10,000, 100 for everybody else. */
  readonly cpuWeight?: Value<number>;
  /** Processes and threads. */
  readonly pids?: Value<number>;
}

export interface LimitFlags {
  readonly memory?: string;
  readonly cpus?: string;
  readonly cpuWeight?: string;
  readonly pidsLimit?: string;
}

const wrong = (flag: string, text: string, mend: string): Failure =>
  new Failure("E_USAGE", `${flag} cannot be ${JSON.stringify(text)}`, { where: flag, mend });

const UNITS: Readonly<Record<string, number>> = { "": 1, b: 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 };
/** Less than this, and not even the executor gets as far as the command. */
const MEMORY_MIN = 2 ** 20;

/** `512m`, `1.5g`, or bytes. Throws E_USAGE. */
export function readSize(text: string, flag: string): number {
  const [, number, unit = ""] = /^([0-9]+(?:\.[0-9]+)?)([bkmgt]?)(?:i?b)?$/i.exec(text) ?? [];
  const bytes = Math.floor(Number(number) * (UNITS[unit.toLowerCase()] ?? Number.NaN));
  if (bytes >= MEMORY_MIN && bytes < 2 ** 53) return bytes;
  throw wrong(flag, text, "write bytes, or a number with k, m or g behind it, such as 512m; 1m at least");
}

function readNumber(text: string, flag: string, least: number, most: number, whole: boolean): number {
  const value = (whole ? /^[0-9]{1,9}$/ : /^[0-9]{1,5}(\.[0-9]+)?$/).test(text) ? Number(text) : Number.NaN;
  if (value >= least && value <= most) return value;
  throw wrong(flag, text, `write a ${whole ? "whole " : ""}number from ${least} to ${most}`);
}

/** Reads the flags; undefined where there are none. Throws E_USAGE. */
export function readLimits({ memory, cpus, cpuWeight, pidsLimit }: LimitFlags): Limits | undefined {
  const limits: Limits = {
    ...(memory === undefined ? {} : { memory: from(readSize(memory, "--memory"), "--memory") }),
    ...(cpus === undefined ? {} : { cpus: from(readNumber(cpus, "--cpus", 0.01, 10_000, false), "--cpus") }),
    ...(cpuWeight === undefined
      ? {}
      : { cpuWeight: from(readNumber(cpuWeight, "--cpu-weight", 1, 10_000, true), "--cpu-weight") }),
    ...(pidsLimit === undefined
      ? {}
      : { pids: from(readNumber(pidsLimit, "--pids-limit", 1, 4_194_304, true), "--pids-limit") }),
  };
  return Object.keys(limits).length === 0 ? undefined : limits;
}

/** The controllers that hold these limits. */
export const controllersOf = (limits: Limits | undefined): Controller[] => [
  ...(limits?.memory ? (["memory"] as const) : []),
  ...(limits?.cpus || limits?.cpuWeight ? (["cpu"] as const) : []),
  ...(limits?.pids ? (["pids"] as const) : []),
];

/** Microseconds over which the use of processors is reckoned: the kernel's default. */
const PERIOD = 100_000;

/** FILE=VALUE of each limit (Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/). Swap would only put a limit off. */
function settings({ memory, cpus, cpuWeight, pids }: Limits, { version, controllers }: CgroupPlace): string[] {
  const quota = cpus === undefined ? 0 : Math.max(1000, Math.round(cpus.value * PERIOD));
  // The old shares have 1024 where the new weights have 100.
  const shares = Math.max(2, Math.round(((cpuWeight?.value ?? 0) * 1024) / 100));
  const all: [Controller, boolean, string, string][] = [
    ["memory", memory !== undefined, `memory.max=${memory?.value}`, `memory.limit_in_bytes=${memory?.value}`],
    ["memory", memory !== undefined, "?memory.swap.max=0", `?memory.memsw.limit_in_bytes=${memory?.value}`],
    ["cpu", cpus !== undefined, `cpu.max=${quota} ${PERIOD}`, `cpu.cfs_quota_us=${quota}`],
    ["cpu", cpuWeight !== undefined, `cpu.weight=${cpuWeight?.value}`, `cpu.shares=${shares}`],
    ["pids", pids !== undefined, `pids.max=${pids?.value}`, `pids.max=${pids?.value}`],
  ];
  return all
    .filter(([controller, wanted]) => wanted && controllers.includes(controller))
    .map(([, , of2, of1]) => (version === 2 ? of2 : of1));
}

export interface LoweredLimits {
  /** Ops outside that make the cgroups, before there is anybody inside. */
  readonly make: readonly Op[];
  /** Ops outside that put the inside process into them. */
  readonly join: readonly Op[];
}

/** `name`: of the cgroup; `mark`: path of the file that names it to whoever clears up. Throws E_CGROUP. */
export function lowerLimits(
  limits: Limits | undefined,
  facts: CgroupFacts | undefined,
  name: string,
  mark: string,
): LoweredLimits {
  const origins = Object.values(limits ?? {}).map(({ origin }: Value<number>) => origin);
  const origin = origins.join(", ");
  if (limits === undefined) return { make: [], join: [] };
  const places = facts?.places ?? [];
  if (places.length === 0) {
    throw new Failure("E_CGROUP", `no cgroup with ${controllersOf(limits).join(", ")} is yours to divide`, {
      where: origin,
      mend: "with systemd, start it by: systemd-run --user --scope rootling … (if that is not enough, ask the administrator for Delegate=cpu memory pids of user@.service); else as root, or leave the limits out",
    });
  }
  const directory = ({ parent }: CgroupPlace) => `${parent}/${name}`;
  return {
    make: places.map((place) =>
      op(
        "cgroup",
        origin,
        places.length === 1 ? mark : `${mark}.${place.controllers.join("-")}`,
        directory(place),
        place.enable.join(" "),
        ...settings(limits, place),
      ),
    ),
    join: places.map((place) => op("cgroup-join", origin, directory(place))),
  };
}
