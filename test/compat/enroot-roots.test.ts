/** enroot's names: containers of rootling's store, and roots that enroot unpacked. */
import assert from "node:assert/strict";
import { chmodSync, existsSync, lstatSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { command } from "../support/command.ts";
import { dataPath, type EnrootBox, enrootBox } from "../support/enroot.ts";
import { userKinds } from "../support/users.ts";

for (const kind of userKinds.filter((each) => each !== "subids")) {
  describe(`names of enroot, as ${kind}`, () => {
    let box: EnrootBox;
    let image: string;
    before(async () => {
      box = await enrootBox(kind);
      image = box.image;
    });
    after(() => box.remove());

    test("create names a container after the file, and replaces one only by --force", async () => {
      assert.equal(await box.must(["create", image]), "");
      assert.equal(await box.must(["list"]), "box\nmy+image\n");
      await box.fails(["create", image], new RegExp(`File already exists: ${dataPath(box.user)}/my\\+image`));
      await box.must(["start", "-w", "my+image", "touch", "/mark"]);
      await box.must(["create", "-f", image]);
      assert.doesNotMatch(await box.must(["start", "my+image", "ls", "/"]), /mark/);
      await box.must(["create", image], { env: { ENROOT_FORCE_OVERRIDE: "y" } });
      await box.must(["remove", "-f", "my+image"]);
      await box.fails(["create", join(box.scratch, "none.sqsh")], /No such file or directory: .*none\.sqsh/);
      await box.fails(["create", "/etc/passwd"], /Invalid image format: \/etc\/passwd/);
      await box.fails(["create", "-n", "a/b", image], /Invalid argument: a\/b/);
    });

    test("remove asks, and takes y for yes", async () => {
      for (const name of ["one", "two"]) await box.must(["create", "-n", name, image]);
      assert.equal((await box.run(["remove", "one", "two"], { input: "n\ny\n" })).stderr, "");
      assert.equal(await box.must(["list"]), "box\none\n");
      await box.fails(["remove", "one"], /nobody answers/, { input: "" });
      await box.must(["remove", "--force", "one"]);
      await box.fails(["remove", "-f", "one"], /No such file or directory/);
      await box.fails(["remove", "-f", "../one"], /Invalid argument/);
      await box.fails(["remove", "-f", ".rootling"], /Invalid argument/);
    });

    test("roots that enroot unpacked are listed, started, changed, and removed without leaving them", async () => {
      const path = await box.foreign("old");
      const outside = join(box.user.home, "outside");
      mkdirSync(outside);
      writeFileSync(join(outside, "kept"), "");
      symlinkSync(outside, join(path, "link"));
      symlinkSync(outside, join(dataPath(box.user), "elsewhere"));
      await command(["chown", "-h", "-R", `${box.user.uid}:${box.user.gid}`, outside, join(path, "link")]);
      chmodSync(join(path, "tmp"), 0o500);
      assert.equal(await box.must(["list"]), "box\nelsewhere\nold\n");
      assert.equal(await box.must(["start", "old", "cat", "/etc/hello"]), "hello\n");
      assert.notEqual((await box.run(["start", "old", "touch", "/mark"])).status, 0);
      await box.must(["start", "--rw", "old", "touch", "/mark"]);
      assert.ok(existsSync(join(path, "mark")), "the directory itself is changed");
      await box.fails(["create", "-n", "old", image], /File already exists/);
      await box.fails(["remove", "-f", "elsewhere"], /symbolic link/);
      await box.must(["remove", "-f", "old"]);
      assert.equal(lstatSync(path, { throwIfNoEntry: false }), undefined);
      assert.deepEqual(readdirSync(outside), ["kept"]);
      await box.user.run(["rm", join(dataPath(box.user), "elsewhere")]);
    });

    test("export writes containers and foreign roots, which create takes back", async () => {
      await box.foreign("old");
      await box.must(["create", "-n", "changed", image]);
      await box.must(["start", "-w", "changed", "sh", "-c", "echo new >/etc/hello"]);
      const home = { cwd: box.user.home };
      for (const [name, hello] of [
        ["changed", "new\n"],
        ["old", "hello\n"],
      ] as const) {
        assert.equal(await box.must(["export", name], home), "");
        await box.fails(["export", name], new RegExp(`File already exists: .*/${name}\\.sqsh`), home);
        await box.must(["export", "-f", "--output", `${name}.sqsh`, name], home);
        await box.must(["create", "-n", `${name}-again`, `${name}.sqsh`], home);
        assert.equal(await box.must(["start", `${name}-again`, "cat", "/etc/hello"]), hello);
      }
      await box.fails(["export", "none"], /No such file or directory/);
      await box.must(["remove", "-f", "old", "changed", "old-again", "changed-again"]);
    });
  });
}
