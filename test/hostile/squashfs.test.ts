/** Squashfs files with names that lead out, and with one name twice: threats.md row 11, CVE-2021-40153 and 2021-41072. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { rootling } from "../support/cli.ts";
import { must } from "../support/command.ts";
import { tempDirectory } from "../support/temp.ts";
import { testUser, userKinds } from "../support/users.ts";

/** What is put for names of the same length in the directory table, which is not compressed. */
const crafted: Record<string, readonly (readonly [from: string, to: string])[]> = {
  "a file called ..": [["AA", ".."]],
  "a file that leads out": [["FILEFILEFIL", "../../canar"]],
  "an absolute name": [["FILEFILEFIL", "/tmp/canary"]],
  "a symlink and a directory of one name": [["DIRX", "LINK"]],
  "a name with NUL": [["FILEFILEFIL", "FILE\0FILEFI"]],
  "an empty-looking name": [["AA", "./"]],
};

for (const kind of userKinds.filter((one) => one !== "subids")) {
  for (const [what, changes] of Object.entries(crafted)) {
    test(`a squashfs with ${what} changes nothing outside, as ${kind}`, async (t) => {
      const user = await testUser(t, kind);
      const place = tempDirectory(t);
      const root = join(place, "root");
      const outside = join(user.home, "outside");
      await must(user.words(["mkdir", outside]));
      await must(user.words(["sh", "-c", `echo alive >${outside}/canary`]));
      for (const directory of [root, join(root, "DIRX"), join(root, "sub")]) mkdirSync(directory);
      symlinkSync(outside, join(root, "LINK"));
      for (const name of ["AA", "FILEFILEFIL", "DIRX/canary", "sub/FILEFILEFIL"])
        writeFileSync(join(root, name), "evil");
      const image = join(place, "image.squashfs");
      await must([
        "mksquashfs",
        root,
        image,
        "-noI",
        "-noD",
        "-noF",
        "-noX",
        "-no-fragments",
        "-quiet",
        "-no-progress",
      ]);
      const bytes = readFileSync(image);
      let changed = 0;
      for (const [from, to] of changes) {
        for (let at = bytes.indexOf(from); at >= 0; at = bytes.indexOf(from, at + 1)) {
          bytes.write(to, at, "latin1");
          changed++;
        }
      }
      assert.ok(changed > 0, "the name lies open in the file");
      writeFileSync(image, bytes);
      const before = readdirSync(user.home).sort();
      for (const words of [
        ["import", image, "--name", "crafted"],
        ["import", image, "-o", join(user.home, "out"), "--format", "dir"],
      ]) {
        const { status, signal, stderr } = await rootling(user, words);
        assert.equal(signal, null);
        assert.ok(status === 0 || status === 125, `${status}: ${stderr}`);
        if (status !== 0) assert.match(stderr, /\[E_[A-Z]+\]\n[\s\S]*mend: /);
        assert.doesNotMatch(stderr, /defect in rootling/);
        assert.equal(readFileSync(join(outside, "canary"), "utf8"), "alive\n");
        assert.deepEqual(readdirSync(outside), ["canary"]);
        assert.equal(existsSync("/tmp/canary"), false);
      }
      const after = readdirSync(user.home).filter((name) => name !== "out" && !name.startsWith("."));
      assert.deepEqual(
        after,
        before.filter((name) => !name.startsWith(".")),
      );
    });
  }
}
