/** Never silent for longer than two seconds: registries that are slow, disks that are slow, others who are first. */
import assert from "node:assert/strict";
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type Box, emptyBox } from "./support/boxes.ts";
import { rootlingWords } from "./support/cli.ts";
import { must } from "./support/command.ts";
import { FakeRegistry } from "./support/fake-registry.ts";
import { ImageLayout, layeredImage } from "./support/images.ts";
import { userKinds } from "./support/users.ts";

/** Seconds that each slow thing takes: longer than anybody may be silent. */
const SLOW = 3.5;
const ALLOWED = 2000;

/** A program of that name on the user's PATH, which does its work and then takes its time. */
function slowProgram(box: Box, name: string, path: string): void {
  const file = join(box.user.home, name);
  writeFileSync(file, `#!/bin/sh\n${path} "$@" || exit\nexec sleep ${SLOW}\n`);
  chmodSync(file, 0o755);
}

interface Heard {
  stderr: string;
  /** The longest silence in milliseconds, from the first word on. */
  silence: number;
}

/** Imports as the user does, with slow programs first on the PATH, and listens. */
async function listen(box: Box, words: readonly string[]): Promise<Heard> {
  let last: number | undefined;
  let silence = 0;
  const outcome = await box.user.run(rootlingWords("import", ...words), {
    env: { PATH: `${box.user.home}:${box.user.env.PATH}` },
    onStart: (child) =>
      child.stderr?.on("data", () => {
        const now = performance.now();
        silence = Math.max(silence, now - (last ?? now));
        last = now;
      }),
  });
  assert.equal(outcome.status, 0, outcome.stderr);
  silence = Math.max(silence, performance.now() - (last ?? 0));
  return { stderr: outcome.stderr, silence };
}

async function boxOf(t: TestContext): Promise<Box> {
  const box = await emptyBox(userKinds.find((kind) => kind !== "root") ?? "root");
  t.after(box.remove);
  return box;
}

test("while a registry thinks, and while a disk takes its time", async (t) => {
  const box = await boxOf(t);
  slowProgram(box, "sync", "/bin/sync");
  const registry = await new FakeRegistry().start(t);
  registry.faults.index = async () => {
    await sleep(SLOW * 1000);
    return false;
  };
  const words = [`docker://${registry.host}/team/app:1`];
  const modes = ["plain", "json", "tty"];
  const heard = await Promise.all(
    modes.map((mode) =>
      listen(box, [...words, "--progress", mode, "-o", join(box.user.home, mode), "--format", "dir"]),
    ),
  );
  for (const [index, { silence, stderr }] of heard.entries()) {
    assert.ok(silence < ALLOWED, `${modes[index]}: silent for ${silence} ms\n${stderr}`);
    assert.match(stderr, /open docker:/);
    assert.match(stderr, /write to disk/);
  }
  const events = heard[1]?.stderr.trim().split("\n") ?? [];
  for (const line of events) assert.equal(typeof JSON.parse(line).event, "string");
});

test("while mksquashfs ends, and while another process imports the same image", async (t) => {
  const box = await boxOf(t);
  slowProgram(box, "sync", "/bin/sync");
  slowProgram(box, "mksquashfs", "/usr/bin/mksquashfs");
  const layout = await ImageLayout.create(join(box.scratch, "layout"));
  await layeredImage(layout, "it", box.scratch, [[{ name: "file", content: "it" }]]);
  await must(["chmod", "-R", "a+rX", layout.directory]);
  const source = `oci:${layout.reference("it")}`;
  const [first, second, file] = await Promise.all([
    listen(box, [source]),
    listen(box, [source]),
    listen(box, [source, "-o", join(box.user.home, "it.sqsh")]),
  ]);
  for (const { silence, stderr } of [first, second, file]) {
    assert.ok(silence < ALLOWED, `silent for ${silence} ms\n${stderr}`);
  }
  assert.match(file.stderr, /write to disk: [0-9]+ s/);
  assert.match(first.stderr + second.stderr, /wait for process [0-9]+: [0-9]+ s/);
});
