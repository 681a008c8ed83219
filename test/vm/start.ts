/** `--vm`: a real virtual machine proves that it ran by a nonce; the rest needs none. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { kernelOf } from "../../src/image/sources/kernel.ts";
import { type Box, busyboxBox } from "../support/boxes.ts";
import { machineKernel, machineProcesses } from "../support/machine.ts";
import { tempDirectory } from "../support/temp.ts";

const { file, version } = machineKernel();

describe("an ordinary user's virtual machine", () => {
  let box: Box;
  before(async () => {
    box = await busyboxBox("plain");
  });
  after(() => box.remove());

  test("a container boots, keeps its changes, hands its status back and leaves nothing", async () => {
    const nonce = randomBytes(8).toString("hex");
    const script = 'echo "[$NONCE $FROM $(uname -r) $(pwd) $(id -u)]"; echo $NONCE >/kept; exit 7';
    const words = ["start", "--vm", "--kernel", file, "--rw", "--env", `NONCE=${nonce}`, "--workdir", "/etc", "box"];
    const { stdout, stderr, status } = await box.run([...words, "sh", "-c", script], { timeout: 120_000 });
    assert.equal(status, 7, stdout + stderr);
    assert.equal(stdout, `[${nonce} image ${version} /etc 0]\n`);
    assert.equal(await box.must(["start", "box", "cat", "/kept"]), `${nonce}\n`);
    assert.deepEqual(machineProcesses(box.user), []);
    assert.deepEqual(readdirSync(join(box.user.env.ROOTLING_RUNTIME_PATH ?? "", "wires")), []);
  });

  test("what a virtual machine cannot have is refused before anything is started", async () => {
    const machine = ["start", "--vm", "--kernel", file];
    const refusals: [string[], RegExp][] = [
      [["start", "--vm", "box"], /the image has no kernel/],
      [["start", "--kernel", file, "box"], /only a virtual machine has a kernel/],
      [["start", "--vm", "--kernel", "/bin/sh", "box"], /not a kernel/],
      [[...machine, "--mount", "/srv:/srv", "box"], /does not have what --mount asks for/],
      [[...machine, "--isolate", "box"], /does not have what --isolate asks for/],
      [["run", "--vm", "--kernel", file], /root of an image, a container or a directory/],
    ];
    for (const [words, said] of refusals) {
      const { status, stderr } = await box.run(words);
      assert.notEqual(status, 0, words.join(" "));
      assert.match(stderr, said);
    }
  });
});

test("the newest kernel of the topmost layer that has one; what a symlink leads to is none", (t) => {
  const temp = tempDirectory(t);
  const [above, below] = [join(temp, "above"), join(temp, "below")];
  const kernel = Buffer.alloc(1024);
  kernel.write("HdrS", 0x202);
  kernel.writeUInt16LE(0x100, 0x20e);
  kernel.write("6.1.0-9-test (builder) #1\0", 0x300);
  for (const root of [above, below]) mkdirSync(join(root, "boot"), { recursive: true });
  for (const name of ["vmlinuz-6.1.0-9", "vmlinuz-6.1.0-10"]) writeFileSync(join(below, "boot", name), kernel);
  const expected = { kernel: join(below, "boot/vmlinuz-6.1.0-10"), version: "6.1.0-9-test" };
  assert.deepEqual(kernelOf([above, below]), expected);
  symlinkSync(file, join(above, "boot/vmlinuz-7"));
  assert.deepEqual(kernelOf([above, below]), expected);
  assert.equal(kernelOf([above]), undefined);
});
