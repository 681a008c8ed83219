/** The reader of subhosts' configurations: the format, the defaults, and every mistake at once. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type HostLook, readSubhost } from "../../src/boot/read-subhost.ts";
import { parseConf } from "../../src/boot/subhost-conf.ts";

const PATH = "/opt/subhost/demo/demo.conf";

const look = (missing: readonly string[] = [], apart: readonly string[] = []): HostLook => ({
  kind: (path) => (missing.includes(path) ? undefined : "directory"),
  real: (path) => path,
  mountOf: (path) => (apart.includes(path) ? "2" : "1"),
  hasInterface: (name) => name === "br0",
  names: () => ["ssh_host_rsa_key", "sshd_config"],
});

const read = (text: string, host = look()) => readSubhost(parseConf(text, PATH), host);

test("values are trimmed, other lines are comments, an empty value is none at all", () => {
  const { assignments, mistakes, remarks } = parseConf(
    "# BASE=no\n BASE=no\nBASE =no\nBASE=  . \t\nSTART=\nLOWER=! echo  base \nSHARE=!x\nSHARE=/y\nbase=x\nprose = this\n",
    PATH,
  );
  assert.deepEqual(mistakes, []);
  assert.deepEqual(
    assignments.map(({ name, value, command, origin }) => [name, value, command, origin.replace(/.*:/, "")]),
    [
      ["BASE", ".", false, "4"],
      ["LOWER", "echo  base", true, "6"],
      ["SHARE", "!x", false, "7"],
      ["SHARE", "/y", false, "8"],
    ],
  );
  assert.equal(remarks.length, 2);
});

test("what is not given has overlay-boot's defaults", () => {
  const { subhost, mistakes } = read("BASE=.\n");
  assert.deepEqual(mistakes, []);
  assert.ok(subhost !== undefined);
  const { name, live, upper, work, lower, ramSize, init, variant, log } = subhost;
  assert.deepEqual(
    [name.value, live.value, upper.value, work.value, lower.value.name, ramSize?.value, variant, log],
    ["demo", ...["live", "root", "work"].map((part) => `/opt/subhost/demo/${part}`), "/", "50M", "overlay", undefined],
  );
  assert.deepEqual(init.value, { kind: "services", names: ["networking", "ssh"] });
});

test("UPPER, LOWER and LIVE decide which of the three roots it is", () => {
  const variant = (text: string) => read(`BASE=.\n${text}`).subhost?.variant;
  assert.equal(variant("LOWER=root\n"), "bind");
  assert.equal(variant("LOWER=/opt/subhost/demo/root/\n"), "bind");
  assert.equal(variant("LOWER=live\nUPPER=live\n"), "as-is");
  assert.equal(variant("LOWER=image:debian:12\n"), "overlay");
});

test("overlay-boot's own programs, where they are named, are built in", () => {
  const own = [
    "INIT=/var/lib/overlay-boot/overlay-init",
    "PREMOUNT=overlay-premount",
    "POSTMOUNT=/var/lib/overlay-mount/overlay-postmount",
  ];
  const { subhost } = read(`BASE=.\n${own.join("\n")}\n`);
  assert.deepEqual(
    [subhost?.init.value.kind, subhost?.premount, subhost?.postmount],
    ["services", undefined, undefined],
  );
});

test("every mistake is named at once, each with its line and a mend", () => {
  const text = [
    "NAME=much-too-long-a-name",
    "BASE=.",
    "STRAT=ssh",
    "UPPER=missing",
    "RAM_SIZE=lots",
    "START=ssh ../../bin/sh",
    "SHARE=/../etc",
    "SHARE=/gone",
    "RAM_SIZE=5M",
    "INIT_SYSTEM=init",
    "INIT=x",
    "STOP_TIMEOUT=soon",
  ];
  const { mistakes } = read(`${text.join("\n")}\n`, look(["/opt/subhost/demo/missing", "/gone"]));
  const lines = mistakes.map(({ where }) => Number(where.slice(PATH.length + 1)));
  assert.deepEqual(lines, [1, 3, 4, 5, 7, 8, 9, 10, 10, 12], "in the order of the file");
  for (const { mend, what } of mistakes) assert.ok(mend !== "" && what !== "");
  assert.match(mistakes.find(({ where }) => where.endsWith(":3"))?.mend ?? "", /did you mean START/);
});

test("a service is a name, BASE is needed, and WORK lies on the mount of UPPER but not in it", () => {
  const wrong = (text: string, host = look()) => read(text, host).mistakes.map(({ what }) => what);
  assert.match(wrong("BASE=.\nSTART=ssh ../x\n").join(), /no service/);
  assert.match(wrong("NAME=x\n").join(), /BASE is not set/);
  assert.match(wrong("BASE=.\n", look(["/opt/subhost/demo"])).join(), /BASE is no directory/);
  assert.match(wrong("BASE=.\n", look([], ["/opt/subhost/demo/work"])).join(), /different mounts/);
  assert.match(wrong("BASE=.\nWORK=root/work\n").join(), /in one another/);
  assert.match(wrong("BASE=.\nUPPER=/\nLOWER=x\n").join(), /host's own root/);
  assert.deepEqual(wrong("BASE=.\nLOWER=root\nWORK=root/work\n"), [], "a bind has no WORK");
});

test("the host's secrets are hidden below LOWER=/, others where HIDE names them", () => {
  const hidden = (text: string) => read(`BASE=.\n${text}`).subhost?.hide.map(({ path }) => path) ?? [];
  for (const path of ["/etc/shadow", "/root", "/etc/ssh/ssh_host_rsa_key"]) assert.ok(hidden("").includes(path));
  assert.deepEqual(hidden("HIDE=none\n"), []);
  assert.deepEqual(hidden("LOWER=base\n"), []);
  assert.deepEqual(hidden("LOWER=base\nHIDE=/srv/a /home\n"), ["/srv/a", "/home"]);
  assert.ok(hidden("HIDE=/srv/a\n").includes("/root"));
  assert.match(read("BASE=.\nHIDE=/a/../b\n").mistakes[0]?.what ?? "", /HIDE cannot be/);
  assert.match(read("BASE=.\nLOWER=root\nHIDE=/a\n").mistakes[0]?.what ?? "", /needs an overlay/);
});

test("USERNS is a map, and has no hooks", () => {
  const userns = (text: string) => read(`BASE=.\n${text}`).subhost?.userns?.value;
  assert.deepEqual([userns(""), userns("USERNS=no\n"), userns("USERNS=yes\n")], [undefined, undefined, "subids"]);
  assert.deepEqual(userns("USERNS=0:200000:65536\n"), {
    uids: [{ inside: 0, outside: 200000, count: 65536 }],
    gids: [{ inside: 0, outside: 200000, count: 65536 }],
  });
  const wrong = read("BASE=.\nUSERNS=maybe\nPOSTMOUNT=x\nWORK=/elsewhere\n").mistakes;
  assert.deepEqual(wrong.map(({ where }) => Number(where.slice(PATH.length + 1))).sort(), [2, 3, 4]);
});

test("words about the network are read with the rest, and their mistakes are among the others", () => {
  const { subhost, mistakes } = read(
    "BASE=.\nCABLES= = br0=02:00:00:00:00:07 =.302\nADDRESS=10.9.0.2/24 -\nMTU=1400\n",
  );
  assert.deepEqual(mistakes, []);
  const { name, cables } = subhost?.network.cables ?? { cables: [] };
  assert.deepEqual(
    [name?.value, ...cables.map(({ bridge, mac, vlans, mtu }) => [bridge, mac, vlans, mtu])],
    ["demo", [undefined, undefined, [], 1400], ["br0", "02:00:00:00:00:07", [302], 1400]],
  );
  const wrong = read("BASE=.\nCABLES=eth br9= =0g:00 = =.4095\nNAT=maybe\n").mistakes;
  assert.deepEqual(
    wrong.map(({ where }) => Number(where.slice(PATH.length + 1))),
    [2, 2, 2, 2, 3],
  );
});

test("what a command will print is not checked before it runs", () => {
  const { mistakes, subhost } = read(
    "BASE=.\nUPPER=!echo up\nWORK=!echo w\nLOWER=!echo low\nRAM_SIZE=!echo 5M\nNAME=!echo n\nUSERNS=yes\n",
    look([]),
  );
  assert.deepEqual(mistakes, []);
  const { upper, work, lower } = subhost ?? {};
  assert.deepEqual([upper?.value, work?.value, lower?.value.name], ["!echo up", "!echo w", "!echo low"]);
});
