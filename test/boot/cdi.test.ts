/** What CDI specs mean, which of them counts, and what is said of hostile and broken ones. */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Failure } from "../../src/base/errors.ts";
import { parseDeviceName, readSpec } from "../../src/boot/cdi.ts";
import { findDevices, readSpecs } from "../../src/boot/cdi-files.ts";
import { lower } from "../../src/boot/lower.ts";
import { gatherNodes } from "../../src/boot/node-facts.ts";
import { readVisibleDevices, visibleDevices } from "../../src/boot/nvidia.ts";
import { cdiParts, readDeviceWish } from "../../src/boot/read-devices.ts";
import { must } from "../support/command.ts";
import { tempDirectory } from "../support/temp.ts";

type Json = Record<string, unknown>;

const spec = (edits: Json, rest: Json = {}): Json => ({
  cdiVersion: "0.6.0",
  kind: "vendor.com/thing",
  devices: [{ name: "one", containerEdits: edits }],
  ...rest,
});

const name = (text: string) => parseDeviceName(text) ?? assert.fail(text);

const partsOf = (value: Json) => {
  const read = readSpec(value, "/etc/cdi/a.json");
  return cdiParts(read.devices.map((device) => ({ spec: read, device })));
};

/** The Failure that `act` throws, in one line: what, and where. */
function saidBy(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    assert.ok(error instanceof Failure, String(error));
    return `${error.code} ${error.what} @ ${error.where}`;
  }
  return "nothing";
}

test("edits of spec and device become parts of a start, with their origins", () => {
  const parts = partsOf(
    spec(
      {
        env: ["A=b=c"],
        deviceNodes: [
          { path: "/dev/x", hostPath: "/dev/null", type: "c", major: 1, minor: 3, permissions: "rw", uid: 0 },
        ],
        mounts: [
          { hostPath: "/a b", containerPath: "/lib/c d", options: ["ro", "nosuid", "rprivate", "rbind"] },
          { hostPath: "tmpfs", containerPath: "/scratch", type: "tmpfs", options: ["size=1m"] },
        ],
        hooks: [{ hookName: "createContainer", path: "/bin/hook", args: ["hook", "x"], env: ["E=1"], timeout: 3 }],
        additionalGids: [44],
      },
      { containerEdits: { env: ["SPEC=1"] } },
    ),
  );
  const origin = "cdi /etc/cdi/a.json:one";
  assert.deepEqual(parts.environment, [
    { name: "SPEC", value: "1", origin: "cdi /etc/cdi/a.json" },
    { name: "A", value: "b=c", origin },
  ]);
  assert.deepEqual(parts.nodes, [{ path: "/dev/x", hostPath: "/dev/null", type: "c", major: 1, minor: 3, origin }]);
  const [bind, tmpfs] = parts.mounts;
  assert.deepEqual(
    [bind?.type, bind?.source, bind?.target, bind?.set, bind?.recursive, bind?.create, bind?.origin],
    ["bind", "/a b", "/lib/c d", ["ro", "nosuid"], true, "auto", origin],
  );
  assert.deepEqual([tmpfs?.type, tmpfs?.target, tmpfs?.data], ["tmpfs", "/scratch", ["size=1m"]]);
  assert.deepEqual(parts.runtimeHooks, [
    { path: "/bin/hook", args: ["hook", "x"], env: ["E=1"], timeout: 3, origin: `${origin}, createContainer` },
  ]);
  assert.deepEqual(parts.deviceGroups, [44]);
});

const EDITS = "devices\\[0\\]\\.containerEdits\\.";

for (const [about, value, said] of [
  ["no object", [], /is no object/],
  ["no version", { kind: "a.b/c" }, /cdiVersion: is missing/],
  ["a version of the future", spec({}, { cdiVersion: "2.0.0" }), /cdiVersion: "2\.0\.0"/],
  ["no kind", { ...spec({}), kind: undefined }, /kind: is missing/],
  ["a kind with a path", spec({}, { kind: "vendor.com/../thing" }), /kind: /],
  ["an unknown field", spec({ mount: [] }), /devices\[0\]\.containerEdits: the field "mount" is unknown/],
  ["__proto__", JSON.parse('{"__proto__":{"kind":"a/b"},"cdiVersion":"1.0.0"}'), /the field "__proto__" is unknown/],
  ["no devices", spec({}, { devices: [] }), /devices: there is none/],
  ["devices that are no list", spec({}, { devices: {} }), /devices: is no list/],
  ["a device twice", spec({}, { devices: [{ name: "a" }, { name: "a" }] }), /the device "a" is there twice/],
  ["a name with a slash", spec({}, { devices: [{ name: "a/b" }] }), /devices\[0\]\.name: /],
  ["a variable without =", spec({ env: ["A"] }), new RegExp(`${EDITS}env\\[0\\]: "A"`)],
  ["NUL in a variable", spec({ env: ["A=\0"] }), new RegExp(`${EDITS}env\\[0\\]: holds a NUL`)],
  ["a node without path", spec({ deviceNodes: [{}] }), new RegExp(`${EDITS}deviceNodes\\[0\\]\\.path: is missing`)],
  ["a node that leads upwards", spec({ deviceNodes: [{ path: "/dev/../etc/x" }] }), /path: .* leads upwards/],
  ["a host's node that does", spec({ deviceNodes: [{ path: "/dev/x", hostPath: "/dev/../x" }] }), /hostPath: .* leads/],
  ["a relative node", spec({ deviceNodes: [{ path: "dev/x" }] }), /no absolute path/],
  ["NUL in a node", spec({ deviceNodes: [{ path: "/dev/x\0y" }] }), /holds a NUL/],
  ["a pipe", spec({ deviceNodes: [{ path: "/dev/x", type: "p" }] }), /type: a device of type "p"/],
  ["a negative number", spec({ deviceNodes: [{ path: "/dev/x", major: -1 }] }), /major: is no whole number/],
  ["other permissions", spec({ deviceNodes: [{ path: "/dev/x", permissions: "rx" }] }), /permissions: "rx"/],
  ["a mount upwards", spec({ mounts: [{ hostPath: "/a", containerPath: "/../a" }] }), /containerPath: .*upwards/],
  ["a mount of nothing", spec({ mounts: [{ containerPath: "/a" }] }), /mounts\[0\]\.hostPath: is missing/],
  ["a hook of another kind", spec({ hooks: [{ hookName: "late", path: "/x" }] }), /hookName: there is no hook "late"/],
  ["a relative hook", spec({ hooks: [{ hookName: "prestart", path: "x" }] }), /hooks\[0\]\.path: /],
  ["a group that is none", spec({ additionalGids: ["x"] }), /additionalGids\[0\]/],
] as const) {
  test(`a spec with ${about} is refused, with its place`, () => {
    const words = saidBy(() => readSpec(value, "/etc/cdi/a.json"));
    assert.match(words, /^E_CDI .* @ \/etc\/cdi\/a\.json$/s);
    assert.match(words, said);
  });
}

for (const [about, edits, said] of [
  ["intelRdt", { intelRdt: { closID: "x" } }, /asks for intelRdt/],
  ["netDevices", { netDevices: [{ hostInterfaceName: "eth0", name: "eth0" }] }, /asks for netDevices/],
  ["a hook inside", { hooks: [{ hookName: "startContainer", path: "/x" }] }, /startContainer cannot be had/],
  ["a hook at the end", { hooks: [{ hookName: "poststop", path: "/x" }] }, /poststop cannot be had/],
  ["a relative source", { mounts: [{ hostPath: "etc", containerPath: "/etc" }] }, /no absolute path: etc/],
] as const) {
  test(`what cannot be had is refused when the device is asked for: ${about}`, () => {
    assert.match(
      saidBy(() => partsOf(spec(edits))),
      said,
    );
    assert.match(
      saidBy(() => partsOf(spec(edits))),
      /^E_CONFLICT .* @ cdi \/etc\/cdi\/a\.json:one$/,
    );
  });
}

test("mounts that would share with the host, or that nobody understands, are refused", () => {
  for (const option of ["rshared", "bogus"]) {
    const mounts = [{ hostPath: "/a", containerPath: "/a", options: ["bind", option] }];
    assert.match(
      saidBy(() => partsOf(spec({ mounts }))),
      new RegExp(`${option}.*@ cdi`),
    );
  }
});

test("directories: the later one goes before; two specs of one directory are a conflict; `all` is every device", async (t) => {
  const temp = tempDirectory(t);
  const [first, second] = [join(temp, "etc"), join(temp, "run")];
  for (const directory of [first, second]) mkdirSync(directory);
  const write = (file: string, devices: string[], mark: string) =>
    writeFileSync(
      file,
      JSON.stringify(
        spec({}, { devices: devices.map((each) => ({ name: each, containerEdits: { env: [`MARK=${mark}`] } })) }),
      ),
    );
  write(join(first, "a.json"), ["one", "two"], "low");
  write(join(second, "b.json"), ["one"], "high");
  writeFileSync(join(first, "notes.txt"), "no spec");
  const find = async (text: string) =>
    findDevices(await readSpecs([first, second, join(temp, "missing")]), name(text), "--device").map(
      ({ device }) => `${device.name} ${device.edits.env}`,
    );
  assert.deepEqual(await find("vendor.com/thing=one"), ["one MARK=high"]);
  assert.deepEqual(await find("vendor.com/thing=all"), ["one MARK=high", "two MARK=low"]);
  await assert.rejects(find("vendor.com/thing=three"), { code: "E_NOT_FOUND", mend: /vendor\.com\/thing=two/ });
  write(join(second, "c.json"), ["one"], "other");
  await assert.rejects(find("vendor.com/thing=one"), { code: "E_CONFLICT", mend: /b\.json and .*c\.json/ });
  assert.deepEqual(await find("vendor.com/thing=two"), ["two MARK=low"]);
});

test("files that are no specs: each is named, none is waited for, none takes the memory", async (t) => {
  const temp = tempDirectory(t);
  const bombs = `a: &a [x,x,x,x,x,x,x,x,x]\n${"bcdefghi".replace(/./g, (letter) => `${letter}: &${letter} [${`*${String.fromCharCode(letter.charCodeAt(0) - 1)},`.repeat(9)}]\n`)}`;
  writeFileSync(join(temp, "bomb.yaml"), bombs);
  writeFileSync(join(temp, "broken.json"), '{"cdiVersion": ');
  writeFileSync(join(temp, "huge.json"), Buffer.alloc((8 << 20) + 1, " "));
  writeFileSync(join(temp, "tag.yaml"), "!!js/function 'x'\n");
  symlinkSync("loop.json", join(temp, "loop.json"));
  mkdirSync(join(temp, "directory.json"));
  await must(["mkfifo", join(temp, "pipe.yaml")]);
  writeFileSync(
    join(temp, "good.yaml"),
    'cdiVersion: "0.3.0"\nkind: a.b/c\ndevices:\n- name: "0"\n  containerEdits: {}\n',
  );
  const specs = await readSpecs([temp]);
  assert.deepEqual(
    specs.found.map((each) => each.spec.kind),
    ["a.b/c"],
  );
  assert.deepEqual(specs.broken.map(({ where }) => where?.split("/").at(-1)).sort(), [
    "bomb.yaml",
    "broken.json",
    "directory.json",
    "huge.json",
    "loop.json",
    "pipe.yaml",
    "tag.yaml",
  ]);
});

test("nodes are looked at: what is no device, is not there, or is another than the spec says, is refused", () => {
  const look = (hostPath: string, rest: object = {}) =>
    saidBy(() => gatherNodes([{ hostPath, path: "/dev/x", origin: "--device", ...rest }]));
  assert.deepEqual(
    gatherNodes([{ hostPath: "/dev/null", path: "/dev/x", origin: "", type: "c", major: 1, minor: 3 }]),
    {
      "/dev/null": { path: "/dev/null", type: "c", major: 1, minor: 3 },
    },
  );
  assert.match(look("/etc/passwd"), /E_CONFLICT \/etc\/passwd is no device @ --device/);
  assert.match(look("/dev/not-there"), /E_NOT_FOUND .*\/dev\/not-there.* @ --device/);
  assert.match(look("/dev/zero", { major: 1, minor: 3 }), /\/dev\/zero is c 1:5, not c 1:3/);
  assert.match(look("/dev/zero", { type: "b" }), /\/dev\/zero is c 1:5, not b/);
});

test("a device is not shown among the kernel's files, nor under a new name in the host's own /dev", () => {
  const file = (name: string) => join(import.meta.dirname, "cases/run-devices-as-user", name);
  const [intent, facts] = ["input.json", "facts.json"].map((name) => JSON.parse(readFileSync(file(name), "utf8")));
  const planned = (path: string, devices: string) =>
    saidBy(() =>
      lower(
        {
          ...intent,
          nodes: [{ hostPath: "/dev/fuse", path, origin: "--device" }],
          devices: { value: devices, origin: "enroot" },
        },
        facts,
      ),
    );
  for (const path of ["/proc/kcore", "/sys", "/sys/x"])
    assert.match(planned(path, "fresh"), /^E_CONFLICT the device \/dev\/fuse cannot be shown as .* @ --device$/);
  assert.match(planned("/dev/other", "host"), /^E_CONFLICT/);
  assert.equal(planned("/dev/fuse", "host"), "nothing");
  assert.equal(planned("/dev/other", "fresh"), "nothing");
});

test("--device: paths of nodes, names of specs, and what is neither", () => {
  assert.deepEqual(readDeviceWish("/dev/fuse"), { kind: "node", hostPath: "/dev/fuse", path: "/dev/fuse" });
  assert.deepEqual(readDeviceWish("/dev/a:/dev/b:rwm"), { kind: "node", hostPath: "/dev/a", path: "/dev/b" });
  assert.deepEqual(readDeviceWish("/dev/a:rw"), { kind: "node", hostPath: "/dev/a", path: "/dev/a" });
  assert.deepEqual(readDeviceWish("nvidia.com/gpu=0:1"), {
    kind: "cdi",
    name: { kind: "nvidia.com/gpu", device: "0:1" },
  });
  for (const text of ["", "fuse", "/dev/../etc/x", "/dev/a:/dev/b:x", "/dev/a:/b:r:w", "gpu=0", "a/b=", "/dev/a\0b"])
    assert.match(
      saidBy(() => readDeviceWish(text)),
      /^E_USAGE/,
      text,
    );
});

test("NVIDIA_VISIBLE_DEVICES: the caller's goes first, the last of the container's counts; void, none and nothing are none", () => {
  const variables = ["void", "0,1"].map((value, at) => ({ name: "NVIDIA_VISIBLE_DEVICES", value, origin: `${at}` }));
  assert.equal(visibleDevices({}, variables)?.value, "0,1");
  assert.equal(visibleDevices({ NVIDIA_VISIBLE_DEVICES: "" }, variables)?.value, "");
  assert.equal(visibleDevices({}, []), undefined);
  const read = (value: string) =>
    readVisibleDevices({ name: "", value, origin: "--env" }).map(({ kind, device }) => `${kind}=${device}`);
  for (const value of ["", "void", "none"]) assert.deepEqual(read(value), []);
  assert.deepEqual(read("all"), ["nvidia.com/gpu=all"]);
  assert.deepEqual(read("0,GPU-1-a,0:1"), ["nvidia.com/gpu=0", "nvidia.com/gpu=GPU-1-a", "nvidia.com/gpu=0:1"]);
  assert.deepEqual(read("nvidia.com/gds=2"), ["nvidia.com/gds=2"]);
  assert.match(
    saidBy(() => read("0;x")),
    /^E_USAGE .* @ --env$/,
  );
});
