/** What cables have to know of the host. */
import { readFileSync } from "node:fs";
import { findProgram } from "../base/process.ts";

export interface CableFacts {
  /** Names of the host's network interfaces. */
  readonly interfaces: readonly string[];
  /** Paths of programs, where they are installed. */
  readonly ifup?: string;
  readonly ifdown?: string;
  readonly nft?: string;
  /** The host hands packets on from one interface to another. */
  readonly forwarding: { readonly ip: boolean; readonly ip6: boolean };
}

const read = (path: string): string => {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
};

/** /proc/net is that of our network namespace; /sys/class/net is that of whoever mounted it. */
export const interfaces = (): string[] =>
  [...read("/proc/net/dev").matchAll(/^\s*([^\s:]+):/gm)].map(([, name = ""]) => name);

const program = (name: "ifup" | "ifdown" | "nft"): Pick<CableFacts, typeof name> => {
  const path = findProgram(name);
  return path === undefined ? {} : { [name]: path };
};

export const gatherCables = (): CableFacts => ({
  interfaces: interfaces(),
  ...program("ifup"),
  ...program("ifdown"),
  ...program("nft"),
  forwarding: {
    ip: read("/proc/sys/net/ipv4/ip_forward").trim() === "1",
    ip6: read("/proc/sys/net/ipv6/conf/all/forwarding").trim() === "1",
  },
});
