/** NVIDIA_* under enroot's rules: by CDI where a spec knows GPUs, else by nvidia-container-cli, here a program of our own. */
import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, beforeEach, describe, test } from "node:test";
import { must } from "../support/command.ts";
import { type EnrootBox, enrootBox } from "../support/enroot.ts";
import { ordinaryKinds } from "../support/users.ts";

describe("GPUs", () => {
  let box: EnrootBox;
  let programs: string;
  let told: string;
  let specs: string;
  before(async () => {
    box = await enrootBox(ordinaryKinds[0] ?? "plain");
    programs = join(box.scratch, "programs");
    told = join(box.scratch, "told/words");
    specs = join(box.scratch, "cdi");
    for (const directory of [programs, join(box.scratch, "told"), specs]) mkdirSync(directory, { mode: 0o755 });
    await must(["chown", `${box.user.uid}`, join(box.scratch, "told")]);
    const cli = join(programs, "nvidia-container-cli");
    writeFileSync(cli, `#!/bin/sh\nprintf '%s\\n' "$@" >${told}\n`);
    chmodSync(cli, 0o755);
  });
  after(() => box.remove());
  beforeEach(() => rmSync(told, { force: true }));

  const start = (variables: readonly string[], env: Record<string, string> = {}, command = ["true"]) =>
    box.run(["start", ...variables.flatMap((each) => ["--env", each]), "box", ...command], {
      env: { ENROOT_CDI_PATHS: specs, PATH: `${programs}:${process.env.PATH}`, ...env },
    });

  /** What nvidia-container-cli was given, without what depends on the machine. */
  const words = async (variables: readonly string[], env?: Record<string, string>): Promise<string[] | undefined> => {
    const { status, stderr } = await start(variables, env);
    assert.equal(status, 0, stderr);
    if (!existsSync(told)) return undefined;
    const all = readFileSync(told, "utf8").trim().split("\n");
    rmSync(told);
    assert.deepEqual(
      [...all.slice(0, 3), all[3]?.split("/")[0]],
      ["--user", "configure", "--no-cgroups", "--ldconfig=@"],
    );
    assert.match(all.at(-1) ?? "", /\/root$/);
    return all.slice(4, -1);
  };

  test("nvidia-container-cli gets devices, capabilities and requirements", async () => {
    assert.deepEqual(await words(["NVIDIA_VISIBLE_DEVICES=0,1"]), ["--device=0,1", "--utility"]);
    assert.deepEqual(
      await words([
        "NVIDIA_VISIBLE_DEVICES=all",
        "NVIDIA_DRIVER_CAPABILITIES=compute,video",
        "NVIDIA_REQUIRE_CUDA=cuda>=12.0 brand=a",
      ]),
      ["--device=all", "--compute", "--video", "--require=cuda>=12.0 brand=a"],
    );
    const every = ["--compute", "--compat32", "--display", "--graphics", "--utility", "--video"];
    assert.deepEqual(
      await words([
        "NVIDIA_VISIBLE_DEVICES=none",
        "NVIDIA_DRIVER_CAPABILITIES=all",
        "NVIDIA_REQUIRE_X=y",
        "NVIDIA_DISABLE_REQUIRE=1",
      ]),
      every,
    );
    // The caller's own goes before the container's.
    assert.deepEqual(await words(["NVIDIA_VISIBLE_DEVICES=all"], { NVIDIA_VISIBLE_DEVICES: "3" }), [
      "--device=3",
      "--utility",
    ]);
  });

  test("void, nothing, and a variable that is not set ask for nothing", async () => {
    for (const variables of [[], ["NVIDIA_VISIBLE_DEVICES=void"], ["NVIDIA_VISIBLE_DEVICES="]])
      assert.equal(await words(variables), undefined);
    assert.equal(await words(["NVIDIA_VISIBLE_DEVICES=all"], { NVIDIA_VISIBLE_DEVICES: "void" }), undefined);
  });

  test("an unknown capability, and a machine without the program, stop the start with a reason", async () => {
    const unknown = await start(["NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_DRIVER_CAPABILITIES=dance"]);
    assert.notEqual(unknown.status, 0);
    assert.match(unknown.stderr, /unknown driver capability: dance/);
    const without = await start(["NVIDIA_VISIBLE_DEVICES=0"], { PATH: process.env.PATH ?? "" });
    assert.notEqual(without.status, 0);
    assert.match(without.stderr, /neither a CDI spec for nvidia\.com\/gpu nor nvidia-container-cli/);
  });

  test("a CDI spec of nvidia.com/gpu takes the program's place", async (t) => {
    const file = join(specs, "nvidia.yaml");
    t.after(() => rmSync(file));
    const gpu = (name: string) => `- name: "${name}"\n  containerEdits:\n    env: [GPU_${name}=yes]\n`;
    writeFileSync(
      file,
      `cdiVersion: 0.5.0\nkind: nvidia.com/gpu\ncontainerEdits:\n  env: [NVIDIA_VISIBLE_DEVICES=void]\ndevices:\n${gpu("0")}${gpu("1")}`,
    );
    const show = ["sh", "-c", 'echo "$GPU_0 $GPU_1 $NVIDIA_VISIBLE_DEVICES"'];
    for (const [value, shown] of [
      ["1", " yes void\n"],
      ["all", "yes yes void\n"],
      ["void", "  void\n"],
    ] as const) {
      const { stdout, stderr } = await start([`NVIDIA_VISIBLE_DEVICES=${value}`], {}, show);
      assert.equal(stdout, shown, stderr);
    }
    assert.ok(!existsSync(told));
    const missing = await start(["NVIDIA_VISIBLE_DEVICES=7"]);
    assert.equal(missing.status, 1);
    assert.match(missing.stderr, /no CDI spec defines the device nvidia\.com\/gpu=7/);
  });
});
