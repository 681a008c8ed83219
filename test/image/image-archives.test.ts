/** Archives of images: flipped bytes, missing files, several images in one, links between layers. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { importImage } from "../../src/commands/import-image.ts";
import { digestOf } from "../../src/image/digest.ts";
import { dockerOfToday, imageOfAll } from "../support/image-cases.ts";
import { failsWith, type Given, readTar, tarOf, testContext } from "../support/image-support.ts";

test("archives: flipped bytes, missing files, several images, links between layers", async (t) => {
  const { directory, context, layout } = await imageOfAll(t);
  dockerOfToday(directory);
  const tar = (name: string, list: Given[]) => {
    writeFileSync(join(directory, name), tarOf(list));
    return join(directory, name);
  };
  // In a store of its own each: an image that is stored is not read again.
  let stores = 0;
  const refuses = (source: string, code: Parameters<typeof failsWith>[0], text?: RegExp) => {
    const fresh = testContext(join(directory, `store-${stores++}`));
    return assert.rejects(
      importImage(fresh.context, fresh.layout, source, { name: "x" }),
      failsWith(code, text),
      source,
    );
  };

  const layer = tarOf([{ path: "a", content: "1" }]);
  const made = Buffer.from(
    JSON.stringify({
      os: "linux",
      architecture: process.arch === "arm64" ? "arm64" : "amd64",
      rootfs: { type: "layers", diff_ids: [digestOf(layer), digestOf(layer)] },
    }),
  );
  const named = `${digestOf(made).slice(7)}.json`;
  const save = (images: object[], extra: Given[] = []): Given[] => [
    { path: named, content: made },
    { path: "one/layer.tar", content: layer },
    { path: "two/layer.tar", kind: "symlink", target: "../one/layer.tar" },
    ...extra,
    { path: "manifest.json", content: JSON.stringify(images) },
  ];
  const image = (tags: string[] | null, layers = ["one/layer.tar", "two/layer.tar"]) => ({
    Config: named,
    RepoTags: tags,
    Layers: layers,
  });
  const linked = await importImage(
    context,
    layout,
    `docker-archive:${tar("linked.tar", save([image(["a:1", "b:1"])]))}:b:1`,
    { name: "x" },
  );
  assert.equal(readFileSync(join(linked.tree, "a"), "utf8"), "1");

  const two = tar("two.tar", save([image(["a:1"]), image(["docker.io/library/b:latest"])]));
  await refuses(`docker-archive:${two}`, "E_NOT_FOUND", /a:1/);
  await refuses(`docker-archive:${two}:c`, "E_NOT_FOUND", /a:1/);
  await importImage(context, layout, `docker-archive:${two}:b`, { name: "x" });
  await refuses(
    `docker-archive:${tar("missing.tar", save([image(null, ["one/layer.tar", "three/layer.tar"])]))}`,
    "E_NOT_FOUND",
  );
  await refuses(
    `docker-archive:${tar("loop.tar", [...save([image(null, ["l/layer.tar", "one/layer.tar"])]), { path: "l/layer.tar", kind: "symlink", target: "layer.tar" }])}`,
    "E_NOT_FOUND",
  );
  await refuses(`docker-archive:${tar("fewer.tar", save([image(null, ["one/layer.tar"])]))}`, "E_MANIFEST");
  const wrong = tarOf([{ path: "a", content: "2" }]);
  await refuses(
    `docker-archive:${tar("wrong.tar", save([image(null)], [{ path: "one/layer.tar", content: wrong }]))}`,
    "E_DIGEST",
  );
  await refuses(
    `docker-archive:${tar("config.tar", save([image(null)], [{ path: named, content: made.toString().replace("linux", "Linux") }]))}`,
    "E_DIGEST",
  );
  await refuses(
    `docker-archive:${tar("text.tar", [{ path: "manifest.json", content: '[],"images":[]' }])}`,
    "E_MANIFEST",
  );
  await refuses(
    `docker-archive:${tar("keys.tar", [{ path: "manifest.json", content: '[],"other":[]' }])}`,
    "E_MANIFEST",
  );
  await refuses(`docker-archive:${tar("none.tar", [{ path: "a" }])}`, "E_MANIFEST", /oci-archive/);
  await refuses(`oci-archive:${tar("none.tar", [{ path: "a" }])}`, "E_NOT_FOUND");
  await refuses(`oci-archive:${tar("escape.tar", [{ path: "../index.json" }])}`, "E_LAYER");

  // Each byte of the archive of an image counts: every hundredth, flipped.
  const whole = readFileSync(join(directory, "docker25.tar"));
  const entries = readTar(whole).filter(({ path }) => path.startsWith("blobs/"));
  assert.equal(entries.length, 4);
  for (const { content } of entries.filter(
    ({ content }) =>
      !content.includes('"manifests"') && !content.includes('"mediaType":"application/vnd.oci.image.manifest'),
  )) {
    const flipped = Buffer.from(whole);
    const at = flipped.indexOf(content, 0, "latin1") + (content.length >> 1);
    flipped.writeUInt8(flipped.readUInt8(at) ^ 1, at);
    writeFileSync(join(directory, "flipped.tar"), flipped);
    const fresh = testContext(join(directory, "fresh"));
    await assert.rejects(
      importImage(fresh.context, fresh.layout, `docker-archive:${directory}/flipped.tar`, { name: "x" }),
      failsWith("E_DIGEST"),
    );
  }
});
