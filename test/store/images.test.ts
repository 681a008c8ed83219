/** The image store: what a crash may leave is never listed, and many processes make one image once. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { type Owner, ourselves, ownerName } from "../../src/base/owner.ts";
import { importImage } from "../../src/commands/import-image.ts";
import { addRef, checkRef, findImage, listImages, removeImage, removeRef, stageImage } from "../../src/store/images.ts";
import { failsWith, scratch, tarOf, testContext, writeLayout } from "../support/image-support.ts";

const record = (digit: string) => ({
  digest: `sha256:${digit.repeat(64)}`,
  name: `image-${digit}`,
  platform: { os: "linux", architecture: "amd64" },
  size: 1,
  source: "oci:/x",
  layers: [],
  run: {},
});

test("an image exists from its record on", async (t) => {
  const { layout, context } = testContext(scratch(t));
  const staged = await stageImage(layout);
  writeFileSync(join(staged.tree, "file"), "x");
  assert.deepEqual(listImages(layout), []);
  const image = await staged.commit(record("a"), Buffer.from("{}"));
  assert.equal(readFileSync(join(image.tree, "file"), "utf8"), "x");
  assert.equal(statSync(join(image.tree, "..")).mode & 0o777, 0o700);
  assert.equal(statSync(layout.images).mode & 0o777, 0o700);
  await addRef(layout, "debian:12", image.digest);
  await addRef(layout, "reg.example:5000/a/b:1", image.digest);
  assert.deepEqual(findImage(layout, "debian:12")?.refs, ["debian:12", "reg.example:5000/a/b:1"]);
  assert.equal(findImage(layout, image.digest)?.digest, image.digest);
  assert.equal(findImage(layout, "debian:13"), undefined);
  assert.equal(await removeRef(layout, "debian:12"), true);
  assert.equal(await removeRef(layout, "debian:12"), false);
  assert.equal(findImage(layout, "debian:12"), undefined);
  await removeImage(layout, image, context.signal);
  assert.deepEqual(readdirSync(layout.images), []);
});

test("images that a crash cut short are never listed, and the next import makes them whole", async (t) => {
  const { layout } = testContext(scratch(t));
  for (const damage of ["no record", "empty record", "half a record", "another's record"]) {
    const image = await (await stageImage(layout)).commit(record("b"), undefined);
    await addRef(layout, "it", image.digest);
    const path = join(image.tree, "../record.json");
    const whole = readFileSync(path, "utf8");
    if (damage === "no record") rmSync(path);
    if (damage === "empty record") writeFileSync(path, "");
    if (damage === "half a record") writeFileSync(path, whole.slice(0, 40));
    if (damage === "another's record") writeFileSync(path, whole.replaceAll("b".repeat(64), "c".repeat(64)));
    assert.deepEqual(listImages(layout), [], damage);
    assert.equal(findImage(layout, "it"), undefined, damage);
  }
  await (await stageImage(layout)).commit(record("b"), undefined);
  assert.equal(findImage(layout, "it")?.digest, record("b").digest);
});

test("leavings of dead imports are cleared, those of live and foreign ones are not", async (t) => {
  const { layout } = testContext(scratch(t));
  const alive = await stageImage(layout);
  const owner = ourselves();
  const leave = (name: string, change: Partial<Owner>) =>
    mkdirSync(join(layout.temporary, `${ownerName({ ...owner, ...change })}.${name}`, "tree"), { recursive: true });
  leave("dead", { start: "1" });
  leave("before-boot", { boot: "another" });
  leave("foreign", { machine: "another" });
  await stageImage(layout);
  const left = readdirSync(layout.temporary);
  assert.deepEqual(
    left.filter((name) => /dead|boot/.test(name)),
    [],
  );
  assert.ok(left.some((name) => name.endsWith(".foreign")));
  assert.ok(existsSync(alive.tree));
});

test("a store of a newer rootling is refused", async (t) => {
  const { layout } = testContext(scratch(t));
  const image = await (await stageImage(layout)).commit(record("d"), undefined);
  const path = join(image.tree, "../record.json");
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")), format: 2 }));
  assert.throws(() => listImages(layout), failsWith("E_RECORD"));
});

test("names of images", () => {
  for (const name of ["debian:12", "127.0.0.1:5000/a/b:c", `x@sha256:${"0".repeat(64)}`]) checkRef(name, "test");
  for (const name of ["", "..", "-x", "a\0", "a b", "x".repeat(300), `sha256:${"0".repeat(64)}`, "\u001b[m"]) {
    assert.throws(() => checkRef(name, "test"), failsWith("E_NAME"), JSON.stringify(name));
  }
});

test("many importers of one image make it once", async (t) => {
  const directory = scratch(t);
  writeLayout(join(directory, "layout"), [tarOf([{ path: "file", content: "x" }])]);
  const script = join(import.meta.dirname, "../support/image-store-import.ts");
  const children = Array.from({ length: 12 }, () =>
    spawn(process.execPath, [script, `oci:${directory}/layout`], {
      env: { ...process.env, IMAGE_TEST_DIRECTORY: directory },
      stdio: ["ignore", "pipe", "inherit"],
    }),
  );
  const outputs = await Promise.all(
    children.map(async (child) => {
      let output = "";
      for await (const chunk of child.stdout) output += chunk;
      return output;
    }),
  );
  const { layout, context } = testContext(directory);
  const [image] = listImages(layout);
  assert.ok(image);
  // All saw the one image: the time of its making is the same for all.
  assert.deepEqual(new Set(outputs), new Set([image.created]));
  assert.deepEqual(readdirSync(layout.temporary), []);
  assert.equal((await importImage(context, layout, `oci:${directory}/layout`)).created, image.created);
});
