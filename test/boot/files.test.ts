/** Plans that carry files: the root of a start and nothing of the image's, and a work at the end. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { Facts } from "../../src/boot/facts.ts";
import { packing, unpacking } from "../../src/boot/files.ts";
import type { Intent } from "../../src/boot/intent.ts";
import { lowerFiles, lowerFilesOf, rootOnly } from "../../src/boot/lower-files.ts";
import { check } from "../../src/plan/check.ts";
import type { Op } from "../../src/plan/plan.ts";

const facts = (name: string): Facts =>
  JSON.parse(readFileSync(join(import.meta.dirname, "cases", name, "facts.json"), "utf8")) as Facts;

const intent = (writes: "kept" | "refused", idMap: Intent["idMap"]["value"]): Intent =>
  rootOnly(
    {
      value: { kind: "layers", lowers: ["/store/tree"], kept: { upper: "/c/web/upper", work: "/c/web/work" } },
      origin: "container web",
    },
    { value: writes, origin: "container web" },
    { value: idMap, origin: "container web" },
  );

const shown = (ops: readonly Op[]): string[] => ops.map(({ verb, fields }) => [verb, ...fields].join(" "));

test("out of a container that does not run: its layers, and nothing is executed", () => {
  const plan = check(
    lowerFiles(intent("refused", "root"), facts("start-writable"), packing("box:/srv", "/srv", false)),
  );
  const stage = "/run/user/1000/rootling/stage";
  assert.deepEqual(shown(plan.ops), [
    "namespaces user,mount",
    "id-map 0 1000 1 0 1000 1 deny",
    "propagation / slave",
    `mount tmpfs rootling ${stage} nosuid,nodev mode=755 none`,
    ...["root", "upper", "work"].map((name) => `make-directory ${stage}/${name} 755`),
    `overlay ${stage}/root userxattr ${stage}/upper ${stage}/work /c/web/upper /store/tree`,
    `root ${stage}/root`,
    "pivot",
    "pack /srv ",
  ]);
});

test("into one: its own upper directory, with root's owners mapped where root has a map", () => {
  const work = unpacking("box:/srv", "/srv", "name", true);
  const plan = check(lowerFiles(intent("kept", "subids"), facts("run-mapped-as-root"), work));
  const ops = shown(plan.ops);
  assert.deepEqual(
    ops.filter((line) => /^(lend|overlay|unpack)/.test(line)),
    [
      "lend 1 /store/tree idmap",
      "lend 2 /c/web idmap",
      "overlay ./root userxattr ./layer1/upper ./layer1/work ./layer0",
      "unpack /srv name owners",
    ],
  );
});

test("of one that runs: its namespaces, as root of them", () => {
  const map = { kind: "many", uids: [{ inside: 0, outside: 70_000, count: 10 }], gids: [] } as const;
  const joined = {
    joins: ["user", "mount", "pid"],
    cgroups: [],
    map,
    wish: "root",
    foreign: false,
    architecture: "x64",
  } as const;
  const target = { pid: 42, start: "7", origin: "web" };
  const plan = check(lowerFilesOf(target, joined, 0, packing("box", "/", true)));
  assert.equal(plan.topology, "supervised");
  assert.deepEqual(shown(plan.ops), ["join 42 7 user,mount,pid", "take-ids 0 0", "pack / list"]);
  assert.deepEqual(shown(lowerFilesOf(target, joined, 1000, packing("box", "/", true)).ops).length, 2);
});
