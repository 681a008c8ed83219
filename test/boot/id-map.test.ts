/** Id maps from the words of --map, for callers with and without subordinate ids. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Failure } from "../../src/base/errors.ts";
import { parseSubordinate, type SubordinateIds } from "../../src/base/subids.ts";
import { type Caller, formatMap, type IdRange, parseMap, resolveMap } from "../../src/boot/id-map.ts";

const ids = (uids: [number, number][], gids = uids): SubordinateIds => {
  const spans = (pairs: [number, number][]) => pairs.map(([start, count]) => ({ start, count }));
  return { user: "alice", uids: spans(uids), gids: spans(gids), free: { uid: 300_000, gid: 400_000 } };
};

const show = (ranges: readonly IdRange[]) =>
  ranges.map(({ inside, outside, count }) => `${inside}:${outside}:${count}`).join(",");

const alice: Caller = { uid: 1000, gid: 1000, subordinate: ids([[100_000, 65_536]]) };
const root: Caller = { uid: 0, gid: 0, subordinate: ids([]) };

const uidsOf = (words: string, caller: Caller): string => {
  const { kind, uids } = resolveMap(parseMap(words, "--map"), caller, "--map");
  return `${kind} ${show(uids)}`.trim();
};

test("each word means its map", () => {
  assert.equal(uidsOf("self", alice), "one 1000:1000:1");
  assert.equal(uidsOf("root", alice), "one 0:1000:1");
  assert.equal(uidsOf("subids", alice), "many 0:1000:1,1:100000:65535");
  assert.equal(uidsOf("keep", alice), "many 0:100000:1000,1000:1000:1,1001:101000:64535");
  assert.equal(uidsOf("0:1000:1,5:100003:2", alice), "many 0:1000:1,5:100003:2");
  assert.equal(uidsOf("7:1000:1", alice), "one 7:1000:1");
  assert.equal(uidsOf("self", root), "none");
  assert.equal(uidsOf("root", root), "none");
  assert.equal(uidsOf("subids", root), "many 0:1000000:65536");
  assert.equal(uidsOf("keep", root), "many 0:0:1,1:1000000:65535");
  assert.equal(uidsOf("0:5000:10", root), "many 0:5000:10");
});

test("several subordinate ranges follow one another, and no id is mapped twice", () => {
  const caller = {
    ...alice,
    subordinate: ids([
      [100_000, 600],
      [500_000, 70_000],
    ]),
  };
  assert.equal(uidsOf("subids", caller), "many 0:1000:1,1:100000:600,601:500000:64935");
  assert.equal(uidsOf("keep", caller), "many 0:100000:600,600:500000:400,1000:1000:1,1001:500400:64535");
  const small = { ...alice, subordinate: ids([[100_000, 10]]) };
  assert.equal(uidsOf("keep", small), "many 0:100000:10,1000:1000:1");
});

test("groups may have ranges of their own, and every map can be written again", () => {
  for (const words of ["self", "root", "subids", "keep", "uid:0:1000:1,1:100000:5;gid:0:1000:1"]) {
    assert.deepEqual(parseMap(formatMap(parseMap(words, "x")), "x"), parseMap(words, "x"));
  }
  const map = resolveMap(parseMap("uid:0:1000:1;gid:0:1000:1,1:100000:3", "x"), alice, "x");
  assert.equal(show(map.gids), "0:1000:1,1:100000:3");
});

const refusal = (words: string, caller: Caller): Failure => {
  try {
    resolveMap(parseMap(words, "--map"), caller, "--map");
  } catch (error) {
    return error as Failure;
  }
  throw new Error(`${words} was taken`);
};

test("words that are no map are refused", () => {
  const wrong = ["", "all", "0", "0:0", "0:0:0", "a:b:c", "-1:0:1", "0:1:4294967296", "4294967290:0:10", "uid:0:0:1"];
  for (const words of wrong) assert.equal(refusal(words, alice).code, "E_USAGE", words);
  for (const words of ["0:1000:2,1:5000:1", "0:1000:2,9:1001:1"]) {
    assert.match(refusal(words, root).what, /mapped twice/, words);
  }
});

test("ids that are not the caller's are refused with the line that gives them", () => {
  const { code, mend } = refusal("subids", { ...alice, subordinate: ids([]) });
  assert.equal(code, "E_SUBUID");
  assert.equal(mend, "ask the administrator to add this line to /etc/subuid: alice:300000:65536");
  const groups = refusal("keep", { ...alice, subordinate: ids([[100_000, 65_536]], []) });
  assert.match(groups.mend ?? "", /\/etc\/subgid: alice:400000:65536$/);
  assert.equal(refusal("0:1000:1,1:165000:1000", alice).code, "E_SUBUID");
  assert.equal(refusal("0:1000:1,1:0:1", alice).code, "E_SUBUID");
  assert.equal(refusal("0:100000:10", alice).code, "E_CONFLICT");
});

test("subordinate ranges that overlap one another, the caller or root are refused", () => {
  const overlaps: [number, number][][] = [
    [
      [100_000, 10],
      [100_009, 10],
    ],
    [[0, 70_000]],
    [[900, 200]],
  ];
  for (const spans of overlaps) {
    assert.equal(refusal("subids", { ...alice, subordinate: ids(spans) }).code, "E_SUBUID");
  }
});

test("lines of subuid(5) by name and number; what is no line gives nothing", () => {
  const text = "# alice:1:2\nalice:100000:65536\n1000:5:6 \nbob:x:1\nbob:1:0\n:1:1\nbob:1:2:3\n";
  assert.deepEqual(parseSubordinate(text), [
    { user: "alice", start: 100_000, count: 65_536 },
    { user: "1000", start: 5, count: 6 },
  ]);
});
