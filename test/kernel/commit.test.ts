/** What a container changed becomes a layer: whiteouts and owners as they are inside, and others see the same tree. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type Box, busyboxBox } from "../support/boxes.ts";
import { must } from "../support/command.ts";
import { describeTree } from "../support/image-support.ts";
import { everyKind } from "../support/users.ts";

/** Changes of every kind. Whatever has an owner inside, whom an ordinary user's map of one id does not have, is root's. */
const CHANGES = [
  "mkdir /new /new/d; echo x >/new/f; ln /new/f /new/h; ln -s ../etc /new/l; mkfifo /new/p; chmod 4711 /new/f",
  "echo >>/etc/passwd; rm /bin/ls; rm -r /home; mkdir /home; echo y >/home/own; rm -r /tmp; echo file >/tmp",
  "touch -d '2001-02-03 04:05:06' /new/f; chmod 700 /etc",
].join("; ");

for (const kind of everyKind) {
  describe(`commit, as ${kind}`, () => {
    let box: Box;
    const map = kind === "subids" ? ["--map", "subids"] : [];
    before(async () => {
      box = await busyboxBox(kind);
      if (map.length > 0) await box.must(["create", "busybox", "--name", "mapped", ...map]);
    });
    after(() => box.remove());

    const container = map.length > 0 ? "mapped" : "box";
    const inside = (name: string, script: string) =>
      box.must(["start", "--rw", ...(map.length > 0 ? [] : ["--root"]), name, "sh", "-c", script]);
    const find = (kind: string) =>
      `find . -xdev ${kind} ! -name . ! -path './dev*' ! -path './proc*' ! -path './sys*' ! -name hosts ! -name resolv.conf`;
    // A start makes mount points, which gives directories new times.
    const show =
      `cd /; ${find("! -type d")} | sort | xargs stat -c '%n %A %u:%g %Y %N'; ` +
      `${find("-type d")} | sort | xargs stat -c '%n %A %u:%g'`;
    /** The tree that umoci makes of a layout. */
    const unpacked = async (layout: string): Promise<string[]> => {
      const bundle = join(box.scratch, "bundle");
      await must(["umoci", "unpack", "--image", layout, bundle]);
      const tree = await describeTree(join(bundle, "rootfs"));
      rmSync(bundle, { recursive: true });
      return tree;
    };

    test("the new image has the container's files, with a layer more", async () => {
      const owned = kind === "plain" ? "" : "; chown 5:7 /new/d";
      await inside(container, CHANGES + owned);
      const before = await box.must(["start", container, "sh", "-c", show]);
      const said = JSON.parse(
        await box.must(["commit", container, "app:2", "-m", "why", "--change", "ENV B=c d", "--json"]),
      );
      assert.equal(said.name, "app:2");
      await box.must(["create", "app:2", "--name", "again", ...map]);
      assert.equal(await box.must(["start", "again", "sh", "-c", show]), before);
      assert.equal(await box.must(["start", "again", "sh", "-c", "echo $FROM, $B"]), "image, c d\n");
      const shown = JSON.parse(await box.must(["inspect", "app:2", "--json"]));
      assert.equal(shown.layers.length, 2);

      // Others see the same: umoci's unpacking of the layers is that of the tree as one layer.
      const layout = (name: string) => join(box.user.home, name);
      await box.must(["commit", container, "app:2", "-o", layout("kept"), "--change", "ENV B=c d", "-m", "why"]);
      await box.must(["export", container, "-o", layout("one"), "--format", "oci"]);
      const kept = await unpacked(`${layout("kept")}:2`);
      const one = await unpacked(`${layout("one")}:latest`);
      const without = (lines: string[]) =>
        lines.filter((line) => !/^(dev|proc|sys|etc\/hosts|etc\/resolv.conf)?\|/.test(line));
      assert.deepEqual(without(kept), without(one));
      assert.ok(!kept.some((line) => /^bin\/ls\||^home\/demo|\.wh\./.test(line)));
      const index = JSON.parse(readFileSync(join(layout("kept"), "index.json"), "utf8"));
      const blob = (digest: string) => readFileSync(join(layout("kept"), "blobs/sha256", digest.slice(7)), "utf8");
      const config = JSON.parse(blob(JSON.parse(blob(index.manifests[0].digest)).config.digest));
      const last = config.history.at(-1);
      assert.deepEqual([last.created_by, last.comment], ["rootling commit", "why"]);
      assert.deepEqual(config.config.Cmd, ["/bin/sh"]);
    });

    test("an image of commits has another commit above it, and needs nothing but the store", async () => {
      rmSync(join(box.scratch, "layout"), { recursive: true });
      await inside("again", "rm /new/f; echo z >/new/z");
      await box.must(["commit", "again", "app:3"]);
      assert.equal(JSON.parse(await box.must(["inspect", "app:3", "--json"])).layers.length, 3);
      await box.must(["prune"]);
      assert.equal(await box.must(["run", "app:3", "sh", "-c", "echo /new/*"]), "/new/d /new/h /new/l /new/p /new/z\n");
    });

    if (kind !== "plain") return;
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
      const tree = await unpacked(`${output}:latest`);
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
  });
}
