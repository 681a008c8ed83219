/** Commits of copies and of directories, and what is refused. Commits of overlays: kernel/commit.test.ts. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { type Box, busyboxBox } from "./support/boxes.ts";
import { must } from "./support/command.ts";
import { describeTree } from "./support/image-support.ts";
import { ordinaryKinds } from "./support/users.ts";

let box: Box;
before(async () => {
  box = await busyboxBox(ordinaryKinds[0] ?? "plain");
});
after(() => box.remove());

test("of a container that is a copy only what differs becomes the layer", async () => {
  await box.must(["create", "busybox", "--name", "copy"]);
  // As create makes it where no overlay can be had.
  const make = `cd "$ROOTLING_DATA_PATH/containers/copy" && sed -i 's/"shared"/"copied"/' container.json &&
    hex=$(sed 's/.*"digest":"sha256:\\([0-9a-f]*\\)".*/\\1/' container.json) && cp -a ../../images/$hex/tree root &&
    echo new >root/home/new && ln root/etc/group root/home/group && rm -r root/etc/passwd root/home/demo`;
  const made = await box.user.run(["sh", "-c", make]);
  assert.equal(made.status, 0, made.stderr);
  const output = join(box.user.home, "copied");
  const said = JSON.parse(await box.must(["commit", "copy", "-o", output, "--json"]));
  const layer = join(output, "blobs/sha256", said.layer.digest.slice("sha256:".length));
  const listed = (await must(["tar", "-tzf", layer])).trim().split("\n");
  const names = ["./", ".wh.demo", ".wh.passwd", "etc/", "group", "group", "home/", "new"];
  assert.deepEqual(listed.map((name) => name.replace(/^(etc|home)\/(?=.)/, "")).sort(), names.sort());
  const bundle = join(box.scratch, "bundle");
  await must(["umoci", "unpack", "--rootless", "--image", `${output}:latest`, bundle]);
  const tree = await describeTree(join(bundle, "rootfs"));
  assert.equal(tree.filter((line) => /^(etc|home)\/group\|.*\|2\|/.test(line)).length, 2);
  assert.ok(!tree.some((line) => /^(etc\/passwd|home\/demo)/.test(line)));
});

test("a directory becomes a layer, SOURCE_DATE_EPOCH makes the same bytes, and nothing wrong is made", async () => {
  const files = join(box.user.home, "files");
  const make = (place: string, names: string) =>
    box.user.run([
      "sh",
      "-c",
      `mkdir -p ${place}/srv; for n in ${names}; do echo hi >${place}/srv/$n; done; echo no >${place}/.wh.etc; ` +
        `touch -d @1600000000 ${place}/srv/* ${place}/.wh.etc ${place}/srv ${place}`,
    ]);
  // File systems list names in the order of their making, or in another one of their own.
  await make(files, "f g h");
  await make(`${files}2`, "h g f");
  const commit = (from: string, output: string) =>
    box.run(["commit", `dir:${from}`, "app:1", "--onto", "busybox", "-o", output, "--format", "oci-archive"], {
      env: { SOURCE_DATE_EPOCH: "1700000000" },
    });
  const outputs = ["a.tar", "b.tar"].map((name) => join(box.user.home, name));
  for (const [index, output] of outputs.entries()) {
    const { status, stderr } = await commit(index === 0 ? files : `${files}2`, output);
    assert.equal(status, 0, stderr);
    assert.match(stderr, /whiteout in a layer: \.wh\.etc/);
  }
  const [a, b] = outputs.map((output) => readFileSync(output));
  assert.ok(a !== undefined && b !== undefined && a.equals(b));
  await box.must(["import", `oci-archive:${outputs[0]}`, "--name", "app:1"]);
  assert.equal(await box.must(["run", "app:1", "cat", "/srv/f"]), "hi\n");
  assert.equal(await box.must(["run", "--root", "app:1", "stat", "-c", "%u:%g", "/srv/f"]), "0:0\n");
  for (const [words, code] of [
    [["commit", "none"], "E_NOT_FOUND"],
    [["commit", `dir:${files}`, "x"], "E_USAGE"],
    [["commit", `dir:${files}`, "x", "--onto", "none"], "E_NOT_FOUND"],
    [["commit", "box", "--change", "RUN x"], "E_USAGE"],
    [["commit", "box", "--format", "tar", "-o", "x"], "E_USAGE"],
    [["commit", "box", "bad name"], "E_NAME"],
    [["commit", "box", "-o", outputs[0] ?? "", "--format", "oci-archive"], "E_EXISTS"],
  ] as const) {
    const { status, stderr } = await box.run(words);
    assert.notEqual(status, 0);
    assert.ok(stderr.includes(code), `${words.join(" ")}: ${stderr}`);
  }
  const left = readdirSync(box.user.home).filter((name) => /\.tmp$/.test(name));
  assert.deepEqual(left, []);
});
