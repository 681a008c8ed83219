/** Some of the archives of `npm run test:hostile`, as each kind of user: threats.md rows 9, 10, 19 and 28. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { userKinds } from "../support/users.ts";
import { sweep } from "./sweep.ts";

const COUNT = 150;

for (const kind of userKinds.filter((one) => one !== "subids")) {
  test(`hostile archives are unpacked or refused, and nothing outside changes, as ${kind}`, async () => {
    const result = await sweep({ kind, seed: 3, from: 0, to: COUNT, jobs: 1 });
    assert.deepEqual(result.problems, []);
    assert.equal(result.ran, COUNT);
  });
}
