/** The merged tree is what umoci makes by unpacking layer upon layer. */
import assert from "node:assert/strict";
import { chownSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { capture } from "../../src/base/process.ts";
import { importToFile } from "../../src/commands/import-image.ts";
import { generateStack } from "../support/image-stacks.ts";
import { describeTree, scratch, tarOf, testContext, writeLayout } from "../support/image-support.ts";

/** Directories that no layer describes get the time of unpacking from umoci. */
const STACKS = Number(process.env.STACKS ?? 60);

test("generated stacks equal umoci's unpacking", async (t) => {
  for (let seed = 1; seed <= STACKS; seed++) {
    const directory = scratch(t);
    const layers = generateStack(seed, 2 + (seed % 4));
    writeLayout(
      join(directory, "layout"),
      layers.map((layer) => tarOf(layer)),
    );
    const { context, layout } = testContext(directory);
    const output = join(directory, "tree");
    await importToFile(context, layout, `oci:${directory}/layout`, { output, format: "dir" });
    await capture("umoci", ["unpack", "--image", `${directory}/layout:latest`, join(directory, "bundle")]);
    const expected = await describeTree(join(directory, "bundle", "rootfs"));
    assert.deepEqual(await describeTree(output), expected, `seed ${seed}: ${JSON.stringify(layers)}`);
  }
});

void chownSync;
void mkdirSync;
