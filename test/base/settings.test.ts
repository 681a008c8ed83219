/** The table of settings, and the files that it is read from. */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Failure } from "../../src/base/errors.ts";
import { readSettings, type SettingsOptions } from "../../src/base/settings.ts";
import { parseDirectives, parseSettings, readSettingsFiles } from "../../src/base/settings-files.ts";
import type { Program } from "../../src/base/settings-places.ts";
import { checkout } from "../support/cli.ts";
import { command } from "../support/command.ts";
import { tempDirectory } from "../support/temp.ts";

const HOME = { HOME: "/home/u" };
const read = (env: Record<string, string>, options: SettingsOptions = { program: "enroot" }) =>
  readSettings({ ...HOME, ...env }, 1000, options);
const parse = (text: string, env: Record<string, string> = {}) =>
  parseSettings(text, "e.conf", { env: { ...HOME, ...env }, uid: 1000, program: "enroot" });
const fails = (where: string, what: RegExp) => (error: unknown) =>
  error instanceof Failure && error.code === "E_SETTING" && error.where === where && what.test(error.what);

test("directives win over the environment, that over drop-in files, these over the main file", (t) => {
  const directory = tempDirectory(t);
  mkdirSync(join(directory, "enroot.conf.d"));
  writeFileSync(
    join(directory, "enroot.conf"),
    "ENROOT_MAX_CONNECTIONS 1\nENROOT_TEMP_PATH /main\nENROOT_REMAP_ROOT y\n",
  );
  writeFileSync(join(directory, "enroot.conf.d/20-b.conf"), "ENROOT_MAX_CONNECTIONS=3\nENROOT_TEMP_PATH /late\n");
  writeFileSync(join(directory, "enroot.conf.d/10-a.conf"), "ENROOT_MAX_CONNECTIONS=2\nENROOT_CONNECT_TIMEOUT=7\n");
  writeFileSync(join(directory, "enroot.conf.d/off"), "ENROOT_CONNECT_TIMEOUT=9\n");
  const env = { ...HOME, ENROOT_SYSCONF_PATH: directory, ENROOT_MAX_CONNECTIONS: "4" };
  const files = readSettingsFiles({ env, uid: 1000, program: "enroot" });
  const withFiles = readSettings(env, 1000, { program: "enroot", files });
  assert.equal(withFiles.MAX_CONNECTIONS, 4);
  assert.equal(withFiles.TEMP_PATH, "/late");
  assert.equal(withFiles.CONNECT_TIMEOUT, 7);
  assert.equal(withFiles.REMAP_ROOT, true);
  const script =
    "# ENROOT_REMAP_ROOT no\n#ENROOT_MAX_CONNECTIONS=5\n  #ENROOT_TEMP_PATH=/indented\n# says ENROOT_TEMP_PATH=/b\n";
  const directives = parseDirectives(script, "c.sh", { env, uid: 1000, program: "enroot" });
  const directed = readSettings(env, 1000, { program: "enroot", files, directives });
  assert.equal(directed.MAX_CONNECTIONS, 5);
  assert.equal(directed.REMAP_ROOT, false);
  assert.equal(directed.TEMP_PATH, "/late");
});

test("lines: blanks or an equals sign, quotes, comments, variables; others are passed over", () => {
  const text = `
# ENROOT_TEMP_PATH /comment
ENROOT_DATA_PATH   "/d \${NAME}"   # behind
ENROOT_CACHE_PATH = /c/$UID/'$NAME'
ENROOT_SQUASH_OPTIONS -comp  lz4 -noD
SSL_CERT_FILE=/ca
https_proxy http://p:1
ENROOT_FOR_HOOKS=x\\ y
OTHER=1
`;
  const values = Object.fromEntries(
    parse(text, { NAME: "n" }).map(({ name, value, origin }) => [name, [value, origin]]),
  );
  assert.deepEqual(values, {
    ENROOT_DATA_PATH: ["/d n", "e.conf:3"],
    ENROOT_CACHE_PATH: ["/c/1000/$NAME", "e.conf:4"],
    ENROOT_SQUASH_OPTIONS: ["-comp lz4 -noD", "e.conf:5"],
    SSL_CERT_FILE: ["/ca", "e.conf:6"],
    https_proxy: ["http://p:1", "e.conf:7"],
    ENROOT_FOR_HOOKS: ["x y", "e.conf:8"],
  });
});

for (const value of [
  "$(id -u)",
  "`id`",
  '"a $(id)"',
  '"`id`"',
  "/x; id",
  "a | b",
  "${HOME:-/x}",
  "$$",
  "x > y",
  '"open',
]) {
  test(`no shell is asked: ${value}`, () => {
    assert.throws(() => parse(`\nENROOT_DATA_PATH ${value}`), fails("e.conf:2", /shell/));
  });
}

test("a variable that is not set is a failure, as is a value that a setting cannot have", () => {
  assert.throws(() => parse("ENROOT_DATA_PATH /x/$NOBODY"), fails("e.conf:1", /NOBODY/));
  const files = parse("ENROOT_MAX_CONNECTIONS many");
  assert.throws(() => read({}, { program: "enroot", files }), fails("e.conf:1", /whole number/));
  assert.throws(() => read({ ENROOT_REMAP_ROOT: "flase" }), fails("ENROOT_REMAP_ROOT", /yes or no/));
});

test("no, n, false and f unset, 0 is off, and what is on by default can be switched off", () => {
  for (const word of ["no", "n", "N", "false", "FALSE", "f", "0"]) {
    assert.equal(read({ ENROOT_LOGIN_SHELL: word }).LOGIN_SHELL, false, word);
    assert.equal(read({ ENROOT_REMAP_ROOT: word }).REMAP_ROOT, false, word);
  }
  for (const word of ["yes", "y", "true", "1", "on"])
    assert.equal(read({ ENROOT_REMAP_ROOT: word }).REMAP_ROOT, true, word);
  assert.equal(read({ ENROOT_DATA_PATH: "no" }).DATA_PATH, "/home/u/.local/share/enroot");
  assert.equal(read({ ENROOT_TRANSFER_TIMEOUT: "0" }).TRANSFER_TIMEOUT, 0);
  const files = parse("ENROOT_REMAP_ROOT y");
  assert.equal(read({ ENROOT_REMAP_ROOT: "n" }, { program: "enroot", files }).REMAP_ROOT, false);
});

test("each name has variables, places and defaults of its own", () => {
  const under = (program: Program) =>
    read({ ROOTLING_REMAP_ROOT: "y", ENROOT_UNSHARE_PID: "y", XDG_RUNTIME_DIR: "/r" }, { program });
  const [rootling, enroot] = [under("rootling"), under("enroot")];
  assert.deepEqual(
    [rootling.REMAP_ROOT, rootling.UNSHARE_PID, enroot.REMAP_ROOT, enroot.UNSHARE_PID],
    [true, false, false, true],
  );
  assert.deepEqual([rootling.RUNTIME_PATH, enroot.RUNTIME_PATH], ["/r/rootling", "/r/enroot"]);
  assert.deepEqual([rootling.MAX_CONNECTIONS, enroot.MAX_CONNECTIONS], [6, 10]);
  assert.equal(read({}).RUNTIME_PATH, "/home/u/.local/share/enroot/.rootling/runtime");
  assert.equal(read({}).SQUASH_OPTIONS, "-comp lzo -noD");
});

test("without a home the places that are named suffice", () => {
  const env = { ROOTLING_DATA_PATH: "/d", ROOTLING_CACHE_PATH: "/c" };
  const { CONFIG_PATH, RUNTIME_PATH } = readSettings(env, 1000);
  assert.deepEqual([CONFIG_PATH, RUNTIME_PATH], ["/d/config", "/d/runtime"]);
});

test("docs/reference/settings.md is what the table makes", async () => {
  const made = await command([process.execPath, join(checkout, "scripts/settings-page.mjs")]);
  assert.equal(
    made.stdout,
    readFileSync(join(checkout, "docs/reference/settings.md"), "utf8"),
    "see scripts/settings-page.mjs",
  );
});
