/** Devices of the host and of CDI specs in real containers. */
import assert from "node:assert/strict";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, beforeEach, describe, test } from "node:test";
import { type Box, busyboxBox } from "../support/boxes.ts";
import { userKinds } from "../support/users.ts";

for (const kind of userKinds) {
  describe(`devices, as ${kind}`, () => {
    let box: Box;
    let specs: string;
    before(async () => {
      box = await busyboxBox(kind);
      specs = join(box.scratch, "cdi");
    });
    after(() => box.remove());
    beforeEach(() => {
      rmSync(specs, { recursive: true, force: true });
      mkdirSync(specs, { mode: 0o755 });
    });

    const run = (...words: string[]) => box.run(["run", ...words], { env: { ROOTLING_CDI_PATHS: specs } });
    const must = async (...words: string[]): Promise<string> => {
      const { status, stdout, stderr } = await run(...words);
      assert.equal(status, 0, stderr);
      return stdout;
    };
    const spec = (name: string, edits: object) =>
      writeFileSync(
        join(specs, name),
        JSON.stringify({
          cdiVersion: "0.6.0",
          kind: "vendor.com/thing",
          containerEdits: { env: ["SPEC=yes"] },
          devices: [{ name: "one", containerEdits: edits }],
        }),
      );

    test("a node of the host, at its path or another one, works inside; others are not there", async () => {
      const command = "head -c 3 /dev/my/zero | wc -c; ls /dev/kmsg 2>&1; cat /dev/null";
      const shown = await must("--device", "/dev/zero:/dev/my/zero", "busybox", "sh", "-c", command);
      assert.match(shown, /^3\n.*No such file/);
      const isolated = ["--isolate", "--device", "/dev/zero:/dev/mine", "busybox", "head", "-c", "3", "/dev/mine"];
      assert.equal(await must(...isolated), "\0\0\0");
    });

    test("a CDI spec: variables, nodes, mounts, and a hook that finds the root by the state on its input", async () => {
      const library = join(box.scratch, "lib.so");
      writeFileSync(library, "library\n");
      const hook = 'read state; bundle=${state#*\\"bundle\\":\\"}; config=$(cat "${bundle%%\\"*}/config.json")';
      const root = 'root=${config#*\\"path\\":\\"}; echo "$MADE ${state#*\\"pid\\":}" >"${root%%\\"*}/made"';
      spec("a.json", {
        env: ["ONE=1", "PATH=/bin:/usr/vendor"],
        deviceNodes: [{ path: "/dev/thing", hostPath: "/dev/zero", type: "c", major: 1, minor: 5 }],
        mounts: [{ hostPath: library, containerPath: "/usr/lib/vendor/lib.so", options: ["ro", "nosuid", "bind"] }],
        hooks: [
          {
            hookName: "createContainer",
            path: "/bin/sh",
            args: ["sh", "-c", `${hook}; ${root}`],
            env: ["MADE=by", "PATH=/bin:/usr/bin"],
          },
        ],
      });
      const look =
        'cat /usr/lib/vendor/lib.so /made; echo "$SPEC $ONE $PATH"; head -c 2 /dev/thing | wc -c; touch /usr/lib/vendor/lib.so';
      const shown = await run("--device", "vendor.com/thing=one", "busybox", "sh", "-c", look);
      assert.match(shown.stdout, /^library\nby [1-9][0-9]*}\nyes 1 \/bin:\/usr\/vendor\n2\n$/, shown.stderr);
      assert.match(shown.stderr, /Read-only/);
    });

    test("what is wrong with a device is said before an image is fetched", async () => {
      const nowhere = "docker://127.0.0.1:1/none";
      for (const [command, device, said] of [
        ["run", "thing", /not a device: "thing"/],
        ["start", "/dev/rootling-none", /\/dev\/rootling-none.*no such file/],
        ["run", "vendor.com/thing=one", /vendor\.com\/thing=one/],
      ] as const) {
        const { stderr } = await box.run([command, "--device", device, nowhere], {
          env: { ROOTLING_CDI_PATHS: specs },
        });
        assert.match(stderr, said);
      }
    });

    test("a YAML spec; a hook that fails, or takes too long", async () => {
      const yaml = (text: string) =>
        writeFileSync(
          join(specs, "a.yaml"),
          `cdiVersion: 0.5.0\nkind: vendor.com/thing\ndevices:\n- name: one\n  containerEdits:\n${text}`,
        );
      const device = ["--device", "vendor.com/thing=one", "busybox"];
      yaml("    deviceNodes:\n    - path: /dev/zero\n    env: [A=yaml]\n");
      assert.equal(await must(...device, "sh", "-c", "echo $A"), "yaml\n");
      for (const [edits, said] of [
        ["    hooks:\n    - {hookName: prestart, path: /bin/false}\n", /\/bin\/false ended with status 1/],
        [
          "    hooks:\n    - {hookName: prestart, path: /bin/sleep, args: [sleep, '60'], timeout: 1}\n",
          /ended with signal 14/,
        ],
      ] as const) {
        yaml(edits);
        const { status, stderr } = await run(...device, "true");
        assert.equal(status, 125, stderr);
        assert.match(stderr, said);
        assert.match(stderr, /cdi .*a\.yaml:one/);
      }
    });
  });
}
