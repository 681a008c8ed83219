/** Squashfs files as sources: round trips, damage, bombs, and what is planted in one. */
import assert from "node:assert/strict";
import { chmodSync, chownSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import { capture } from "../../src/base/process.ts";
import { importImage, importToFile } from "../../src/commands/import-image.ts";
import { configOfAll, imageOfAll, importWords } from "../support/image-cases.ts";
import { describeTree, failsWith, readTar, scratch, testContext } from "../support/image-support.ts";
import { needsRoot } from "../support/users.ts";

const NOBODY = ["--reuid=65534", "--regid=65534", "--clear-groups"];

test(
  "squashfs: a round trip keeps the file; what is planted in one stays inside; ordinary users can read one",
  needsRoot("owners"),
  async (t) => {
    const { directory, context, layout, expected, warnings } = await imageOfAll(t);
    const at = (name: string) => join(directory, name);
    await importToFile(context, layout, `oci:${directory}/layout`, { output: at("a.sqsh"), format: "squashfs" });
    for (const comp of ["zstd:3", "gzip:1", "lzo", "lz4", "xz"]) {
      await importToFile(context, layout, at("a.sqsh"), {
        output: at("b.sqsh"),
        format: "squashfs",
        comp,
        force: true,
      });
      const image = await importImage(context, layout, at("b.sqsh"), { name: "b" });
      assert.deepEqual(await describeTree(image.tree), expected, comp);
      assert.deepEqual(image.run, configOfAll);
    }
    assert.deepEqual(warnings, []);

    const cut = readFileSync(at("a.sqsh"));
    writeFileSync(at("cut.sqsh"), cut.subarray(0, 300));
    await assert.rejects(
      importToFile(context, layout, at("cut.sqsh"), { output: at("cut"), format: "dir" }),
      failsWith("E_LAYER"),
    );
    assert.deepEqual(
      readdirSync(directory).filter((name) => /^(rootling\.|cut\.[^s])/.test(name)),
      [],
    );

    await capture("truncate", ["-s", "1200M", at("zeros")]);
    await capture("mksquashfs", [at("zeros"), at("bomb.sqsh"), "-quiet", "-no-progress"]);
    await assert.rejects(
      importToFile(context, layout, at("bomb.sqsh"), { output: at("bomb"), format: "dir" }),
      failsWith("E_LIMIT", /squashfs/),
    );

    const own = at("own");
    mkdirSync(own);
    chownSync(own, 65534, 65534);
    chmodSync(directory, 0o755);
    chmodSync(at("a.sqsh"), 0o644);
    const env = { HOME: own, IMAGE_TEST_DIRECTORY: own };
    const asNobody = (source: string, output: string, format: string) =>
      capture("setpriv", [...NOBODY, ...importWords(source, output, format)], { env });
    await asNobody(at("a.sqsh"), join(own, "b.tar"), "tar");
    const found = readTar(gunzipIfNeeded(readFileSync(join(own, "b.tar")))).map(
      ({ path, mode, uid, gid }) => `${path} ${mode} ${uid}:${gid}`,
    );
    assert.ok(found.includes(`etc/file ${0o4755} 1000:70`), found.join("\n"));
    assert.ok(found.includes('name \\ "x 420 0:0'), found.join("\n"));
    assert.ok(!found.some((line) => line.startsWith(".rootling")));
    await asNobody(at("a.sqsh"), join(own, "tree"), "dir");
    assert.equal(statSync(join(own, "tree/etc/link")).nlink, 2);
  },
);

/** Patches names in a squashfs whose tables are not compressed, as no mksquashfs would write them. */
async function plantedSquashfs(directory: string, name: string, patches: [string, string][], pseudo: string[]) {
  const file = join(directory, name);
  mkdirSync(`${file}.tree`);
  const words = ["-quiet", "-no-progress", "-noI", "-noD", "-noF", "-noX", ...pseudo.flatMap((line) => ["-p", line])];
  await capture("mksquashfs", [`${file}.tree`, file, ...words]);
  let content = readFileSync(file).toString("latin1");
  for (const [from, to] of patches) {
    assert.ok(content.includes(from), from);
    content = content.replaceAll(from, to);
  }
  writeFileSync(file, content, "latin1");
  return file;
}

test(
  "squashfs: names that lead out, and a symlink with the name of a directory, as root and as an ordinary user",
  needsRoot("files of another user"),
  async (t) => {
    const directory = scratch(t);
    chmodSync(directory, 0o755);
    const outside = join(directory, "outside");
    const own = join(directory, "own");
    for (const made of [outside, own]) {
      mkdirSync(made);
      chownSync(made, 65534, 65534);
    }
    writeFileSync(join(outside, "canary"), "alive");
    const { context, layout } = testContext(directory, { ROOTLING_TEMP_PATH: own });
    const canary = "f 644 0 0 echo dead";
    const planted = [
      // CVE-2021-41072, CVE-2021-40153.
      await plantedSquashfs(
        directory,
        "twice",
        [["evilB", "evilA"]],
        [`evilA s 777 0 0 ${outside}`, "evilB d 755 0 0", `evilB/canary ${canary}`],
      ),
      await plantedSquashfs(
        directory,
        "dots",
        [["dotdotslash", "../outside/"]],
        ["d d 755 0 0", `d/dotdotslashcanary ${canary}`],
      ),
      await plantedSquashfs(directory, "parent", [["PP", ".."]], ["PP d 755 0 0", `PP/canary ${canary}`]),
    ];
    for (const file of planted) {
      const before = await describeTree(outside, { rootTime: true });
      const output = join(directory, "out");
      await importToFile(context, layout, file, { output, format: "dir", force: true }).catch((error: unknown) => {
        assert.match(String((error as { code?: string }).code), /^E_(LAYER|LIMIT|PROGRAM)$/);
      });
      await capture("setpriv", [...NOBODY, ...importWords(file, join(own, "out.tar"), "tar")], {
        env: { HOME: own, IMAGE_TEST_DIRECTORY: own, ROOTLING_TEMP_PATH: own },
      }).catch((error: unknown) => assert.match(String(error), /E_(LAYER|LIMIT|PROGRAM|EXISTS)/));
      assert.deepEqual(await describeTree(outside, { rootTime: true }), before, file);
      assert.deepEqual(
        readdirSync(own).filter((name) => name.startsWith("rootling.")),
        [],
      );
    }
  },
);

const gunzipIfNeeded = (content: Buffer): Buffer => (content[0] === 0x1f ? gunzipSync(content) : content);
