/** What a container changed becomes a layer: whiteouts and owners as they are inside, and others see the same tree. */
import assert from "node:assert/strict";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type Box, busyboxBox } from "../support/boxes.ts";
import { must } from "../support/command.ts";
import { describeTree } from "../support/image-support.ts";
import { everyKind, needsRoot, oldestKernel } from "../support/users.ts";

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

    test("the new image has the container's files, with a layer more", needsRoot("umoci's unpacking"), async () => {
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

    if (oldestKernel) return;
    test(
      "an image of commits has another commit above it, and needs nothing but the store",
      needsRoot("the test above"),
      async () => {
        rmSync(join(box.scratch, "layout"), { recursive: true });
        await inside("again", "rm /new/f; echo z >/new/z");
        await box.must(["commit", "again", "app:3"]);
        await box.must(["prune"]);
        assert.equal(JSON.parse(await box.must(["inspect", "app:3", "--json"])).layers.length, 3);
        assert.equal(
          await box.must(["run", "app:3", "sh", "-c", "echo /new/*"]),
          "/new/d /new/h /new/l /new/p /new/z\n",
        );
      },
    );
  });
}
