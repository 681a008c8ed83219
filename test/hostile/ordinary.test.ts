/** The tests of hostile images once more, as an ordinary user: what root may do is no reason why they hold. */
import assert from "node:assert/strict";
import { cpSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { checkout } from "../support/cli.ts";
import { makeTemp } from "../support/temp.ts";
import { testUser, userKinds } from "../support/users.ts";
import { copySources } from "./sweep.ts";

const files = ["test/image/hostile.test.ts", "test/image/links.test.ts", "test/hostile/refused.test.ts"];

/** What these tests import of other packages. */
const packages = ["fast-check", "pure-rand"];

for (const kind of userKinds.filter((one) => one === "plain" && process.getuid?.() === 0)) {
  test(`images that want to do harm, as ${kind}`, async (t) => {
    const user = await testUser(t, kind);
    const { path, remove } = makeTemp();
    t.after(remove);
    const { node } = copySources(path);
    for (const file of files) cpSync(join(checkout, file), join(path, file));
    for (const name of packages) {
      cpSync(join(checkout, "node_modules", name), join(path, "node_modules", name), { recursive: true });
    }
    const words = [node, "--test", "--test-reporter=tap", ...files];
    const { status, stdout, stderr } = await user.run(words, {
      cwd: path,
      env: { TMPDIR: user.home },
      timeout: 200_000,
    });
    assert.equal(status, 0, `${stdout.match(/^not ok[\s\S]*?\n {2}\.\.\./gm)?.join("\n")}\n${stderr}`);
    assert.ok(Number(/^# pass ([0-9]+)$/m.exec(stdout)?.[1]) > 40, stdout.slice(-500));
    assert.match(stdout, /^# skipped 0$/m);
  });
}
