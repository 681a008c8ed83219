/** Words become parts of an intent: mounts, variables, an image's configuration. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Failure } from "../../src/base/errors.ts";
import { readFstabLine, readMountFlag } from "../../src/boot/fstab.ts";
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
  const command = (config: object, words: string[]) => readImageConfig(config, words).command.value;
  assert.deepEqual(command({ Entrypoint: ["/e"], Cmd: ["c"] }, []), ["/e", "c"]);
  assert.deepEqual(command({ Entrypoint: ["/e"], Cmd: ["c"] }, ["w"]), ["/e", "w"]);
  assert.deepEqual(command({ Cmd: ["c"] }, ["w"]), ["w"]);
  assert.deepEqual(command({}, []), ["/bin/sh"]);
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

test("an option with an optional value does not swallow the next word", () => {
  const command = newCommand("x", "y", []).option("--pid [how]").option("-m, --mount <what>").option("--rw");
  const bind = (...words: string[]) => bindOptionalValues(command, words).join(" ");
  assert.equal(bind("--pid", "image", "--pid"), "--pid=private image --pid");
  assert.equal(bind("-m", "--pid", "--pid", "image"), "-m --pid --pid=private image");
  assert.equal(bind("--pid=host", "--rw", "image"), "--pid=host --rw image");
  assert.equal(bind("--", "--pid"), "-- --pid");
});
