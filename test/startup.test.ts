/** What a start costs before the container exists: the modules that are loaded, and the code that is kept. */
import assert from "node:assert/strict";
import { globSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type Box, busyboxBox } from "./support/boxes.ts";
import { packageDirectory } from "./support/cli.ts";
import { userKinds } from "./support/users.ts";

/** Each brings others with it, and none is needed for a start. */
const HEAVY = [
  ...["crypto", "child_process", "net", "tty", "stream", "fs/promises", "timers/promises"],
  ...["internal/fs/promises", "internal/abort_controller", "internal/process/report", "internal/modules/esm/loader"],
];

/** Instead of becoming the executor, says what was loaded since the first line of ours. */
const HOOK = `const before = new Set(process.moduleLoadList);
process.execve = (_executor, [, wire]) => {
  process.getBuiltinModule("node:fs").unlinkSync(wire);
  const loaded = process.moduleLoadList.filter((name) => !before.has(name));
  const files = Object.keys(require.cache).filter((file) => file.includes("/dist/"));
  process._rawDebug(JSON.stringify({ loaded, files }));
  process.reallyExit(0);
};`;

describe("a start", () => {
  let box: Box;
  before(async () => {
    box = await busyboxBox(userKinds[0] ?? "plain");
  });
  after(() => box.remove());

  const loadedBy = async (...words: string[]): Promise<{ loaded: string[]; files: string[] }> => {
    const hook = join(box.scratch, "hook.cjs");
    writeFileSync(hook, HOOK);
    const entry = join(packageDirectory(), "dist/entry.cjs");
    const outcome = await box.user.run([process.execPath, "--require", hook, entry, ...words]);
    assert.equal(outcome.status, 0, outcome.stderr);
    const { loaded, files } = JSON.parse(outcome.stderr) as { loaded: string[]; files: string[] };
    return { loaded: loaded.map((name) => name.replace(/^NativeModule /, "")), files };
  };

  for (const words of [
    ["start", "box", "true"],
    ["start", "--rw", "--root", "box", "true"],
    ["run", "busybox", "true"],
  ]) {
    test(`loads little: ${words.join(" ")}`, async () => {
      const { loaded, files } = await loadedBy(...words);
      assert.ok(loaded.includes("os"), "what is needed is seen");
      assert.deepEqual(
        loaded.filter((name) => HEAVY.includes(name)),
        [],
      );
      // What start, run and exec import belongs into one chunk: see scripts/bundle.config.mjs. What it has in common with
      // the entry, and the bundler's helper, may be others: they are little.
      const others = files.filter((file) => !/\/(entry|boot-[^/]*)\.cjs$/.test(file));
      assert.equal(files.length - others.length, 2, files.join(" "));
      assert.ok(others.length <= 2, files.join(" "));
      assert.ok(others.map((file) => statSync(file).size).reduce((sum, size) => sum + size, 0) < 5000, files.join(" "));
    });
  }

  test("keeps its compiled code, in a directory of its own", async () => {
    await box.must(["start", "box", "true"]);
    const { ROOTLING_CACHE_PATH = "" } = box.user.env;
    const compiled = join(ROOTLING_CACHE_PATH, "compiled");
    assert.equal(statSync(compiled).mode & 0o777, 0o700);
    const files = globSync("*/*", { cwd: compiled });
    assert.ok(
      files.some((file) => statSync(join(compiled, file)).size > 20_000),
      files.join(" "),
    );
  });
});
