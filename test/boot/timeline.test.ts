/** The picture of a boot: from the executor's record to SVG. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { drawTimeline, readTimeline } from "../../src/boot/timeline.ts";

const record = (...fields: string[]): Buffer => Buffer.from(`${fields.join("\0")}\0`);

const MARKS = ["3", "1000000 Node", "21000000 modules", "31000000 hand over"];
const OPS = [
  ...["namespaces", "inside", "--pid", "41000000", "42000000", "1", "user,mount"],
  ...["record", "outside", "rootling", "42000000", "42500000", "1", "/run/x"],
  ...["bind", "inside", "--mount", "43000000", "43250000", "7", "/a<b", "/mnt\u001b", "", "", "rec", "dir", "755"],
  ...["environment", "inside", "--env", "43250000", "43260000", "1", "SECRET=s3cret"],
  ...["exec", "inside", "command line", "44000000", "0", "2", "/bin/true", "word"],
];
const whole = record("/tmp/out.svg", "51000000", ...MARKS, ...OPS);

test("a record is read: phases of Node, then the steps, in milliseconds", () => {
  const timeline = readTimeline(whole);
  assert.equal(timeline?.file, "/tmp/out.svg");
  assert.equal(timeline.executed, 50);
  assert.deepEqual(
    timeline.spans.map(({ name, side, begin, end }) => [name, side, begin, end]),
    [
      ["Node", "node", 0, 20],
      ["modules", "node", 20, 30],
      ["hand over", "node", 30, 40],
      ["namespaces user,mount", "inside", 40, 41],
      ["record /run/x", "outside", 41, 41.5],
      ["bind /a<b on /mnt\u001b", "inside", 42, 42.25],
      ["environment", "inside", 42.25, 42.26],
      ["exec /bin/true", "inside", 43, 50],
    ],
  );
});

test("the picture shows each step, no value of a variable, and nothing that steers a terminal or is markup", () => {
  const timeline = readTimeline(whole);
  assert.ok(timeline);
  const svg = drawTimeline(timeline);
  for (const said of ["20.0 ms", "500 µs", "executor took 10.0 ms", "bind /a&#60;b on /mnt\\x1b", "(--mount)"])
    assert.ok(svg.includes(said), said);
  for (const hidden of ["s3cret", "\u001b", "a<b"]) assert.ok(!svg.includes(hidden), hidden);
  assert.equal(svg.match(/<g>/g)?.length, svg.match(/<\/g>/g)?.length);
});

test("what is no record is refused", () => {
  assert.equal(readTimeline(Buffer.from("")), undefined);
  assert.equal(readTimeline(record("/tmp/x", "5", "0")), undefined);
  for (let length = 0; length < whole.length - 1; length++)
    assert.doesNotThrow(() => readTimeline(whole.subarray(0, length)));
  assert.equal(readTimeline(whole.subarray(0, whole.length - 5)), undefined);
});
