/** Stores in other places: shared with others, and on file systems that cannot hold what containers change. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { busyboxBox } from "../support/boxes.ts";
import { must } from "../support/command.ts";
import { userKinds } from "../support/users.ts";

for (const kind of userKinds) {
  test(`a shared store of squashfs files serves an image by its name, as ${kind}`, async (t) => {
    const box = await busyboxBox(kind);
    t.after(box.remove);
    const shared = join(box.user.home, "shared-store");
    await box.user.run(["mkdir", shared]);
    await box.must(["import", `oci:${join(box.scratch, "layout")}:latest`, "-o", join(shared, "team+busybox+1.sqsh")]);
    const env = { ROOTLING_IMAGE_PATHS: `/nonexistent:${shared}`, ROOTLING_DATA_PATH: join(box.user.home, "other") };
    // Mounted as it is, or unpacked where this user cannot mount it.
    const apart = { ...env, ROOTLING_DATA_PATH: join(box.user.home, "apart") };
    const words = ["run", "team/busybox:1", "sh", "-c", "echo $FROM"];
    assert.equal(await box.must(words, { env: apart }), "image\n");
    const outcome = await box.run(["create", "team/busybox:1"], { env });
    assert.equal(outcome.stdout, "busybox\n", outcome.stderr);
    assert.match(outcome.stderr, /shared image/);
    assert.deepEqual(JSON.parse(await box.must(["images", "--json"], { env }))[0].names, ["team/busybox:1"]);
    assert.deepEqual(readdirSync(shared), ["team+busybox+1.sqsh"], "it is only read");
  });
}

// Only root can mount a file system for it; the containers are those of every kind of user.
if (process.getuid?.() === 0) {
  for (const kind of userKinds) {
    test(`a store on a file system that cannot be an upper directory works by copy, as ${kind}`, async (t) => {
      const box = await busyboxBox(kind);
      const place = join(box.scratch, "ramfs");
      // ramfs keeps no extended attributes at all.
      await must([
        "sh",
        "-c",
        'mkdir "$1" && mount -t ramfs -o mode=755 ramfs "$1" && chown "$2" "$1"',
        "sh",
        place,
        `${box.user.uid}`,
      ]);
      t.after(async () => {
        await must(["umount", "--lazy", place]);
        await box.remove();
      });
      const env = { ROOTLING_DATA_PATH: join(place, "data") };
      await box.must(["import", `oci:${join(box.scratch, "layout")}:latest`, "--name", "busybox"], { env });
      const created = await box.run(["create", "busybox", "--name", "copy"], { env });
      assert.equal(created.status, 0, created.stderr);
      assert.match(created.stderr, /full copy/);
      await box.must(["start", "--rw", "copy", "sh", "-c", "echo kept >/etc/kept; rmdir /home/demo"], { env });
      assert.equal(await box.must(["start", "copy", "sh", "-c", "cat /etc/kept; ls /home"], { env }), "kept\n");
      assert.equal(await box.must(["diff", "copy"], { env }), "C /etc\nA /etc/kept\nC /home\nD /home/demo\n");
      await box.must(["reset", "copy"], { env });
      assert.equal(await box.must(["diff", "copy"], { env }), "");
      assert.equal(await box.must(["run", "busybox", "ls", "/home"], { env }), "demo\n");
      await box.must(["remove", "copy"], { env });
    });
  }
}
