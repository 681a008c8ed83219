/** One power cut right after an import's success; `npm run test:crash -- powercut` has many, at any moment. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { checkout } from "../support/cli.ts";
import { command } from "../support/command.ts";
import { userKinds } from "../support/users.ts";

for (const kind of userKinds.filter((one) => one !== "subids" && process.getuid?.() === 0)) {
  test(`an image that was reported as imported survives a power cut, as ${kind}`, async () => {
    const script = join(checkout, "test/crash/powercut.ts");
    const words = ["--only", "import, cut after success", "--count", "1", "--user", kind];
    const outcome = await command([
      ...["unshare", "--mount", "--propagation", "private"],
      ...[process.execPath, script, ...words],
    ]);
    assert.equal(outcome.status, 0, outcome.stdout + outcome.stderr);
    assert.match(outcome.stdout, /^powercut: .* 1\/1, bad: 0/m);
  });
}
