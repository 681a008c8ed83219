/** Pruning: what is needed, or used on any machine that shares the store, stays. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { ourselves, ownerName } from "../../src/base/owner.ts";
import { readAge, readSize } from "../../src/commands/prune.ts";
import { createContainer } from "../../src/store/containers.ts";
import { addRef, findImage, hexOf, listImages, removeImage, stageImage } from "../../src/store/images.ts";
import { imagePaths } from "../../src/store/layout.ts";
import { planPrune, prune } from "../../src/store/prune.ts";
import { markUse } from "../../src/store/use.ts";
import { failsWith, scratch, testContext } from "../support/image-support.ts";

const DAY = 864e5;
const always = { unused: false, olderThan: 0, cacheBytes: undefined };

/** A store with images a (named), b (nameless), c (with a container), and blobs d (of a) and e (of none). */
async function store(t: TestContext) {
  const { layout, context } = testContext(scratch(t));
  const blob = (digit: string, bytes: number) =>
    writeFileSync(join(layout.blobs, digit.repeat(64)), Buffer.alloc(bytes));
  const commit = async (digit: string, layers: { digest: string }[]) => {
    const digest = `sha256:${digit.repeat(64)}`;
    const platform = { os: "linux", architecture: "amd64" };
    const staged = await stageImage(layout);
    return staged.commit({ digest, name: digit, platform, size: 10, source: "oci:/x", layers, run: {} }, undefined);
  };
  mkdirSync(layout.blobs, { recursive: true });
  const a = await commit("a", [{ digest: `sha256:${"d".repeat(64)}` }]);
  const b = await commit("b", []);
  const c = await commit("c", []);
  await addRef(layout, "a:1", a.digest);
  await createContainer(layout, "box", { digest: c.digest, name: "c" }, c.tree, "shared");
  blob("d", 100);
  blob("e", 200);
  const names = () =>
    listImages(layout)
      .map(({ name }) => name)
      .join("");
  const blobs = () =>
    readdirSync(layout.blobs)
      .map((hex) => hex[0])
      .sort()
      .join("");
  return { layout, context, a, b, c, names, blobs };
}

test("nameless images and downloads of no image go; named ones and those of containers stay", async (t) => {
  const { layout, context, names, blobs } = await store(t);
  const plan = planPrune(layout, always);
  assert.deepEqual([names(), blobs()], ["abc", "de"], "a plan changes nothing");
  await prune(layout, plan, context.signal);
  assert.deepEqual([names(), blobs()], ["ac", "d"]);
  await prune(layout, planPrune(layout, { ...always, unused: true }), context.signal);
  assert.deepEqual([names(), blobs()], ["c", ""], "with an image its downloads go");
});

test("age: only what was not used for longer", async (t) => {
  const { layout, names, blobs, context } = await store(t);
  await prune(layout, planPrune(layout, { ...always, olderThan: DAY }), context.signal);
  assert.deepEqual([names(), blobs()], ["abc", "de"]);
  const old = new Date(Date.now() - 2 * DAY);
  utimesSync(join(layout.blobs, "e".repeat(64)), old, old);
  await prune(layout, planPrune(layout, { ...always, olderThan: DAY }), context.signal);
  assert.deepEqual([names(), blobs()], ["abc", "d"]);
});

test("size: the longest unused downloads go first", async (t) => {
  const { layout, blobs, context } = await store(t);
  const old = new Date(Date.now() - 2 * DAY);
  utimesSync(join(layout.blobs, "d".repeat(64)), old, old);
  await prune(layout, planPrune(layout, { ...always, cacheBytes: 250 }), context.signal);
  assert.equal(blobs(), "e");
});

test("an image that something runs on stays, also where another machine runs it", async (t) => {
  const { layout, context, b, names } = await store(t);
  const hex = hexOf(b.digest) ?? "";
  markUse(layout, hex);
  await prune(layout, planPrune(layout, always), context.signal);
  assert.match(names(), /b/);
  await assert.rejects(removeImage(layout, b, context.signal), failsWith("E_BUSY"));
  const { users, record } = imagePaths(layout, hex);
  assert.ok(existsSync(record), "a refused removal leaves the record");
  rmSync(users, { recursive: true });
  mkdirSync(users);
  writeFileSync(join(users, ownerName({ ...ourselves(), machine: "another" })), "");
  await prune(layout, planPrune(layout, { ...always, unused: true }), context.signal);
  assert.match(names(), /b/);
  await assert.rejects(removeImage(layout, b, context.signal), failsWith("E_BUSY"));
  rmSync(users, { recursive: true });
  mkdirSync(users);
  writeFileSync(join(users, ownerName({ ...ourselves(), start: "1" })), "");
  await prune(layout, planPrune(layout, always), context.signal);
  assert.doesNotMatch(names(), /b/, "a dead mark is no mark");
});

test("what comes into use after the plan stays; what was half removed goes", async (t) => {
  const { layout, context, b, names } = await store(t);
  const plan = planPrune(layout, always);
  markUse(layout, hexOf(b.digest) ?? "");
  await prune(layout, plan, context.signal);
  assert.match(names(), /b/);
  const broken = imagePaths(layout, "f".repeat(64));
  mkdirSync(broken.tree, { recursive: true });
  await prune(layout, planPrune(layout, always), context.signal);
  assert.ok(!existsSync(broken.directory));
  assert.equal(findImage(layout, "a:1")?.name, "a");
});

test("an image that was just removed cannot be marked", async (t) => {
  const { layout, context, b } = await store(t);
  await removeImage(layout, b, context.signal);
  assert.throws(() => markUse(layout, hexOf(b.digest) ?? ""), failsWith("E_NOT_FOUND"));
});

test("ages and sizes", () => {
  assert.equal(readAge("90m"), 54e5);
  assert.equal(readAge("2w"), 14 * DAY);
  assert.equal(readSize("1.5GB"), 1.5e9);
  assert.equal(readSize("10"), 10);
  for (const bad of ["", "d", "-1d", "5x", "1e9d"]) assert.throws(() => readAge(bad), failsWith("E_USAGE"));
});
