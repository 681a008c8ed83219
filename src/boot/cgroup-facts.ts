/** The cgroups of this host: which hierarchies there are, where we are in them, and what is ours to divide. */
import { readFileSync } from "node:fs";
import { unescapeOctal } from "../base/bytes.ts";

export interface CgroupFacts {
  /** Where version 2 is mounted, and the only one. */
  readonly unified?: string;
}

/** Fields of /proc/self/mountinfo that matter here (proc(5)). */
export function cgroupMounts(text: string): { mount: string; root: string; type: string; options: string[] }[] {
  return text
    .trimEnd()
    .split("\n")
    .flatMap((line) => {
      const [left = "", right = ""] = line.split(" - ");
      const [, , , root = "", mount = ""] = left.split(" ");
      const [type = "", , options = ""] = right.split(" ");
      return type === "cgroup" || type === "cgroup2"
        ? [{ mount: unescapeOctal(mount), root: unescapeOctal(root), type, options: options.split(",") }]
        : [];
    });
}

export function gatherCgroups(): CgroupFacts {
  const mounts = cgroupMounts(readFileSync("/proc/self/mountinfo", "utf8"));
  const [first] = mounts;
  return mounts.length > 0 && mounts.every(({ type }) => type === "cgroup2") && first ? { unified: first.mount } : {};
}
