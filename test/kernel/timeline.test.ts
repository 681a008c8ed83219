/** start --timeline: the picture is there once the payload runs, and nothing of it stays. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type Box, busyboxBox } from "../support/boxes.ts";
import { userKinds } from "../support/users.ts";

for (const kind of userKinds.filter((one) => one !== "subids")) {
  describe(`a picture of a start as ${kind}`, () => {
    let box: Box;
    before(async () => {
      box = await busyboxBox(kind);
    });
    after(() => box.remove());

    for (const flags of [[], ["--pid"]]) {
      test(`shows all steps${flags.join(" ")}, and the status is the payload's`, async () => {
        const file = join(box.user.home, `picture${flags.length}.svg`);
        const outcome = await box.run(["start", ...flags, "--timeline", file, "box", "sh", "-c", "exit 7"]);
        assert.equal(outcome.status, 7, outcome.stderr);
        for (let waited = 0; !existsSync(file) && waited < 30_000; waited += 100) await sleep(100);
        const svg = readFileSync(file, "utf8");
        for (const said of ["Node", "records and locks", "overlay ", "pivot", "exec "])
          assert.ok(svg.includes(said), said);
        assert.match(svg, /^<svg [\s\S]*<\/svg>\n$/);
      });
    }

    test("a picture that cannot be written is said, and takes nothing from the start", async () => {
      const outcome = await box.run(["start", "--timeline", "/proc/none.svg", "box", "echo", "on"]);
      assert.equal(outcome.status, 0);
      assert.equal(outcome.stdout, "on\n");
    });
  });
}
