/** Words of cables: what is asked for, every mistake at once, and the rules that come of it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { cableMap, type IpLink, namespacesOf } from "../../src/boot/cable-map.ts";
import { dotOfCables, drawCables } from "../../src/boot/cable-picture.ts";
import { filterTable, natTable } from "../../src/boot/cable-rules.ts";
import { type CableWords, isCableName, readCableFlags, readCables } from "../../src/boot/cables.ts";
import { macOf } from "../../src/boot/lower-cables.ts";

const words = (given: Record<string, string>): CableWords =>
  Object.fromEntries(Object.entries(given).map(([key, value], at) => [key, { value, origin: `web.conf:${at + 1}` }]));

const mistakesOf = (given: Record<string, string>) =>
  readCables(words(given)).mistakes.map(({ where, what }) => `${where}: ${what}`);

test("the man page's cables", () => {
  const { cables, mistakes } = readCables(words({ cables: " =  br0=02:AB:00:00:00:01 =.302 =.7 br1= " }));
  assert.deepEqual(mistakes, []);
  assert.deepEqual(
    cables.cables.map(({ bridge = "", mac = "", vlans }) => [bridge, mac, vlans]),
    [
      ["", "", []],
      ["br0", "02:ab:00:00:00:01", [302, 7]],
      ["br1", "", []],
    ],
  );
  assert.deepEqual(readCables({}).cables.cables, []);
});

test("what goes beyond them, in words of a cable and in variables of their own", () => {
  const flags = readCableFlags([
    "br7=,address=10.9.0.2/24,address=FD00::2/64,host=10.9.0.1/24,nat,antispoof,mtu=1400,bandwidth=10m",
  ]);
  const { cables, publish, mistakes } = readCables(
    words({
      cables: "br7= =",
      address: "10.9.0.2/24,FD00::2/64 -",
      hostAddress: "10.9.0.1/24",
      nat: "yes",
      mtu: "1400 -",
      bandwidth: "10m -",
      publish: "8080:80 0.0.0.0:53:53/udp",
      resolver: "10.9.0.1 fd00::1",
    }),
  );
  assert.deepEqual(mistakes, []);
  const [first = { antispoof: true }, second] = cables.cables;
  assert.deepEqual({ ...first, antispoof: true, origin: "--cable" }, flags.cables[0]);
  assert.deepEqual(flags.cables[0]?.gateways, ["10.9.0.1"]);
  assert.equal(flags.cables[0]?.bandwidth, 1_250_000);
  assert.equal(second?.nat, undefined);
  assert.deepEqual(cables.resolver?.value, ["10.9.0.1", "fd00::1"]);
  assert.deepEqual(
    publish.map(({ host, origin }) => [host, origin]),
    [
      [8080, "web.conf:7"],
      [53, "web.conf:7"],
    ],
  );
});

test("every mistake is named at once, with its line", () => {
  const said = mistakesOf({
    cables: "=.3 x =01:00:00:00:00:00 =.4095 a/b= =,colour=red =,mtu=1,mtu=2 =,nat",
    address: "10.0.0.1 - - - - - - - -",
    mtu: "9",
    antispoof: "perhaps",
    resolver: "example.org",
    publish: "80",
    bandwidth: "x",
    nat: "yes",
  });
  assert.equal(new Set(said).size, said.length, said.join("\n"));
  const expected = [
    '1: "=.3" has no cable',
    '1: "x" is no cable',
    '1: "01:00:00:00:00:00" is no MAC',
    '1: ".4095" is no number of a VLAN',
    '1: "a/b" is no name of an interface',
    '1: "colour=red" says nothing',
    "1: mtu is said twice",
    "2: there are 9 values",
    "3: mtu of this cable is said in CABLES",
    '4: "perhaps" is neither',
    '5: "example.org" is no address',
    '6: "80" publishes nothing',
    '2: "10.0.0.1" is no address with a prefix',
    '3: "9" is no MTU',
    '7: "x" is no bandwidth',
    "8: there is no cable for nat",
  ];
  for (const one of expected)
    assert.ok(
      said.some((line) => line.startsWith(`web.conf:${one}`)),
      `${one}\n${said.join("\n")}`,
    );
  assert.deepEqual(mistakesOf({ cables: "=,nat" }), ["web.conf:1: nat needs an address of the host (host=)"]);
  assert.equal(mistakesOf({ cables: "=,gateway=10.0.0.1" }).length, 1);
  assert.equal(mistakesOf({ cables: "=,address=fd00::2/64,mtu=900" }).length, 1);
  assert.throws(() => readCableFlags(["=.302"]), /no cable of its own/);
});

test("no words make it do anything but name mistakes", () => {
  const piece = fc.constantFrom(
    ..."= , . : / - br0 302 .302 address= host=10.0.0.1/24 nat mtu= 02:00:00:00:00:01".split(" "),
    " ",
  );
  const text = fc.oneof(
    fc.string(),
    fc.array(piece, { maxLength: 12 }).map((all) => all.join("")),
  );
  const value = fc.option(
    text.map((one) => ({ value: one, origin: "x" })),
    { nil: undefined },
  );
  const variables = ["cables", "address", "gateway", "hostAddress", "mtu", "bandwidth", "nat", "resolver", "publish"];
  fc.assert(
    fc.property(fc.record(Object.fromEntries(variables.map((name) => [name, value]))), (given) => {
      const { cables, mistakes } = readCables(given as CableWords);
      for (const { code, where } of mistakes) assert.ok(where === "x" && ["E_USAGE", "E_CONFLICT"].includes(code));
      // What was read can be said to nft(8) as it is.
      for (const { bridge = "b", addresses } of cables.cables)
        assert.match([bridge, ...addresses].join(""), /^[\w.+@:/-]+$/);
    }),
  );
});

test("names of subhosts, and MAC addresses that are theirs alone", () => {
  for (const name of ["web", "a.b+c-d_", "_9", "abcdefghijkl"]) assert.ok(isCableName(name), name);
  for (const name of ["", "abcdefghijklm", ".x", "a b", "a/b", "-x"]) assert.ok(!isCableName(name), name);
  assert.match(macOf("m", "web0"), /^02(:[0-9a-f]{2}){5}$/);
  assert.equal(new Set(["web0", "web1", "db0"].map((name) => macOf("m", name))).size, 3);
  assert.notEqual(macOf("m", "web0"), macOf("n", "web0"));
});

test("rules know both families", () => {
  const [cable] = readCableFlags([
    "=,address=fd00::2/64,address=10.0.0.2/24,host=fd00::1/64,antispoof,gateway=none",
  ]).cables;
  assert.ok(cable);
  const one = { cable, host: "web0", mac: "02:00:00:00:00:01", via: "web0" };
  const { value = "" } = filterTable("t", [one]) ?? {};
  assert.match(value, /ip6 saddr != \{ fd00::2, fe80::0000:00ff:fe00:0001 \} drop/);
  assert.match(
    value,
    /@th,64,128 != \{ 0xfd000000000000000000000000000002, 0xfe80000000000000000000fffe000001 \} drop/,
  );
  const port = { protocol: "tcp", address: "::", host: 80, inside: 8080, origin: "p" } as const;
  assert.match(natTable("t", [one], [port])?.value ?? "", /nfproto ipv6 .*dport 80 dnat ip6 to \[fd00::2\]:8080/);
  assert.throws(() => natTable("t", [one], [{ ...port, address: "::1" }]), /loopback/);
  assert.equal(natTable("t", [one], []), undefined);
  const tagged = filterTable("t", [{ ...one, cable: { ...cable, vlans: [302, 7] } }])?.value ?? "";
  assert.match(tagged, /vlan id \{ 302, 7 \} accept\n +ether type \{ 8021q, 8021ad \} drop/);
  assert.doesNotMatch(value, /vlan id/);
});

const link = (given: Partial<IpLink> & Pick<IpLink, "ifindex" | "ifname">): IpLink => ({
  flags: ["UP"],
  mtu: 1500,
  operstate: "UP",
  linkinfo: { info_kind: "veth" },
  ...given,
});

test("the map is the kernel's: ends by their numbers, whatever they are called inside", () => {
  const evil = '"<b>\\x\u001b[2J';
  const links = [
    link({ ifindex: 1, ifname: "lan", linkinfo: { info_kind: "bridge" } }),
    link({ ifindex: 2, ifname: "nic", master: "lan", linkinfo: {} }),
    link({ ifindex: 3, ifname: "web0", link_index: 2, master: "lan", ifalias: "rootling-1-2 web eth0" }),
    link({
      ifindex: 4,
      ifname: "web0.7",
      link_index: 3,
      ifalias: "rootling-1-2 web eth0.7",
      linkinfo: { info_kind: "vlan" },
    }),
    link({ ifindex: 5, ifname: "db0", link_index: 2, ifalias: "rootling-1-2 db eth0", operstate: "LOWERLAYERDOWN" }),
    link({ ifindex: 6, ifname: "other", link_index: 9, ifalias: "my own" }),
  ];
  assert.deepEqual(namespacesOf(links), ["web", "db"]);
  const end = link({
    ifindex: 2,
    ifname: evil,
    link_index: 3,
    addr_info: [
      { local: "10.9.0.2", prefixlen: 24, scope: "global" },
      { local: "fe80::1", prefixlen: 64, scope: "link" },
    ],
  });
  const map = cableMap(links, new Map([["web", [end]]]));
  const [db, web] = map.cables;
  assert.deepEqual([db?.host.state, db?.inside, db?.bridge], ["down", null, null]);
  assert.deepEqual([web?.inside?.interface, web?.inside?.addresses], [evil, ["10.9.0.2/24"]]);
  assert.deepEqual(
    [web?.vlans, map.bridges[0]?.ports].map((ends) => ends?.map(({ interface: name }) => name)),
    [["web0.7"], ["nic"]],
  );
  const svg = drawCables(map);
  assert.ok(!svg.includes("<b>") && !svg.includes("\u001b") && svg.includes("web0 .7"), svg);
  assert.ok(dotOfCables(map).includes('headlabel="\\"<b>\\\\x\\\\x1b[2J 10.9.0.2/24"'), dotOfCables(map));
  assert.match(drawCables({ cables: [], bridges: [] }), /No cables/);
});
