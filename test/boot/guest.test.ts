/**
 * init.yml: what rootling reads on a host and what a guest's init reads in C are the same, plans and refusals. Each
 * file of test/boot/init becomes a plan, byte for byte the same on the wire, for whatever started the guest.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import fc from "fast-check";
import { Failure } from "../../src/base/errors.ts";
import { lowerGuest } from "../../src/boot/lower-guest.ts";
import { type InitWords, readInit } from "../../src/boot/read-init.ts";
import { toWire } from "../../src/plan/wire.ts";
import { guestProgram } from "../support/guest.ts";
import { tempDirectory } from "../support/temp.ts";

const CASES = join(import.meta.dirname, "init");
/** What starts guests, as the variable `container` tells it. */
const STARTERS = ["", "lxc-libvirt", "lxc", "podman"];

interface Answer {
  readonly wire?: Buffer;
  /** What is wrong, and `init.yml:LINE:COLUMN`. */
  readonly refused?: { readonly what: string; readonly where: string };
}

function ours(text: string, environment: readonly string[], words?: InitWords): Answer {
  try {
    return { wire: toWire(lowerGuest(readInit(text, "init.yml", words), { environment }), []) };
  } catch (error) {
    assert.ok(error instanceof Failure, String(error));
    return { refused: { what: error.what, where: error.where ?? "" } };
  }
}

function inGuest(file: string, text: string, environment: readonly string[], words: readonly string[] = []): Answer {
  writeFileSync(file, text);
  const env = Object.fromEntries(environment.map((each) => each.split("=", 2) as [string, string]));
  const { stdout, stderr, status, signal } = spawnSync(guestProgram(), ["init", "--wire", "--config", file, ...words], {
    env,
  });
  assert.equal(signal, null, stderr.toString());
  if (status === 0) return { wire: stdout };
  const [, what = "", where = ""] =
    /^rootling: init: (.*)\n {2}from: (.*)\n {2}mend: .*\n$/.exec(stderr.toString()) ?? [];
  return { refused: { what, where } };
}

const variables = (container: string): string[] => [
  "PATH=/bin:/sbin",
  ...(container === "" ? [] : [`container=${container}`]),
];

describe("init.yml in a guest and on a host", () => {
  for (const name of readdirSync(CASES)) {
    test(`the plan of ${name}`, (t) => {
      const file = join(tempDirectory(t), "init.yml");
      const text = readFileSync(join(CASES, name), "utf8");
      for (const container of STARTERS) {
        const environment = variables(container);
        const { wire, refused } = ours(text, environment);
        assert.equal(refused, undefined);
        assert.equal(inGuest(file, text, environment).wire?.toString("latin1"), wire?.toString("latin1"), container);
      }
      const override = { words: ["/bin/sh", "-x"], override: true };
      const append = { words: ["--crash-reboot"], override: false };
      assert.deepEqual(inGuest(file, text, [], ["--override-exec", "--", "/bin/sh", "-x"]), ours(text, [], override));
      assert.deepEqual(inGuest(file, text, [], ["--", "--crash-reboot"]), ours(text, [], append));
    });
  }

  const REFUSED = [
    "- a list",
    "roots: /x",
    "root: relative",
    "root: [/x]",
    "root: {path: /x, mode: pivot, mode: chroot}",
    "root:\n  path: /x\n  mode: move",
    "initctl: yes please",
    'initctl: "true"',
    "setup: {mode: libvirt}",
    "setup: {before: {input: x}}",
    "setup: {before: [{command: []}]}",
    "setup: {before: ['']}",
    "exec: {before: [[a, [b]]]}",
    "exec: {before: [{command: a, inptu: b}]}",
    "exec:\n  command: echo 'unclosed",
    'exec: "echo \\"unclosed"',
    "exec: echo \\",
    "id_map: true",
    "id_map: {users: 0}",
    "id_map: {users: 0 0 0}",
    "id_map: {users: 0 1 2 3}",
    "id_map: {users: 0 -1 2}",
    "id_map: {users: 0 0x10 2}",
    "id_map: {users: 0 4294967295 1}",
    "id_map: {users: 0 4294967290 10}",
    "id_map: {users: [0 0 10, 5 100 10]}",
    "id_map: {users: [0 0 10, 50 5 10]}",
    "id_map:\n  users:\n    - 1 0 10",
    "id_map: {users: 0 0 1, groups: [[0, 1], {internal: 3}]}",
    "id_map: {users: 0 0 1, gruops: 0 0 1}",
    "devices: [kvm]",
    "devices: {exclude: [[kvm]]}",
    "on_error: panic",
    "root: /a\n---\nroot: /b",
    "root: *nowhere",
    "exec: &a [*a]",
    "? [a]\n: b",
    "a: b: c",
    "root: /x\n\tinitctl: true",
    "exec: 'sh\u0007'\nroots: \"\\e[31m\"",
  ];
  test("what is refused, and where", (t) => {
    const file = join(tempDirectory(t), "init.yml");
    for (const text of REFUSED) {
      const { refused } = ours(text, []);
      assert.ok(refused !== undefined, text);
      const other = inGuest(file, text, []).refused;
      assert.ok(other !== undefined, text);
      // What is no YAML at all, each library says in its own words.
      if (/not valid YAML|nothing is called/.test(refused.what)) assert.match(other.what, /not valid YAML/, text);
      else if (!text.includes("\\e")) assert.deepEqual(other, refused, text);
      assert.doesNotMatch(other.what, /[^ -~]/);
    }
  });

  test("any document: both read it alike, or both refuse it", (t) => {
    const file = join(tempDirectory(t), "init.yml");
    const leaf = fc.oneof(
      fc.constantFrom(
        "/mnt/root",
        "pivot",
        "none",
        "auto",
        "true",
        "false",
        "~",
        "''",
        "0 1000 5",
        "1",
        "echo 'a b' \"c\"",
        '"x\\ny"',
        "qemu",
      ),
      fc.string({ maxLength: 6 }).map((text) => JSON.stringify(text)),
    );
    const keys = [
      "root",
      "path",
      "mode",
      "id_map",
      "users",
      "groups",
      "internal",
      "external",
      "size",
      "initctl",
      "devices",
    ];
    const key = fc.constantFrom(...keys, "exclude", "setup", "exec", "before", "command", "input", "on_error");
    const { tree } = fc.letrec<{ tree: string }>((tie) => ({
      tree: fc.oneof(
        { maxDepth: 3 },
        leaf,
        fc.array(tie("tree"), { maxLength: 3 }).map((items) => `[${items.join(", ")}]`),
        fc
          .array(fc.tuple(key, tie("tree")), { maxLength: 4 })
          .map((pairs) => `{${pairs.map(([k, v]) => `${k}: ${v}`).join(", ")}}`),
      ),
    }));
    fc.assert(
      fc.property(tree, (text) => {
        const one = ours(text, ["container=lxc"]);
        const other = inGuest(file, text, ["container=lxc"]);
        assert.equal(other.wire?.toString("latin1"), one.wire?.toString("latin1"));
        if (one.refused !== undefined && !/not valid YAML/.test(one.refused.what))
          assert.equal(other.refused?.where, one.refused.where);
      }),
      { numRuns: Number(process.env.ROOTLING_TEST_INITS ?? 300) },
    );
  });
});
