/** `run` without a source: the host's own root, overlaid. */
import assert from "node:assert/strict";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type Box, emptyBox } from "../support/boxes.ts";
import { rootlingOnTerminal } from "../support/cli.ts";
import { userKinds } from "../support/users.ts";

for (const kind of userKinds) {
  describe(`run over the host's root as ${kind}`, () => {
    let box: Box;
    before(async () => {
      box = await emptyBox(kind);
    });
    after(() => box.remove());

    test("what is written does not reach the host, and is said to be ephemeral", async () => {
      const name = `/tmp/rootling-test-${process.pid}-${kind}`;
      const outcome = await box.run(["run", "host:", "sh", "-c", `echo inside >${name} && cat ${name}; pwd`]);
      assert.equal(outcome.status, 0, outcome.stderr);
      assert.equal(outcome.stdout.split("\n")[0], "inside", outcome.stderr);
      const reached = existsSync(name);
      rmSync(name, { force: true });
      assert.ok(!reached, "the file must not be on the host");
      assert.match(outcome.stderr, /ephemeral/);
    });

    test("what belongs to root stays unwritable for an ordinary user", async () => {
      const { stdout, stderr } = await box.run([
        "run",
        "host:",
        "sh",
        "-c",
        "echo x >>/etc/passwd && echo written; : >/usr/x && echo made",
      ]);
      if (kind === "root") assert.equal(stdout, "written\nmade\n", stderr);
      else assert.equal(stdout, "");
      assert.ok(!readFileSync("/etc/passwd", "utf8").endsWith("x\n"));
    });

    test("the current directory can be written, also below directories of root's", async (t) => {
      const top = mkdtempSync("/tmp/rootling-test-");
      t.after(() => rmSync(top, { recursive: true }));
      chmodSync(top, 0o755);
      const own = join(top, "own");
      mkdirSync(own);
      chownSync(own, box.user.uid, box.user.gid);
      const script = `set -e; echo kept >>there; mkdir new; echo x >new/f; cat there`;
      writeFileSync(join(own, "there"), "host\n");
      chownSync(join(own, "there"), box.user.uid, box.user.gid);
      const outcome = await box.run(["run", "host:", "sh", "-c", script], { cwd: own });
      assert.deepEqual([outcome.status, outcome.stdout], [0, "host\nkept\n"], outcome.stderr);
      assert.deepEqual(readdirSync(own), ["there"]);
      // Who runs the tests has made the directory.
      if (statSync(top).uid === box.user.uid) return;
      const refused = await box.run(["run", "host:", "sh", "-c", `: >${top}/x`], { cwd: own });
      assert.notEqual(refused.status, 0, "root's own directory stays closed");
    });

    test("host programs run, with the caller's id", async () => {
      assert.equal(await box.must(["run", "host:", "id", "-u"]), `${box.user.uid}\n`);
      assert.equal(await box.must(["run", "--root", "--pid", "host:", "sh", "-c", "id -u; echo $$"]), "0\n2\n");
    });

    test("rootling run alone is an interactive shell", async () => {
      const commands = `tty; echo "status $((6 * 7))"; exit 3\n`;
      const outcome = await rootlingOnTerminal(box.user, ["run"], { input: commands });
      assert.match(outcome.stdout, /status 42/);
      assert.match(outcome.stdout, /\/dev\/console/);
      assert.equal(outcome.status, 3);
    });

    test("the store is out of sight", async () => {
      const { ROOTLING_DATA_PATH = "", ROOTLING_CACHE_PATH = "" } = box.user.env;
      assert.equal(
        await box.must(["run", "host:", "sh", "-c", `ls -A ${ROOTLING_DATA_PATH} 2>/dev/null | wc -l`]),
        "0\n",
      );
      assert.notEqual(join(ROOTLING_DATA_PATH, "x"), join(ROOTLING_CACHE_PATH, "x"));
    });
  });
}
