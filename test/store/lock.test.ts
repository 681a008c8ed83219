/** Locks: one owner at a time, whatever dies. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { type Owner, ourselves, ownerName } from "../../src/base/owner.ts";
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

test("what somebody who died while taking a lock has left is cleared by who takes it next", (t) => {
  const directory = scratch(t);
  const unfinished = (owner: Owner, end: string) => join(directory, `lock.${ownerName(owner)}.0123abcd${end}`);
  const dead = { ...ourselves(), pid: 4_000_000_000 };
  const kept = [unfinished(ourselves(), ".tmp"), unfinished(dead, ".record")];
  for (const file of [...kept, unfinished(dead, ".tmp")]) writeFileSync(file, "");
  assert.ok("release" in tryLock(join(directory, "lock")));
  assert.deepEqual(
    readdirSync(directory).sort(),
    ["lock.1", ...kept.map((file) => file.slice(directory.length + 1))].sort(),
  );
});
