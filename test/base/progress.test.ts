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
