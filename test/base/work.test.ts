/** Work that is waited for and followed. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { beginWork } from "../../src/base/work.ts";

type Step = readonly [kind: string, value: number];

/** Work that a test leads. */
function led() {
  const end = Promise.withResolvers<string>();
  let tell: (step: Step) => void = () => {};
  const work = beginWork<string, Step>(
    (told) => {
      tell = told;
      return end.promise;
    },
    ([one], [other]) => one === other,
  );
  return { work, end, tell: (...steps: Step[]) => steps.forEach((step) => tell(step)) };
}

async function read(work: AsyncIterable<Step>): Promise<Step[]> {
  const steps: Step[] = [];
  for await (const step of work) steps.push(step);
  return steps;
}

test("a slow reader gets every kind of step, of each the newest; a late one begins with the newest", async () => {
  const { work, end, tell } = led();
  const early = read(work);
  tell(["a", 1]);
  await turn();
  tell(["a", 2], ["a", 3], ["b", 4], ["b", 5], ["c", 6]);
  const late = read(work);
  await turn();
  tell(["c", 7]);
  end.resolve("done");
  assert.equal(await work, "done");
  assert.deepEqual(
    (await early).map(([, value]) => value),
    [1, 3, 5, 6, 7],
  );
  assert.deepEqual(
    (await late).map(([, value]) => value),
    [6, 7],
  );
  assert.deepEqual(await read(work), [["c", 7]], "after the end the last one is still to be had");
});

test("a failure is thrown to each who follows or waits, and who only follows leaves none unhandled", async () => {
  const { work, end, tell } = led();
  const followed = read(work);
  tell(["a", 1]);
  end.reject(new Error("no"));
  await assert.rejects(followed, /no/);
  await assert.rejects(work, /no/);
  const alone = led();
  const only = read(alone.work);
  alone.end.reject(new Error("never"));
  await assert.rejects(only, /never/);
  await turn();
});

test("who leaves early does not hold it up", async () => {
  const { work, end, tell } = led();
  setImmediate(() => tell(["a", 1]));
  for await (const [kind] of work) {
    assert.equal(kind, "a");
    break;
  }
  tell(["b", 2]);
  end.resolve("done");
  assert.equal(await work, "done");
});
