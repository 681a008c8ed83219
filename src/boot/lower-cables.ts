/** The ops of cables, in their order: first names and links on the host, then its rules, then the ends inside. Pure. */
import { Failure } from "../base/errors.ts";
import { type Op, op } from "../plan/plan.ts";
import type { CableFacts } from "./cable-facts.ts";
import { type FilteredCable, filterTable, natTable, needsForwarding, needsLoopbackRoutes } from "./cable-rules.ts";
import { bare, type Cable, type Cables, isCableName } from "./cables.ts";
import type { Facts } from "./facts.ts";
import type { Intent } from "./intent.ts";

export interface LoweredCables {
  readonly ops: readonly Op[];
  readonly remarks: readonly string[];
}

/** Name of an interface less the NUL (IFNAMSIZ of linux/if.h). */
const NAME_MOST = 15;
/** A bridge with this alias was made for cables, and goes with the last of them. */
export const BRIDGE_ALIAS = "rootling bridge";

/** A cable with its names. */
interface Named {
  readonly cable: Cable;
  /** The host end. */
  readonly host: string;
  readonly inside: string;
  readonly mac: string;
  /** `MARK NAME INSIDE`, which the kernel keeps with the host end. */
  readonly alias: string;
}

/** A locally administered address (IEEE 802c) that this machine gives this name alone: FNV-1a of both. */
export function macOf(machine: string, name: string): string {
  let hash = 0xcbf29ce484222325n;
  for (const byte of Buffer.from(`${machine} ${name}`))
    hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & 0xffffffffffffffffn;
  const bytes = hash.toString(16).padStart(16, "0").slice(-10).match(/../g) ?? [];
  return ["02", ...bytes].join(":");
}

function nameOf({ name }: Cables, facts: Facts, origin: string): string {
  const value = name?.value ?? facts.places.cables?.name ?? "";
  if (isCableName(value)) return value;
  throw new Failure("E_USAGE", `${JSON.stringify(value)} cannot name cables`, {
    where: name?.origin ?? origin,
    mend: "use at most 12 letters, digits, and _ . + - behind the first",
  });
}

/** Whether they are free shows when they are made: what a crash has left is cleared only then. Throws E_USAGE. */
function refuseNames(named: readonly Named[]): void {
  for (const { cable, host } of named) {
    const long = [host, ...cable.vlans.map((id) => `${host}.${id}`)].find((name) => name.length > NAME_MOST);
    if (long !== undefined)
      throw new Failure("E_USAGE", `${long} is too long for an interface`, {
        where: cable.origin,
        mend: `choose a shorter name: interfaces have at most ${NAME_MOST} characters`,
      });
  }
}

/** A bridge is there, or has an address and is made. Throws E_NOT_FOUND. */
function refuseBridges(named: readonly Named[], { interfaces }: CableFacts): void {
  for (const { cable } of named) {
    if (cable.bridge === undefined || cable.host.length > 0 || interfaces.includes(cable.bridge)) continue;
    throw new Failure("E_NOT_FOUND", `there is no bridge ${cable.bridge}`, {
      where: cable.origin,
      mend: `make it (ip link add ${cable.bridge} type bridge), or have it made by an address of the host: host=10.9.0.1/24`,
    });
  }
}

function hostEnd({ cable, host, inside, mac, alias }: Named, facts: Facts): Op[] {
  const { origin, bridge = "", mtu, bandwidth } = cable;
  const demanded = bridge !== "" && cable.host.length > 0;
  const machine = facts.places.cables?.machine ?? "";
  return [
    ...(demanded ? [op("bridge", origin, bridge, macOf(machine, bridge), BRIDGE_ALIAS, ...cable.host)] : []),
    op("cable", origin, host, inside, mac, bridge, mtu === undefined ? "" : String(mtu), alias),
    ...(bridge === "" && cable.host.length > 0 ? [op("host-interface", origin, host, ...cable.host)] : []),
    ...(bandwidth === undefined ? [] : [op("rate", origin, host, String(bandwidth))]),
    ...cable.vlans.map((id) => op("vlan", origin, `${host}.${id}`, host, String(id), `${alias}.${id}`)),
  ];
}

/** What has no bridge and no address is configured by the host's own /etc/network/interfaces, as overlay-boot has it. */
const configured = ({ cable, host }: Named): string[] => [
  ...(cable.bridge === undefined && cable.host.length === 0 ? [host] : []),
  ...cable.vlans.map((id) => `${host}.${id}`),
];

const ifups = (named: Named, { ifup, ifdown = "" }: CableFacts): Op[] =>
  ifup === undefined ? [] : configured(named).map((name) => op("ifup", named.cable.origin, ifup, ifdown, name));

/** Without an address the end inside is left to the container's own services. */
const insideEnd = ({ cable, inside }: Named): Op[] => [
  ...(cable.addresses.length > 0 ? [op("interface", cable.origin, inside, ...cable.addresses)] : []),
  ...cable.gateways.map((gateway) => op("route", cable.origin, gateway, inside)),
];

/** The interface of the host by which the inside of a cable is reached. */
const viaOf = ({ cable, host }: Named): string => cable.bridge ?? host;

/** Rules of nftables: throws E_PROGRAM where they are wanted and nft(8) is not there. */
function rules(name: string, named: readonly Named[], intent: Intent, { nft }: CableFacts): Op[] {
  // A + would end the name in nft's grammar; / is none of a subhost's.
  const table = `rootling-${name.replaceAll("+", "/")}`;
  const cables: FilteredCable[] = named.map((one) => ({ ...one, via: viaOf(one) }));
  const netdev = filterTable(table, cables);
  const inet = natTable(table, cables, intent.publish ?? []);
  const origin = netdev?.origin ?? inet?.origin;
  if (origin === undefined) return [];
  if (nft === undefined)
    throw new Failure("E_PROGRAM", "the program nft is not installed", {
      where: origin,
      mend: "install it (Debian, Ubuntu: apt-get install nftables)",
    });
  // In one go, each way: to start the program takes longer than what it does.
  const removal = [...(netdev ? [`netdev ${table}`] : []), ...(inet ? [`inet ${table}`] : [])];
  const text = `${netdev?.value ?? ""}${inet?.value ?? ""}`;
  return [op("nft", origin, nft, removal.map((one) => `delete table ${one}`).join("; "), text)];
}

/** Packets go on between interfaces, and from the host's loopback to a published port. Throws E_PROGRAM for IPv6. */
function sysctls(named: readonly Named[], intent: Intent, { forwarding }: CableFacts): LoweredCables {
  const publish = intent.publish ?? [];
  const cables = named.map(({ cable }) => cable);
  const six = needsForwarding(cables, publish, true);
  if (six !== undefined && !forwarding.ip6)
    throw new Failure("E_PROGRAM", "this host hands on no IPv6 packets", {
      where: six,
      // It would no longer take router advertisements, and might lose its own way out.
      mend: "if it may be a router: sysctl net.ipv6.conf.all.forwarding=1",
    });
  const four = forwarding.ip ? undefined : needsForwarding(cables, publish, false);
  const local = needsLoopbackRoutes(publish);
  const target = named.find(({ cable }) => cable.addresses.some((one) => !bare(one).includes(":")));
  return {
    ops: [
      ...(four === undefined ? [] : [op("host-sysctl", four, "/proc/sys/net/ipv4/ip_forward", "1")]),
      ...(local === undefined || target === undefined
        ? []
        : [op("host-sysctl", local, `/proc/sys/net/ipv4/conf/${viaOf(target)}/route_localnet`, "1")]),
    ],
    remarks:
      four === undefined ? [] : ["this host hands on packets between its interfaces from now on: net.ipv4.ip_forward"],
  };
}

/** Everything of cables; nothing where none is asked for. Throws E_USAGE, E_CONFLICT, E_NOT_FOUND, E_PROGRAM. */
export function lowerCables(intent: Intent, facts: Facts): LoweredCables {
  const { cables } = intent;
  if (cables === undefined || facts.cables === undefined) return { ops: [], remarks: [] };
  const origin = intent.namespaces.net?.origin ?? cables.cables[0]?.origin ?? "";
  if (facts.uid !== 0)
    throw new Failure("E_CONFLICT", "cables are laid by root only", {
      where: origin,
      mend: "use --net=user, which needs no privileges",
    });
  const name = nameOf(cables, facts, origin);
  const machine = facts.places.cables?.machine ?? "";
  const named = cables.cables.map((cable, index): Named => {
    const [host, inside] = [`${name}${index}`, `eth${index}`];
    // What is held to its address has to have one that is known.
    const mac = cable.mac ?? (cable.antispoof ? macOf(machine, host) : "");
    return { cable, host, inside, mac, alias: `${facts.places.mark ?? "rootling"} ${name} ${inside}` };
  });
  refuseNames(named);
  refuseBridges(named, facts.cables);
  const settings = sysctls(named, intent, facts.cables);
  return {
    ops: [
      op("cables", origin, facts.places.cables?.mark ?? ""),
      op("netns", cables.name?.origin ?? origin, name),
      ...named.flatMap((one) => hostEnd(one, facts)),
      ...rules(name, named, intent, facts.cables),
      ...settings.ops,
      ...named.flatMap((one) => ifups(one, facts.cables as CableFacts)),
      ...named.flatMap(insideEnd),
    ],
    remarks: settings.remarks,
  };
}
