/** Rules of nftables (nft(8)) for cables: what may come from inside, and ports and networks that are translated. Pure. */
import { Failure } from "../base/errors.ts";
import { bare, type Cable } from "./cables.ts";
import type { Value } from "./intent.ts";
import type { Publish } from "./network.ts";

/** A cable, its names, and the interface of the host by which its inside is reached. */
export interface FilteredCable {
  readonly cable: Cable;
  readonly host: string;
  readonly mac: string;
  readonly via: string;
}

const isSix = (address: string): boolean => address.includes(":");
const set = (values: readonly string[]): string => `{ ${values.join(", ")} }`;
/** A rule that drops all whose field is none of these; all, where there are none. */
const allow = (matches: string, field: string, values: readonly string[]): string =>
  values.length === 0 ? `${matches} drop` : `${matches} ${field} != ${set(values)} drop`;

/** The link-local address that is made of a MAC address (RFC 4291, appendix A). */
function linkLocal(mac: string): string {
  const bytes = mac.split(":").map((text) => Number.parseInt(text, 16));
  const [first = 0, ...rest] = bytes;
  const all = [first ^ 2, ...rest.slice(0, 2), 0xff, 0xfe, ...rest.slice(2)];
  const hex = all.map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return `fe80::${(hex.match(/.{4}/g) ?? []).join(":")}`;
}

/** Nobody inside speaks for another address than its own; without one that is known, for another MAC address. */
function spoofRules({ cable, mac }: FilteredCable): string[] {
  const four = cable.addresses.map(bare).filter((one) => !isSix(one));
  const six = cable.addresses.map(bare).filter(isSix);
  const near = [...six, linkLocal(mac)];
  return [
    `ether saddr != ${mac} drop`,
    `meta protocol arp arp saddr ether != ${mac} drop`,
    // What bridges say to each other (IEEE 802.1D).
    "ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 drop",
    // Frames of the VLANs that were asked for have networks of their own; the kernel shows what they carry as if untagged.
    ...(cable.vlans.length > 0 ? [`vlan id ${set(cable.vlans.map(String))} accept`] : []),
    "ether type { 8021q, 8021ad } drop",
    "ip daddr 127.0.0.0/8 drop",
    "ip6 daddr ::1 drop",
    "icmpv6 type nd-router-advert drop",
    ...(cable.addresses.length === 0
      ? []
      : [
          // 0.0.0.0 asks whether an address is free (RFC 5227).
          allow("meta protocol arp", "arp saddr ip", four.length === 0 ? [] : [...four, "0.0.0.0"]),
          allow("meta protocol ip", "ip saddr", four),
          ...(six.length === 0
            ? ["meta protocol ip6 drop"]
            : [
                "ip6 saddr :: icmpv6 type { nd-neighbor-solicit, nd-router-solicit, mld2-listener-report } accept",
                allow("meta protocol ip6", "ip6 saddr", near),
                // The address that is spoken for: behind type, code, checksum and flags (RFC 4861, 4.4).
                `icmpv6 type nd-neighbor-advert @th,64,128 != ${set(near.map(hexOf))} drop`,
              ]),
          "meta protocol != { ip, arp, ip6 } drop",
        ]),
  ];
}

/** The 128 bits of an IPv6 address, as a number. */
function hexOf(address: string): string {
  // An IPv4 address at the end stands for two groups.
  const text = address.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, ...bytes: string[]) =>
    [0, 2].map((at) => (Number(bytes[at]) * 256 + Number(bytes[at + 1])).toString(16)).join(":"),
  );
  const [before = "", after] = text.split("::");
  const groups = (part: string | undefined) => (part ? part.split(":") : []);
  const [left, right] = [groups(before), groups(after)];
  const zeros = new Array<string>(8 - left.length - right.length).fill("0");
  return `0x${[...left, ...zeros, ...right].map((group) => group.padStart(4, "0")).join("")}`;
}

const chain = (name: string, head: string, rules: readonly string[]): string[] =>
  rules.length === 0
    ? []
    : [`  chain ${name} {`, `    type ${head}; policy accept;`, ...rules.map((rule) => `    ${rule}`), "  }"];

/** What was there under this name is replaced, in one step. */
const tableOf = (family: string, table: string, chains: readonly string[]): string =>
  [
    `add table ${family} ${table}`,
    `delete table ${family} ${table}`,
    `table ${family} ${table} {`,
    ...chains,
    "}",
    "",
  ].join("\n");

/** A table for what comes from inside; undefined where all of it may come. */
export function filterTable(table: string, cables: readonly FilteredCable[]): Value<string> | undefined {
  const filtered = cables.filter(({ cable }) => cable.antispoof || cable.bandwidth !== undefined);
  const [first] = filtered;
  if (first === undefined) return undefined;
  const chains = filtered.flatMap((one, index) =>
    chain(`from${index}`, `filter hook ingress device "${one.host}" priority -500`, [
      ...(one.cable.bandwidth === undefined
        ? []
        : [
            `limit rate over ${one.cable.bandwidth} bytes/second burst ${Math.max(65_536, Math.ceil(one.cable.bandwidth / 10))} bytes drop`,
          ]),
      ...(one.cable.antispoof ? spoofRules(one) : []),
    ]),
  );
  return { value: tableOf("netdev", table, chains), origin: first.cable.origin };
}

const isLoopback = (address: string): boolean => address.startsWith("127.");
const isAny = (address: string): boolean => address === "0.0.0.0" || address === "::";

/** The origin of a wish for that the host hands on packets of a family; undefined where there is none. */
export const needsForwarding = (
  cables: readonly Cable[],
  publish: readonly Publish[],
  six: boolean,
): string | undefined =>
  cables.find(({ nat, host }) => nat && host.some((one) => isSix(one) === six))?.origin ??
  publish.find(({ address }) => isSix(address) === six && !isLoopback(address))?.origin;

/** The origin of a port that is published on the host's loopback address, alone or among others. */
export const needsLoopbackRoutes = (publish: readonly Publish[]): string | undefined =>
  publish.find(({ address }) => isLoopback(address) || address === "0.0.0.0")?.origin;

/** Where a published port leads: throws E_CONFLICT where no cable has an address of its family. */
function targetOf(port: Publish, cables: readonly FilteredCable[]): { address: string; via: string } {
  const six = isSix(port.address);
  if (port.address === "::1")
    throw new Failure("E_CONFLICT", "IPv6 leads nothing on from the loopback address", {
      where: port.origin,
      mend: "publish it on 127.0.0.1, or on an address of the host",
    });
  for (const { cable, via } of cables) {
    const address = cable.addresses.map(bare).find((one) => isSix(one) === six);
    if (address !== undefined) return { address, via };
  }
  throw new Failure("E_CONFLICT", `no cable has an IPv${six ? 6 : 4} address to which a port could lead`, {
    where: port.origin,
    mend: "give one to a cable: address=ADDRESS/PREFIX",
  });
}

function publishRule(port: Publish, cables: readonly FilteredCable[]): string {
  const { address } = targetOf(port, cables);
  const six = isSix(address);
  const family = six ? "ip6" : "ip";
  const to = six ? `[${address}]` : address;
  // `nfproto` keeps the rule of a family off the packets of the other.
  const where = isAny(port.address) ? `meta nfproto ${six ? "ipv6" : "ipv4"}` : `${family} daddr ${port.address}`;
  return `${where} fib daddr type local ${port.protocol} dport ${port.host} dnat ${family} to ${to}:${port.inside}`;
}

/** A table for translated networks and published ports; undefined where there are none. */
export function natTable(
  table: string,
  cables: readonly FilteredCable[],
  publish: readonly Publish[],
): Value<string> | undefined {
  const translated = cables.filter(({ cable }) => cable.nat);
  const origin = translated[0]?.cable.origin ?? publish[0]?.origin;
  if (origin === undefined) return undefined;
  const networks = translated.flatMap(({ cable, via }) => cable.host.map((network) => ({ network, via })));
  const family = (network: string) => (isSix(network) ? "ip6" : "ip");
  const targets = publish.map((port) => ({ port, ...targetOf(port, cables) }));
  const local = [...new Set(targets.filter(({ port }) => !isSix(port.address)).map(({ via }) => via))];
  const out = [
    ...networks.map(({ network, via }) => `${family(network)} saddr ${network} oifname != "${via}" masquerade`),
    // From the host's loopback address, or from a neighbour by way of the host: the answer has to come back to it.
    ...local.map((via) => `oifname "${via}" ip saddr 127.0.0.0/8 masquerade`),
    ...networks.map(
      ({ network, via }) => `${family(network)} saddr ${network} oifname "${via}" ct status dnat masquerade`,
    ),
  ];
  const rules = publish.map((port) => publishRule(port, cables));
  // What routes to the loopback address opens (route_localnet) is for answers alone.
  const guards = needsLoopbackRoutes(publish) === undefined ? [] : local;
  return {
    value: tableOf("inet", table, [
      ...chain(
        "guard",
        "filter hook prerouting priority raw",
        guards.map((via) => `iifname "${via}" ip daddr 127.0.0.0/8 drop`),
      ),
      ...chain("in", "nat hook prerouting priority dstnat", rules),
      ...chain("local", "nat hook output priority -100", rules),
      ...chain("out", "nat hook postrouting priority srcnat", [...new Set(out)]),
    ]),
    origin,
  };
}
