/** Removing an image: whoever dies on the way leaves no name of nothing, and nothing that runs loses its root. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { type TestContext, test } from "node:test";
import { setImmediate as immediate } from "node:timers/promises";
import { ourselves, ownerName } from "../../src/base/owner.ts";
import { forgetImage } from "../../src/commands/forget-image.ts";
import { importImage } from "../../src/commands/import-image.ts";
import { addRef, findImage, hexOf, listImages, removeImage, type StoredImage } from "../../src/store/images.ts";
import { imagePaths, type Layout, refPath } from "../../src/store/layout.ts";
import { planPrune, prune } from "../../src/store/prune.ts";
import { compile } from "../crash/bed.ts";
import { command } from "../support/command.ts";
import { failsWith, scratch, tarOf, testContext, writeLayout } from "../support/image-support.ts";

/** A store below `directory` with an image of two names. */
async function stored(directory: string): Promise<{ layout: Layout; image: StoredImage; source: string }> {
  const source = `oci:${directory}/layout`;
  mkdirSync(directory);
  writeLayout(join(directory, "layout"), [tarOf([{ path: "file", content: "x" }])]);
  const { context, layout } = testContext(directory);
  const image = await importImage(context, layout, source, { name: "box" });
  await addRef(layout, "other", image.digest);
  return { layout, image, source };
}

const names = (layout: Layout): string[] =>
  readdirSync(layout.refs)
    .filter((file) => file.endsWith(".json"))
    .map((file) => decodeURIComponent(basename(file, ".json")));

/** Has the image removed under the stepper; gives its result and what it said. */
async function step(stepper: string, directory: string, words: readonly string[]) {
  const script = join(import.meta.dirname, "../support/image-store-remove.ts");
  const result = `${directory}/result`;
  const outcome = await command([stepper, result, ...words, process.execPath, script, "box"], {
    env: { ...process.env, IMAGE_TEST_DIRECTORY: directory },
  });
  assert.equal(outcome.status, 0, outcome.stderr);
  return { result: readFileSync(result, "utf8"), stderr: outcome.stderr };
}

test("a removal that is killed leaves no name of nothing, and the next one needs no repair", async (t) => {
  const base = scratch(t);
  const stepper = join(base, "stepper");
  await compile("test/support/stepper.c", stepper);
  const first = join(base, "list");
  await stored(first);
  // The calls that change names: the sweep of kills takes all of them, this is its part of a few seconds.
  const points = (await step(stepper, first, ["list"])).stderr
    .split("\n")
    .map((line) => line.split(" "))
    .filter(([, , call = ""]) => /^(rename|unlink|rmdir|link)/.test(call))
    .map(([point = ""]) => point);
  assert.ok(points.length >= 8, `the points of a removal: ${points.join(" ")}`);
  for (const point of points) {
    const directory = join(base, point);
    const { layout, image, source } = await stored(directory);
    const { result } = await step(stepper, directory, ["kill", point]);
    assert.match(result, /^killed/);
    for (const name of names(layout)) assert.ok(findImage(layout, name), `${name} is a name of nothing: ${result}`);
    for (const { tree } of listImages(layout)) assert.equal(readFileSync(join(tree, "file"), "utf8"), "x", result);
    const { context } = testContext(directory);
    const again = await importImage(context, layout, source, { name: "box" });
    assert.equal(readFileSync(join(again.tree, "file"), "utf8"), "x", result);
    await removeImage(layout, again, context.signal);
    assert.deepEqual([names(layout), readdirSync(layout.images), findImage(layout, image.digest)], [[], [], undefined]);
  }
});

/** As a remover leaves it that dies after a start has made its mark, and before the remover saw it. */
async function withdrawnInUse(t: TestContext) {
  const directory = join(scratch(t), "store");
  const { layout, image, source } = await stored(directory);
  const { users, record, withdrawn } = imagePaths(layout, hexOf(image.digest) ?? "");
  mkdirSync(users);
  writeFileSync(join(users, ownerName(ourselves())), "");
  renameSync(record, withdrawn);
  return { layout, image, source, context: testContext(directory).context };
}

test("what runs on an image keeps its root when the remover died before it saw that", async (t) => {
  const { layout, image, source, context } = await withdrawnInUse(t);
  assert.deepEqual(listImages(layout), []);
  const { ino } = statSync(join(image.tree, "file"));
  await prune(layout, planPrune(layout, { unused: true, olderThan: 0, cacheBytes: undefined }), context.signal);
  assert.equal(statSync(join(image.tree, "file")).ino, ino, "prune leaves what is in use");
  const again = await importImage(context, layout, source, { name: "box" });
  assert.equal(statSync(join(again.tree, "file")).ino, ino, "an import takes the tree that is there");
  assert.equal(again.created, image.created);
});

test("a removal that was begun can be pruned once nothing runs on the image", async (t) => {
  const { layout, image, context } = await withdrawnInUse(t);
  const { users, directory } = imagePaths(layout, hexOf(image.digest) ?? "");
  renameSync(join(users, ownerName(ourselves())), join(users, ownerName({ ...ourselves(), start: "1" })));
  await prune(layout, planPrune(layout, { unused: false, olderThan: 0, cacheBytes: undefined }), context.signal);
  assert.ok(!existsSync(directory));
});

test("a name of nothing can be forgotten", async (t) => {
  const { layout, context } = testContext(scratch(t));
  mkdirSync(layout.refs, { recursive: true });
  await addRef(layout, "lost", `sha256:${"0".repeat(64)}`);
  await forgetImage(layout, "lost", context.signal);
  assert.deepEqual(names(layout), []);
  await assert.rejects(forgetImage(layout, "lost", context.signal), failsWith("E_NOT_FOUND"));
});

test("a name that is given while the image is removed goes with it", async (t) => {
  const directory = join(scratch(t), "store");
  const { layout, image } = await stored(directory);
  for (let i = 0; i < 500; i++) writeFileSync(join(image.tree, `${i}`), "");
  const removing = removeImage(layout, image, testContext(directory).context.signal);
  while (findImage(layout, image.digest) !== undefined) await immediate();
  await addRef(layout, "late", image.digest);
  await removing;
  assert.deepEqual(names(layout), []);
});

test("a name that another image gets while the old one is removed stays", async (t) => {
  const directory = join(scratch(t), "store");
  const { layout, image } = await stored(directory);
  const { context } = testContext(directory);
  writeLayout(join(directory, "next"), [tarOf([{ path: "file", content: "y" }])]);
  const next = await importImage(context, layout, `oci:${directory}/next`, { name: "next" });
  for (let i = 0; i < 100; i++) await addRef(layout, `name${i}`, image.digest);
  const moved = join(directory, "moved");
  copyFileSync(refPath(layout, "next"), moved);
  const removing = removeImage(layout, image, context.signal);
  while (findImage(layout, "box") !== undefined) await immediate();
  assert.equal(findImage(layout, "other")?.digest, image.digest, "the removal is under way");
  renameSync(moved, refPath(layout, "other"));
  await removing;
  assert.deepEqual(names(layout).sort(), ["next", "other"]);
  assert.equal(findImage(layout, "other")?.digest, next.digest);
});

/** Stops `child` while it writes a name; false if it was faster. */
function stopWhileNaming(layout: Layout, child: ChildProcess): boolean {
  const naming = () => readdirSync(layout.refs).some((name) => name.endsWith(".tmp"));
  const end = performance.now() + 10_000;
  // Nothing else may happen in between: no waiting here.
  while (!naming() && performance.now() < end);
  child.kill("SIGSTOP");
  return naming();
}

test("an import that found the image stored makes it anew if it is gone once it has its name", async (t) => {
  const directory = join(scratch(t), "store");
  const { layout, image, source } = await stored(directory);
  const { context } = testContext(directory);
  for (let stopped = false; !stopped; ) {
    await importImage(context, layout, source, { name: "box" });
    const script = join(import.meta.dirname, "../support/image-store-import.ts");
    const child = spawn(process.execPath, [script, source], {
      env: { ...process.env, IMAGE_TEST_DIRECTORY: directory },
      stdio: ["ignore", "ignore", "inherit"],
    });
    const ended = new Promise((resolve) => child.once("close", resolve));
    stopped = stopWhileNaming(layout, child);
    if (stopped) await removeImage(layout, image, context.signal);
    child.kill("SIGCONT");
    assert.equal(await ended, 0);
  }
  assert.equal(names(layout).length, 1);
  for (const name of names(layout)) assert.ok(findImage(layout, name), `${name} is a name of nothing`);
});
