/**
 * Virtual cables between the host and a network namespace of the container's own: from words to what is asked for. The
 * words are overlay-boot's `[BRIDGE]=[MAC|.VLAN]`; what follows a comma goes beyond them. Pure.
 */
import { Failure } from "../base/errors.ts";
import type { Value } from "./intent.ts";
import { type Publish, readPublish } from "./network.ts";

/** A veth pair: NAMEn on the host, ethn inside. */
export interface Cable {
  readonly origin: string;
  /** A bridge of the host that the host end becomes a port of. */
  readonly bridge?: string;
  /** MAC address of the inner end; the kernel's choice where it is not said. */
  readonly mac?: string;
  /** Numbers of VLANs that the host end has interfaces for. */
  readonly vlans: readonly number[];
  /** Of the inner end, ADDRESS/PREFIX. */
  readonly addresses: readonly string[];
  /** Default routes inside, one of each family at most. */
  readonly gateways: readonly string[];
  /** Of the host, ADDRESS/PREFIX: on the bridge, which is made where there is none, or on the host end. */
  readonly host: readonly string[];
  /** The host translates what goes on from there to other networks. */
  readonly nat?: true;
  /** Frames from inside that carry another MAC or IP address are dropped. */
  readonly antispoof?: true;
  readonly mtu?: number;
  /** Bytes a second, each way. */
  readonly bandwidth?: number;
}

export interface Cables {
  /** Of the network namespace and the interfaces; where it is not said, the start's own. */
  readonly name?: Value<string>;
  readonly cables: readonly Cable[];
  /** Addresses of name servers, for an /etc/resolv.conf of the container's own. */
  readonly resolver?: Value<readonly string[]>;
}

/** What of a conf is about cables, as it is written there; beyond the man page all but CABLES. */
export interface CableWords {
  readonly cables?: Value<string>;
  /** Blank-separated, the n-th for the n-th cable: ADDRESS/PREFIX, several joined by commas, `-` for none. */
  readonly address?: Value<string>;
  readonly gateway?: Value<string>;
  /** The host's addresses on the n-th cable's bridge or host end. */
  readonly hostAddress?: Value<string>;
  /** The n-th for the n-th cable; a single one is for all. */
  readonly mtu?: Value<string>;
  readonly bandwidth?: Value<string>;
  /** yes or no, for all. */
  readonly nat?: Value<string>;
  readonly antispoof?: Value<string>;
  /** Addresses of name servers. */
  readonly resolver?: Value<string>;
  readonly publish?: Value<string>;
}

/** A cable while it is read; keys such as `address`, each with its values in order. */
interface Draft {
  readonly origin: string;
  readonly bridge: string;
  mac?: string;
  readonly vlans: number[];
  readonly keys: Map<string, Value<string>[]>;
}

const mistake = (what: string, where: string, mend: string): Failure => new Failure("E_USAGE", what, { where, mend });
/** Of a subhost: with a number behind it, it names interfaces; alone, a network namespace and tables of nftables. */
export const isCableName = (name: string): boolean => /^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,11}$/.test(name);

const quote = (text: string): string => JSON.stringify(text);

const MAC = /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i;
/** IFNAMSIZ less the NUL, and no character that the kernel or nft(8) gives a meaning. */
const INTERFACE = /^[A-Za-z0-9_][A-Za-z0-9_.+@-]{0,14}$/;

/** The lowest bit of the first byte is that of groups (IEEE 802). */
const isOwnMac = (mac: string): boolean => Number.parseInt(mac.slice(0, 2), 16) % 2 === 0 && !/^(00:){5}00$/.test(mac);

const KEYS: Readonly<Record<string, "flag" | "one" | "many">> = {
  address: "many",
  gateway: "many",
  host: "many",
  resolver: "many",
  mtu: "one",
  bandwidth: "one",
  nat: "flag",
  antispoof: "flag",
};

const FORM =
  "write [BRIDGE]=[MAC|.VLAN], and behind commas address=, gateway=, host=, resolver=, mtu=, bandwidth=, nat, antispoof";

/** Runs it; a Failure is kept instead of thrown, so that all mistakes are named at once. */
function collect<T>(mistakes: Failure[], read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    mistakes.push(error);
    return undefined;
  }
}

/** Reads `KEY` or `KEY=VALUE`. Throws E_USAGE. */
function readKey(text: string, draft: Draft): void {
  const at = text.indexOf("=");
  const [key, value] = at === -1 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
  const kind = KEYS[key];
  if (kind === undefined || (kind === "flag") !== (at === -1))
    throw mistake(`${quote(text)} says nothing of a cable`, draft.origin, FORM);
  const known = draft.keys.get(key) ?? [];
  if (kind !== "many" && known.length > 0)
    throw mistake(`${key} is said twice of one cable`, draft.origin, "leave out one of the two");
  draft.keys.set(key, [...known, { value, origin: draft.origin }]);
}

function readMac(text: string, origin: string): string {
  if (MAC.test(text) && isOwnMac(text.toLowerCase())) return text.toLowerCase();
  throw mistake(
    `${quote(text)} is no MAC address of an interface`,
    origin,
    "write six bytes in hexadecimal, the first one even, such as 02:00:00:00:00:01",
  );
}

/** 4095, which the man page of overlay-boot allows, is reserved (IEEE 802.1Q), and every kernel refuses it. */
function readVlan(text: string, origin: string): number {
  if (/^\.[0-9]{1,4}$/.test(text) && Number(text.slice(1)) >= 1 && Number(text.slice(1)) <= 4094)
    return Number(text.slice(1));
  throw mistake(`${quote(text)} is no number of a VLAN`, origin, "write .N with N from 1 to 4094");
}

/** Adds what one word asks for. Throws E_USAGE for a word that is no cable; mistakes within one are collected. */
function readWord(word: string, origin: string, drafts: Draft[], mistakes: Failure[]): void {
  const at = word.indexOf("=");
  if (at === -1) throw mistake(`${quote(word)} is no cable: it has no =`, origin, FORM);
  const bridge = word.slice(0, at);
  const [end = "", ...keys] = word.slice(at + 1).split(",");
  if (bridge !== "" && !INTERFACE.test(bridge))
    throw mistake(
      `${quote(bridge)} is no name of an interface`,
      origin,
      "use at most 15 letters, digits, and _ . + @ - behind the first",
    );
  if (end.startsWith(".")) {
    const vlan = readVlan(end, origin);
    const prior = drafts.at(-1);
    if (prior === undefined || bridge !== "" || keys.length > 0)
      throw mistake(
        `${quote(word)} has no cable of its own`,
        origin,
        "write =.N alone, behind the cable that it belongs to",
      );
    if (prior.vlans.includes(vlan))
      throw mistake(`the VLAN ${vlan} is there twice`, origin, "leave out one of the two");
    prior.vlans.push(vlan);
    return;
  }
  const draft: Draft = { origin, bridge, vlans: [], keys: new Map() };
  drafts.push(draft);
  const mac = end === "" ? undefined : collect(mistakes, () => readMac(end, origin));
  if (mac !== undefined) draft.mac = mac;
  for (const key of keys) collect(mistakes, () => readKey(key, draft));
}

const net = () => process.getBuiltinModule("node:net");

/** ADDRESS/PREFIX, as the kernel takes it. Throws E_USAGE. */
function readNetwork(text: string, origin: string): string {
  const [, address = "", prefix = ""] = /^([0-9a-fA-F.:]+)\/([0-9]{1,3})$/.exec(text) ?? [];
  const family = net().isIP(address);
  if (family !== 0 && Number(prefix) <= (family === 4 ? 32 : 128)) return `${address.toLowerCase()}/${Number(prefix)}`;
  throw mistake(`${quote(text)} is no address with a prefix`, origin, "write it like 10.9.0.2/24 or fd00::2/64");
}

function readAddress(text: string, origin: string): string {
  if (net().isIP(text) !== 0) return text.toLowerCase();
  throw mistake(`${quote(text)} is no address`, origin, "write it like 10.9.0.1 or fd00::1");
}

/** Of IPv6 1280 is the least (RFC 8200), of IPv4 68 (RFC 791). */
function readMtu(text: string, origin: string): number {
  if (/^[0-9]{2,5}$/.test(text) && Number(text) >= 68 && Number(text) <= 65_535) return Number(text);
  throw mistake(`${quote(text)} is no MTU`, origin, "write a number of bytes from 68 to 65535");
}

const BITS: Readonly<Record<string, number>> = { "": 1, k: 1e3, m: 1e6, g: 1e9 };
/** Bytes a second: with less, not even one frame passes in time; more does not fit the kernel's field. */
const BANDWIDTH = { least: 1000, most: 2 ** 32 - 1 } as const;

/** Bits a second, as networks count: `10m` is 1,250,000 bytes a second. */
function readBandwidth(text: string, origin: string): number {
  const [, number = "x", unit = ""] = /^([0-9]+(?:\.[0-9]+)?)([kmg]?)(?:bit)?$/i.exec(text) ?? [];
  const bytes = Math.floor((Number(number) * (BITS[unit.toLowerCase()] ?? Number.NaN)) / 8);
  if (bytes >= BANDWIDTH.least && bytes <= BANDWIDTH.most) return bytes;
  throw mistake(`${quote(text)} is no bandwidth`, origin, "write bits a second, such as 500k, 10m or 1g; 8k at least");
}

const isSix = (address: string): boolean => address.includes(":");

/** Without the prefix. */
export const bare = (network: string): string => network.slice(0, network.indexOf("/"));

/** Where none is said, the host's own address of the same family is the way out. */
function gatewaysOf(said: readonly string[], addresses: readonly string[], host: readonly string[]): string[] {
  if (said.length > 0) return said.filter((one) => one !== "none");
  const families = new Set(addresses.map(isSix));
  const first = (six: boolean) => host.find((one) => isSix(one) === six);
  return [false, true]
    .filter((six) => families.has(six))
    .map(first)
    .filter((one) => one !== undefined)
    .map(bare);
}

const CONTRADICTIONS: readonly ((cable: Cable) => string | undefined)[] = [
  ({ nat, host }) => (nat && host.length === 0 ? "nat needs an address of the host (host=)" : undefined),
  ({ gateways, addresses }) =>
    gateways.some((one) => !addresses.some((other) => isSix(one) === isSix(other)))
      ? "a gateway needs an address inside (address=) of the same family"
      : undefined,
  ({ gateways }) =>
    new Set(gateways.map(isSix)).size < gateways.length ? "there are two gateways of one family" : undefined,
  ({ mtu, addresses }) => (mtu && mtu < 1280 && addresses.some(isSix) ? "IPv6 needs an MTU of 1280" : undefined),
];

/** What can be read of a cable; the rest is among the mistakes. */
function finish({ origin, bridge, mac, vlans, keys }: Draft, mistakes: Failure[]): Cable {
  const read = <T>(key: string, reader: (text: string, origin: string) => T): T[] =>
    (keys.get(key) ?? [])
      .map((one) => collect(mistakes, () => reader(one.value, one.origin)))
      .filter((one) => one !== undefined);
  const addresses = read("address", readNetwork);
  const host = read("host", readNetwork);
  const said = read("gateway", (text, at) => (text === "none" ? text : readAddress(text, at)));
  const [mtu] = read("mtu", readMtu);
  const [bandwidth] = read("bandwidth", readBandwidth);
  const cable: Cable = {
    origin,
    ...(bridge === "" ? {} : { bridge }),
    ...(mac === undefined ? {} : { mac }),
    vlans,
    addresses,
    gateways: gatewaysOf(said, addresses, host),
    host,
    ...(keys.has("nat") ? { nat: true } : {}),
    ...(keys.has("antispoof") ? { antispoof: true } : {}),
    ...(mtu === undefined ? {} : { mtu }),
    ...(bandwidth === undefined ? {} : { bandwidth }),
  };
  // What could not be read contradicts nothing.
  if (mistakes.length > 0) return cable;
  for (const contradicts of CONTRADICTIONS) {
    const what = contradicts(cable);
    if (what !== undefined)
      mistakes.push(new Failure("E_CONFLICT", what, { where: origin, mend: "see docs/how-to/cables.md" }));
  }
  return cable;
}

const wordsOf = (value: Value<string> | undefined): string[] => (value?.value ?? "").split(/\s+/).filter(Boolean);

/** Gives the n-th word to the n-th cable, as `key`. */
function spread(key: string, value: Value<string> | undefined, drafts: readonly Draft[], mistakes: Failure[]): void {
  const words = wordsOf(value);
  if (value === undefined || words.length === 0) return;
  const forAll = KEYS[key] === "one" && words.length === 1;
  if (words.length > drafts.length && !forAll)
    mistakes.push(
      mistake(
        `there are ${words.length} values, and ${drafts.length} cables`,
        value.origin,
        "leave out those that are too many, or add a cable to CABLES",
      ),
    );
  drafts.forEach((draft, index) => {
    const word = forAll ? words[0] : words[index];
    if (word === undefined || word === "-") return;
    if (draft.keys.has(key))
      mistakes.push(
        mistake(`${key} of this cable is said in CABLES as well`, value.origin, "leave out one of the two"),
      );
    const values = KEYS[key] === "many" ? word.split(",") : [word];
    draft.keys.set(
      key,
      values.map((one) => ({ value: one, origin: value.origin })),
    );
  });
}

function switchOn(key: string, value: Value<string> | undefined, drafts: readonly Draft[], mistakes: Failure[]): void {
  if (value === undefined || value.value === "no" || value.value === "") return;
  if (value.value !== "yes") {
    mistakes.push(mistake(`${quote(value.value)} is neither yes nor no`, value.origin, "write yes or no"));
    return;
  }
  const meant = drafts.filter((draft) => key !== "nat" || draft.keys.has("host"));
  if (meant.length === 0)
    mistakes.push(
      mistake(`there is no cable for ${key}`, value.origin, "give one to CABLES, and for nat a host address"),
    );
  for (const draft of meant) draft.keys.set(key, [{ value: "", origin: value.origin }]);
}

function readResolver(words: CableWords, drafts: readonly Draft[], mistakes: Failure[]): Cables["resolver"] {
  const said = [
    ...wordsOf(words.resolver).map((value) => ({ value, origin: words.resolver?.origin ?? "" })),
    ...drafts.flatMap(({ keys }) => keys.get("resolver") ?? []),
  ];
  const read = said.map(({ value, origin }) => collect(mistakes, () => readAddress(value, origin)));
  const [first] = said;
  return first === undefined ? undefined : { value: read.filter((one) => one !== undefined), origin: first.origin };
}

/** What is said once for all cables is mistaken once. */
const isFirst = ({ what, where }: Failure, index: number, all: readonly Failure[]): boolean =>
  all.findIndex((other) => other.what === what && other.where === where) === index;

export interface ReadCables {
  readonly cables: Cables;
  /** Ports of the host that lead to the first cable with an address. */
  readonly publish: readonly Publish[];
  readonly mistakes: readonly Failure[];
}

/** Reads the words of a conf, and every mistake in them. */
export function readCables(words: CableWords): ReadCables {
  const mistakes: Failure[] = [];
  const drafts: Draft[] = [];
  const origin = words.cables?.origin ?? "";
  for (const word of wordsOf(words.cables)) collect(mistakes, () => readWord(word, origin, drafts, mistakes));
  spread("address", words.address, drafts, mistakes);
  spread("gateway", words.gateway, drafts, mistakes);
  spread("host", words.hostAddress, drafts, mistakes);
  spread("mtu", words.mtu, drafts, mistakes);
  spread("bandwidth", words.bandwidth, drafts, mistakes);
  switchOn("nat", words.nat, drafts, mistakes);
  switchOn("antispoof", words.antispoof, drafts, mistakes);
  const cables = drafts.map((draft) => finish(draft, mistakes));
  const resolver = readResolver(words, drafts, mistakes);
  const { publish } = words;
  const ports = wordsOf(publish)
    .map((word) => collect(mistakes, () => readPublish(word, publish?.origin)))
    .filter((one) => one !== undefined);
  return { cables: { cables, ...(resolver ? { resolver } : {}) }, publish: ports, mistakes: mistakes.filter(isFirst) };
}

/** Reads values of `--cable`, each of which is a word of CABLES. Throws the first mistake. */
export function readCableFlags(values: readonly string[]): Cables {
  const { cables, mistakes } = readCables({ cables: { value: values.join(" "), origin: "--cable" } });
  if (mistakes[0] !== undefined) throw mistakes[0];
  return cables;
}
