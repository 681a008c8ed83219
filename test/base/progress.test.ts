/** Progress: bars that clear themselves, lines that are never silent for long, JSON for programs. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createProgress, type ProgressMode } from "../../src/base/progress-render.ts";

function recorder(mode: ProgressMode, options: { isTTY?: boolean; columns?: number } = {}, env = {}) {
  let text = "";
  const stream = { ...options, write: (chunk: string) => (text += chunk) };
  return { progress: createProgress(mode, stream, env), text: () => text };
}

test("plain: a line at the beginning and the end, and a sign of life in between", (t) => {
  t.mock.timers.enable({ apis: ["setInterval"] });
  const { progress, text } = recorder("auto");
  const task = progress.task("id", "download\u001b[31m", 1000);
  task.advance(500);
  t.mock.timers.tick(1999);
  assert.match(text(), /500 B of 1.0 kB/);
  task.done("in cache");
  progress.close();
  assert.match(text(), /download\\x1b\[31m: done: in cache\n$/);
  assert.ok(!text().includes("\u001b"));
});

test("tty: bars fit the width, colours can be turned off, nothing stays", (t) => {
  t.mock.timers.enable({ apis: ["setInterval"] });
  for (const columns of [20, 40, 80, 200]) {
    const { progress, text } = recorder("auto", { isTTY: true, columns }, { NO_COLOR: "1", TERM: "xterm" });
    const task = progress.task("id", "x".repeat(99), 1000);
    task.advance(700);
    progress.task("other", "y");
    t.mock.timers.tick(100);
    const drawn = text();
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what is looked for
    for (const line of drawn.replaceAll(/\u001b\[[0-9]*[A-Za-z]|\r/g, "").split("\n"))
      assert.ok(line.length < columns, line);
    assert.ok(!drawn.includes("\u001b[36m"));
    progress.close();
    assert.ok(text().endsWith("\r\u001b[3A\u001b[J"));
  }
  const coloured = recorder("tty", { isTTY: true, columns: 120 });
  coloured.progress.task("id", "x", 10).advance(5);
  t.mock.timers.tick(100);
  assert.ok(coloured.text().includes("\u001b[36m"));
});

test("json: one object a line; none: nothing", () => {
  const { progress, text } = recorder("json");
  progress.task("id", "label", 10).done("note");
  progress.close();
  const events = text()
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  assert.deepEqual(
    events.map((event) => event.event),
    ["start", "end"],
  );
  assert.deepEqual(events[1], { event: "end", id: "id", label: "label", done: 0, total: 10, note: "note" });
  const silent = recorder("none");
  silent.progress.task("id", "label").done();
  assert.equal(silent.text(), "");
});

test("what has no size is told once it takes long, with its time", (t) => {
  t.mock.timers.enable({ apis: ["setInterval"] });
  const { progress, text } = recorder("plain");
  progress.task("a", "open it").done();
  assert.equal(text(), "");
  const task = progress.task("b", "write to disk");
  t.mock.timers.tick(1999);
  task.done();
  assert.equal(text(), "write to disk: 0 s\nwrite to disk: done\n");
  progress.close();
});

test("between two tasks there are signs of life too", (t) => {
  t.mock.timers.enable({ apis: ["setInterval"] });
  for (const [mode, sign] of [
    ["plain", /^still working\n$/],
    ["json", /^(\{"event":"alive"\}\n){3}$/],
  ] as const) {
    const { progress, text } = recorder(mode);
    progress.task("id", "label").done();
    const before = text().length;
    t.mock.timers.tick(1999);
    assert.match(text().slice(before), sign);
    progress.close();
  }
});

/** What a terminal shows in the end, without colours: only as much of its language as the bars speak. */
function screenOf(text: string): string[] {
  const lines: string[] = [""];
  let row = 0;
  for (const part of text.replaceAll("\u001b", "~").match(/~\[[0-9]*[A-Za-z]|\n|[^~\n\r]+/g) ?? []) {
    const [, count, command] = /^~\[([0-9]*)([A-Za-z])$/.exec(part) ?? [];
    if (command === "A") row -= Number(count);
    else if (command === "J") lines.splice(row, lines.length, "");
    else if (command === "K") lines[row] = "";
    else if (part === "\n") lines[++row] ??= "";
    else if (command === undefined) lines[row] += part;
  }
  return lines;
}

test("tty: a bar for the whole, of what is still to begin as well", (t) => {
  t.mock.timers.enable({ apis: ["setInterval"] });
  const { progress, text } = recorder("tty", { columns: 100 }, { NO_COLOR: "1" });
  progress.expect(3000);
  progress.task("a", "first", 1000).done("in cache");
  const second = progress.task("b", "second", 1000);
  second.advance(500);
  t.mock.timers.tick(100);
  const [one, whole] = screenOf(text());
  assert.match(one ?? "", /^second +\[=+ +\] 500 B of 1\.0 kB$/);
  assert.match(whole ?? "", /^in all, 1 of 2 steps done +\[=+ +\] 50 %, 0 s$/);
  // Begun anew after a failure: not twice on the screen, nor in the sum.
  progress.task("b", "second", 1000).advance(1000);
  progress.task("c", "third", 1000);
  t.mock.timers.tick(100);
  const again = screenOf(text());
  assert.equal(again.filter((line) => line.startsWith("second")).length, 1);
  assert.match(again[2] ?? "", / 66 %/);
  second.done();
  assert.match(again[2] ?? "", /1 of 3 steps/);
  progress.close();
  assert.deepEqual(screenOf(text()), [""]);
});

test("tty: what is said stays above the bars; a question is not drawn over", (t) => {
  t.mock.timers.enable({ apis: ["setInterval"] });
  const { progress, text } = recorder("tty", { columns: 100 }, { NO_COLOR: "1" });
  progress.task("a", "first", 1000);
  t.mock.timers.tick(100);
  progress.say("take note");
  t.mock.timers.tick(200);
  assert.deepEqual(
    screenOf(text()).map((line) => line.split(" ")[0]),
    ["take", "first", "in", ""],
  );
  const resume = progress.pause();
  const silent = text().length;
  progress.task("b", "second", 1000);
  t.mock.timers.tick(1000);
  assert.equal(text().length, silent);
  resume();
  t.mock.timers.tick(100);
  assert.deepEqual(
    screenOf(text()).map((line) => line.split(" ")[0]),
    ["take", "first", "second", "in", ""],
  );
  progress.close();
});

test("what is said is a message for programs, and a line without progress", () => {
  const json = recorder("json");
  json.progress.say("take note");
  assert.deepEqual(JSON.parse(json.text()), { event: "message", message: "take note" });
  const none = recorder("none");
  none.progress.say("take note");
  assert.equal(none.text(), "take note\n");
});
