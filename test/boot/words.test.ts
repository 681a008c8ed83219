/** Words become parts of an intent: mounts, variables, an image's configuration. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Failure } from "../../src/base/errors.ts";
import { readFstabLine, readMountFlag } from "../../src/boot/fstab.ts";
import { readPublish, usableResolver } from "../../src/boot/network.ts";
import { readFlags, readVariable } from "../../src/boot/read-flags.ts";
import { readImageConfig } from "../../src/boot/read-image.ts";
import { bindOptionalValues, newCommand } from "../../src/commands/cli.ts";

const mount = (text: string) => {
  const { type, source, target, set, clear, recursive, create, data, nofail } = readMountFlag(text, "/base");
  return [type, source, target, set.join(), clear.join(), recursive, create, data.join(), nofail].join(" ");
};

test("--mount in all its forms", () => {
  const cases: Record<string, string> = {
    "/a": "bind /a /a   true auto  false",
    "/a:/b": "bind /a /b   true auto  false",
    "./a:/b:ro": "bind /base/a /b ro  true auto  false",
    "/a:/b:bind,rw,nosuid": "bind /a /b nosuid ro false auto  false",
    "/a:/b:ro,nofail,x-create=dir": "bind /a /b ro  true dir  true",
    "/with blank:/b": "bind /with blank /b   true auto  false",
    "/a\\:b:/c": "bind /a:b /c   true auto  false",
    "tmpfs:/t:size=1m,nosuid": "tmpfs tmpfs /t nosuid  false auto size=1m false",
    "tmpfs /t": "tmpfs tmpfs /t   false auto  false",
    "tmpfs /t tmpfs size=1m": "tmpfs tmpfs /t   false auto size=1m false",
    "/a /b none rbind,defaults,ro 0 0": "bind /a /b ro  true auto  false",
    "/a\\040b /c": "bind /a b /c   true auto  false",
  };
  for (const [text, expected] of Object.entries(cases)) assert.equal(mount(text), expected, text);
});

test("a line of fstab makes nothing unless it says so", () => {
  assert.equal(readFstabLine("/a b none bind 0 0", "fstab:1", "/").create, "none");
  assert.equal(readFstabLine("/a b none bind 0 0", "fstab:1", "/").target, "/b");
  assert.equal(readFstabLine("/a /b none bind,create=file", "fstab:1", "/").create, "file");
  assert.equal(readFstabLine("/a", "fstab:1", "/").create, "auto");
});

test("what is no mount is refused with its origin", () => {
  for (const text of ["", "a", "/a:/b:ro:x", "/a:b", "/a:/b/../c", "/a:/b:size=3"]) {
    assert.throws(
      () => readMountFlag(text, "/"),
      (error: Failure) => error.code === "E_USAGE" && error.where === "--mount",
      text,
    );
  }
});

test("variables: a value, the caller's own, none", () => {
  const host = { HERE: "x=y" };
  assert.deepEqual(readVariable("A=b=c", host), [{ name: "A", value: "b=c", origin: "--env" }]);
  assert.deepEqual(readVariable("HERE", host), [{ name: "HERE", value: "x=y", origin: "--env" }]);
  assert.deepEqual(readVariable("GONE", host), []);
  assert.throws(
    () => readVariable("=x", host),
    (error: Failure) => error.code === "E_USAGE",
  );
});

test("an image's configuration decides what runs", () => {
  const command = (config: object, words: string[], entrypoint?: string) =>
    readImageConfig(config, words, entrypoint).command.value;
  assert.deepEqual(command({ Entrypoint: ["/e"], Cmd: ["c"] }, []), ["/e", "c"]);
  assert.deepEqual(command({ Entrypoint: ["/e"], Cmd: ["c"] }, ["w"]), ["/e", "w"]);
  assert.deepEqual(command({ Cmd: ["c"] }, ["w"]), ["w"]);
  assert.deepEqual(command({}, []), ["/bin/sh"]);
  assert.deepEqual(command({ Entrypoint: ["/e"], Cmd: ["c"] }, [], "/o"), ["/o"]);
  assert.deepEqual(command({ Entrypoint: ["/e"], Cmd: ["c"] }, ["w"], "/o"), ["/o", "w"]);
  assert.deepEqual(command({ Entrypoint: ["/e"], Cmd: ["c"] }, ["w"], ""), ["w"]);
  assert.deepEqual(command({ Entrypoint: ["/e"], Cmd: ["c"] }, [], ""), ["/bin/sh"]);
  assert.equal(readImageConfig({}, ["w"], "/o").command.origin, "--entrypoint, command line");
  assert.equal(readImageConfig({ WorkingDir: "srv" }, []).workdir.value, "/srv");
  assert.throws(
    () => readImageConfig({ Env: "PATH=/" } as object, []),
    (error: Failure) => error.code === "E_MANIFEST",
  );
});

test("flags carry their names as origins", () => {
  const flags = readFlags({ root: true, pid: "private", hostname: "h", mount: ["/a:/b"] }, "/", {});
  assert.deepEqual(flags.idMap, { value: "root", origin: "--root" });
  assert.deepEqual(flags.namespaces, { pid: { value: "private", origin: "--pid" } });
  assert.equal(flags.mounts[0]?.origin, "--mount");
});

test("namespaces: of its own, the host's, or another's", () => {
  const wishes = (flags: object) => readFlags(flags, "/", {}).namespaces;
  assert.equal(wishes({ net: "none" }).net?.value, "private");
  assert.equal(wishes({ net: "user" }).net?.value, "user");
  assert.equal(wishes({ ipc: "container:web" }).ipc?.value, "container:web");
  assert.deepEqual(wishes({ time: "pid:12" }).time, { value: "pid:12", origin: "--time" });
  for (const flags of [{ ipc: "user" }, { pid: "none" }, { net: "pid:0" }, { net: "container:" }, { uts: "web" }]) {
    assert.throws(
      () => wishes(flags),
      (error: Failure) => error.code === "E_USAGE",
      JSON.stringify(flags),
    );
  }
});

test("published ports: on 127.0.0.1 unless an address is given", () => {
  const shown = (text: string) => {
    const { protocol, address, host, inside } = readPublish(text);
    return [protocol, address, host, inside].join(" ");
  };
  assert.equal(shown("8080:80"), "tcp 127.0.0.1 8080 80");
  assert.equal(shown("0.0.0.0:53:5353/udp"), "udp 0.0.0.0 53 5353");
  assert.equal(shown("[::1]:1:2/tcp"), "tcp ::1 1 2");
  for (const text of ["80", "0:80", "80:65536", "name:1:2", "1:2/sctp", "::1:1:2", "[127.0.0.1:1:2", "1:2:3:4"]) {
    assert.throws(
      () => readPublish(text),
      (error: Failure) => error.code === "E_USAGE",
      text,
    );
  }
});

test("a container's resolver leaves out name servers on the host's loopback", () => {
  assert.deepEqual(usableResolver("# x\nsearch a b\nnameserver 127.0.0.53\nnameserver ::1\n"), []);
  const lines = ["search a", "options ndots:2", "nameserver 192.0.2.1"];
  assert.deepEqual(usableResolver([...lines, "nameserver 127.0.0.1", "sortlist x", ""].join("\n")), lines);
});

test("limits: sizes and numbers", () => {
  const limits = (flags: object) => readFlags(flags, "/", {}).limits;
  assert.equal(limits({ memory: "1.5g" })?.memory?.value, 1.5 * 2 ** 30);
  assert.equal(limits({ memory: "512MiB" })?.memory?.value, 2 ** 29);
  assert.equal(limits({ cpus: "0.5" })?.cpus?.value, 0.5);
  assert.equal(limits({}), undefined);
  const wrong = [
    { memory: "12" },
    { memory: "1x" },
    { cpus: "0" },
    { cpus: "1e3" },
    { pidsLimit: "1.5" },
    { cpuWeight: "0" },
  ];
  for (const flags of wrong) {
    assert.throws(
      () => limits(flags),
      (error: Failure) => error.code === "E_USAGE",
      JSON.stringify(flags),
    );
  }
});

test("seccomp profiles: beside --isolate the compatibility profile takes nothing from the strict one", () => {
  const profile = (seccomp: string | undefined, isolate: boolean) =>
    readFlags({ ...(seccomp === undefined ? {} : { seccomp }), isolate }, "/", {}).seccomp?.value;
  assert.deepEqual(
    [profile(undefined, false), profile(undefined, true), profile("compat", false), profile("compat", true)],
    [undefined, "strict", "compat", "strict,compat"],
  );
  assert.deepEqual([profile("none", true), profile("strict", false)], ["none", "strict"]);
  assert.throws(() => profile("strict,compat,x", false), { code: "E_USAGE" });
});

test("settings of the process", () => {
  const settings = (flags: object) => readFlags(flags, "/", {}).settings;
  assert.deepEqual(settings({ ulimit: ["nofile=10:-1"] })?.ulimits, [
    { name: "nofile", soft: "10", hard: "unlimited", origin: "--ulimit" },
  ]);
  assert.deepEqual(settings({ sysctl: ["net/ipv4/ip_forward=1"] })?.sysctls[0]?.key, "net.ipv4.ip_forward");
  assert.equal(settings({ umask: "027", nice: "-5" })?.nice?.value, -5);
  const wrong = [{ ulimit: ["nofile=9:8"] }, { ulimit: ["x=1"] }, { umask: "99" }, { nice: "20" }];
  for (const flags of [...wrong, { oomScoreAdj: "1001" }, { sysctl: ["a=1"] }, { sysctl: ["net..x=1"] }]) {
    assert.throws(
      () => settings(flags),
      (error: Failure) => error.code === "E_USAGE",
      JSON.stringify(flags),
    );
  }
});

test("an option with an optional value does not swallow the next word", () => {
  const command = newCommand("x", "y", []).option("--pid [how]").option("-m, --mount <what>").option("--rw");
  const bind = (...words: string[]) => bindOptionalValues(command, words).join(" ");
  assert.equal(bind("--pid", "image", "--pid"), "--pid=private image --pid");
  assert.equal(bind("-m", "--pid", "--pid", "image"), "-m --pid --pid=private image");
  assert.equal(bind("--pid=host", "--rw", "image"), "--pid=host --rw image");
  assert.equal(bind("--", "--pid"), "-- --pid");
});
