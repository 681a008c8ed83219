/** The cables of all containers, from what the kernel says of links by ip(8): no file of ours is asked. Pure. */
import { BRIDGE_ALIAS } from "./lower-cables.ts";

/** A link as `ip -details -statistics -json address` shows it; only what is used. */
export interface IpLink {
  readonly ifindex: number;
  /** Of a veth, the other end, in its own namespace; of a VLAN, the link below. */
  readonly link_index?: number;
  readonly ifname: string;
  readonly flags: readonly string[];
  readonly mtu: number;
  readonly operstate: string;
  readonly address?: string;
  readonly master?: string;
  readonly ifalias?: string;
  readonly linkinfo?: { readonly info_kind?: string };
  readonly addr_info?: readonly { readonly local: string; readonly prefixlen: number; readonly scope: string }[];
  readonly stats64?: { readonly rx: { readonly bytes: number }; readonly tx: { readonly bytes: number } };
}

export interface CableEnd {
  readonly interface: string;
  readonly state: "up" | "down";
  readonly mac: string;
  /** ADDRESS/PREFIX; those that every link makes for itself are left out. */
  readonly addresses: readonly string[];
}

export interface ShownCable {
  /** The container, as its network namespace is called. */
  readonly name: string;
  readonly host: CableEnd;
  /** Null where the namespace cannot be looked at. */
  readonly inside: CableEnd | null;
  readonly bridge: string | null;
  readonly vlans: readonly CableEnd[];
  readonly mtu: number;
  /** Bytes that came from inside, and that went there. */
  readonly received: number;
  readonly sent: number;
}

export interface ShownBridge extends CableEnd {
  /** It was made for cables, and goes with the last of them. */
  readonly onDemand: boolean;
  /** Its ports that are no cables, such as the machine's own network card. */
  readonly ports: readonly CableEnd[];
}

export interface CableMap {
  readonly cables: readonly ShownCable[];
  /** Those that cables hang on. */
  readonly bridges: readonly ShownBridge[];
}

/** `MARK NAME INSIDE`, as lower-cables.ts gives it to links. */
const ALIAS = /^rootling-[0-9]+-[0-9]+ ([^ ]+) [^ ]+$/;

const nameOf = ({ ifalias = "" }: IpLink): string | undefined => ALIAS.exec(ifalias)?.[1];

/** The namespaces that have to be looked at. */
export const namespacesOf = (links: readonly IpLink[]): string[] => [
  ...new Set(links.map(nameOf).filter((name) => name !== undefined)),
];

function endOf({ ifname, flags, operstate, address = "", addr_info = [] }: IpLink): CableEnd {
  return {
    interface: ifname,
    state: flags.includes("UP") && operstate !== "LOWERLAYERDOWN" && operstate !== "DOWN" ? "up" : "down",
    mac: address,
    addresses: addr_info.filter(({ scope }) => scope !== "link").map(({ local, prefixlen }) => `${local}/${prefixlen}`),
  };
}

const isVeth = ({ linkinfo }: IpLink): boolean => linkinfo?.info_kind === "veth";
const isVlan = ({ linkinfo }: IpLink): boolean => linkinfo?.info_kind === "vlan";

/** `inside`: the links of each namespace that could be looked at. Ends are told by their numbers, not by their names. */
export function cableMap(links: readonly IpLink[], inside: ReadonlyMap<string, readonly IpLink[]>): CableMap {
  const ends = links.filter((link) => nameOf(link) !== undefined && isVeth(link));
  const cables = ends.map((link): ShownCable => {
    const name = nameOf(link) ?? "";
    const other = inside
      .get(name)
      ?.find(({ ifindex, link_index }) => link_index === link.ifindex && ifindex === link.link_index);
    return {
      name,
      host: endOf(link),
      inside: other === undefined ? null : endOf(other),
      bridge: link.master ?? null,
      vlans: links.filter((vlan) => isVlan(vlan) && vlanIsOn(vlan, link)).map(endOf),
      mtu: link.mtu,
      received: link.stats64?.rx.bytes ?? 0,
      sent: link.stats64?.tx.bytes ?? 0,
    };
  });
  const used = new Set(cables.map(({ bridge }) => bridge));
  const bridges = links
    .filter(({ ifname }) => used.has(ifname))
    .map((link) => ({
      ...endOf(link),
      onDemand: link.ifalias === BRIDGE_ALIAS,
      ports: links.filter((port) => port.master === link.ifname && !ends.includes(port)).map(endOf),
    }));
  return { cables: cables.sort(byName), bridges };
}

/** ip(8) gives the link below by number where it is in another namespace, else by name, as `NAME.ID@PARENT`. */
const vlanIsOn = (vlan: IpLink & { readonly link?: string }, below: IpLink): boolean =>
  vlan.link === below.ifname || vlan.link_index === below.ifindex;

const byName = (a: ShownCable, b: ShownCable): number =>
  a.name === b.name
    ? a.host.interface.localeCompare(b.host.interface, "en", { numeric: true })
    : a.name < b.name
      ? -1
      : 1;
