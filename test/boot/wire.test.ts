/** The table of verbs and the wire, held against the executor itself. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Failure } from "../../src/base/errors.ts";
import { explain } from "../../src/boot/explain.ts";
import { check } from "../../src/plan/check.ts";
import { findExecutor } from "../../src/plan/launch.ts";
import { type Op, op, type Plan, verbTable } from "../../src/plan/plan.ts";
import { fromRecord, toWire } from "../../src/plan/wire.ts";
import { command } from "../support/command.ts";
import { guestProgram } from "../support/guest.ts";
import { tempDirectory } from "../support/temp.ts";

const executor = await findExecutor("/nonexistent");

const plan = (...ops: Op[]): Plan => ({ version: 1, topology: "in-place", ops, remarks: [] });

const namespaces = op("namespaces", "test", "mount");
const exec = op("exec", "test", "/bin/true");

test("the executor's verbs are those of the plan, with the same fields", async () => {
  // The program of guests has all of the executor's, and its own.
  const { stdout } = await command([guestProgram(), "--ops"]);
  const executors = await command([executor, "--ops"]);
  assert.ok(executors.stdout.split("\n").every((line) => stdout.includes(line)));
  const theirs = stdout
    .trim()
    .split("\n")
    .map((line) => line.split(" "));
  assert.deepEqual(theirs.map(([verb]) => verb).sort(), Object.keys(verbTable).sort());
  for (const [verb = "", side, least, most] of theirs) {
    const entry = verbTable[verb as keyof typeof verbTable];
    const named = entry.fields.length;
    assert.equal(side, entry.side, verb);
    assert.equal(Number(least), entry.repeats === "any" ? named - 1 : named, verb);
    assert.equal(Number(most) > named, entry.repeats !== undefined, verb);
  }
});

test("a wire that is damaged anywhere is refused whole", async (t) => {
  const directory = tempDirectory(t);
  const whole = toWire(plan(namespaces, op("propagation", "test", "/", "private"), exec), []);
  const tries: [string, Buffer][] = [
    ["empty", Buffer.alloc(0)],
    ["magic", Buffer.from(whole.toString("latin1").replace("rootling-wire", "rootling-wine"), "latin1")],
    ["version", Buffer.from(whole.toString("latin1").replace("\0" + "2\0", "\0" + "1\0"), "latin1")],
    ["verb", Buffer.from(whole.toString("latin1").replace("propagation", "propaganda"), "latin1")],
    ["more", Buffer.concat([whole, Buffer.from("more\0")])],
    ["without exec", toWire(plan(namespaces), [])],
    ...Array.from({ length: whole.length - 1 }, (_, i): [string, Buffer] => [`cut at ${i}`, whole.subarray(0, i)]),
  ];
  for (const [name, bytes] of tries) {
    const file = join(directory, "wire");
    writeFileSync(file, bytes, { mode: 0o600 });
    const { status, stderr } = await command([executor, file]);
    assert.equal(status, 125, name);
    assert.match(stderr, /the plan is/, name);
  }
});

test("plans that could not be carried out are refused before anything is done", () => {
  const refused: [string, Plan, RegExp][] = [
    ["no exec", plan(namespaces), /is not exec/],
    ["exec earlier", plan(namespaces, exec, exec), /exec comes earlier/],
    ["no namespaces", plan(op("propagation", "test", "/", "slave"), exec), /before the namespaces/],
    ["fields", plan(namespaces, op("pivot", "test", "x"), exec), /has 1 fields, not 0/],
    ["undo in place", plan(op("upper", "test", "/x"), namespaces, exec), /needs a monitor/],
  ];
  for (const [name, bad, what] of refused) {
    assert.throws(
      () => check(bad),
      (error: Failure) => error.code === "E_PLAN" && what.test(error.what),
      name,
    );
  }
  assert.throws(
    () => check(plan(namespaces, op("exec", "--env", "a\0b"))),
    (error: Failure) => error.code === "E_CONFLICT",
  );
});

test("a record of the executor becomes words with code, origin and mend", () => {
  const record = [
    "6",
    "overlay",
    "1",
    "fsconfig",
    "e overlay: no",
    "container web",
    "/t",
    "",
    "/u",
    "/w",
    "/l",
    "",
  ].join("\0");
  const failure = fromRecord(Buffer.from(record));
  assert.ok(failure);
  assert.deepEqual(failure.fields, ["/t", "", "/u", "/w", "/l"]);
  const words = explain(failure);
  assert.equal(words.code, "E_OVERLAY");
  assert.equal(words.where, "container web");
  assert.match(words.what, /EPERM from fsconfig.*e overlay: no/);
  assert.ok(words.mend);
  assert.equal(fromRecord(Buffer.from("nonsense")), undefined);
});

test("every verb that can fail has words, with a mend", () => {
  for (const verb of Object.keys(verbTable)) {
    for (const errno of [1, 2, 12, 13, 22, 28]) {
      const failure = explain({
        index: 3,
        verb,
        errno,
        call: "call",
        detail: "",
        origin: "test",
        fields: ["a", "b", "c"],
      });
      assert.ok(failure instanceof Failure);
      assert.ok(failure.what.length > 10, verb);
      assert.ok(failure.mend, `${verb} ${errno} has no mend`);
    }
  }
});
