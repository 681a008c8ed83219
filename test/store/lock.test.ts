/** Locks: one owner at a time, whatever dies. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { tryLock } from "../../src/store/lock.ts";
import { scratch } from "../support/image-support.ts";

const WORKERS = 50;

test("fifty processes contend; some die with the lock", async (t) => {
  const path = join(scratch(t), "lock");
  const script = join(import.meta.dirname, "../support/image-lock-worker.ts");
  const ends = Array.from({ length: WORKERS }, (_, index) => {
    const dies = index % 5 === 0 ? ["dies"] : [];
    const child = spawn(process.execPath, [script, path, "3", ...dies], { stdio: "inherit" });
    return new Promise((resolve) => child.on("close", (status, signal) => resolve(signal ?? status)));
  });
  const results = await Promise.all(ends);
  assert.equal(results.filter((result) => result === 0).length, (WORKERS / 5) * 4);
  assert.equal(results.filter((result) => result === "SIGKILL").length, WORKERS / 5);
  const last = tryLock(path);
  assert.ok("release" in last);
  assert.ok("pid" in tryLock(path));
  last.release();
  assert.ok("release" in tryLock(path));
  assert.equal(readdirSync(join(path, "..")).length, 1);
});

test("a lock that a power cut has emptied is nobody's", (t) => {
  const path = join(scratch(t), "lock");
  for (const [generation, damage] of ["", "{", "null", "[]"].entries()) {
    writeFileSync(`${path}.${generation * 2 + 1}`, damage);
    const taken = tryLock(path);
    assert.ok("release" in taken, JSON.stringify(damage));
    taken.release();
  }
});

test("releasing a lock never hides how the work ended", (t) => {
  const directory = join(scratch(t), "locks");
  mkdirSync(directory);
  const taken = tryLock(join(directory, "lock"));
  assert.ok("release" in taken);
  rmSync(directory, { recursive: true });
  taken.release();
});
