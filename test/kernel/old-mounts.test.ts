/** Mounts where the newer calls are missing: the same mounts with the same attributes. */
import assert from "node:assert/strict";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type Box, busyboxBox } from "../support/boxes.ts";
import { checkout, rootlingWords } from "../support/cli.ts";
import { command, must, type Outcome } from "../support/command.ts";
import { oldestKernel, userKinds } from "../support/users.ts";

for (const kind of userKinds) {
  describe(`mounts by mount(2) as ${kind}`, () => {
    let box: Box;
    let filter: string;
    before(async () => {
      box = await busyboxBox(kind);
      filter = join(box.scratch, "no-mount-calls");
      await must(["gcc", "-O2", "-o", filter, join(checkout, "test/support/no-mount-calls.c")]);
      mkdirSync(join(box.scratch, "data/below"), { recursive: true });
      writeFileSync(join(box.scratch, "data/file"), "shared\n");
      symlinkSync("/etc", join(box.scratch, "data/link"));
    });
    after(() => box.remove());

    const old = (words: readonly string[]): Promise<Outcome> =>
      command(box.user.words([filter, ...rootlingWords(...words)]), { env: box.user.env, cwd: box.user.home });

    /**
     * Mount points with their types and attributes, in their order; numbers differ from run to run. Not those of the
     * machine's own podman or buildah, which come and go, and lie where an ordinary user reaches nothing to change.
     */
    const shown = (mountinfo: string): string[] =>
      mountinfo
        .trim()
        .split("\n")
        .filter((line) => !line.includes(" /var/lib/containers/"))
        .map((line) => {
          const [left = "", right = ""] = line.split(" - ");
          const [, , , root, path, attributes, ...optional] = left.split(" ");
          return [
            root,
            path,
            attributes,
            optional.map((word) => word.replace(/[0-9]+/g, "")),
            right.split(" ")[0],
          ].join(" ");
        });

    const flags = [
      "--mount",
      "DATA:/mnt/data:ro,nosuid,noexec",
      "--mount",
      "tmpfs:/t:size=1m,nodev,noatime",
      "--mount",
      "DATA/file:/etc/file:ro",
    ];

    const cases = [
      ["run", "busybox"],
      ["run", "--pid", "--net", "--root", "busybox"],
      ["run", "--isolate", "busybox"],
      ["start", "box"],
      ["start", "--rw", "box"],
      ["run", "host:"],
    ];
    for (const words of oldestKernel ? cases.slice(0, 1) : cases) {
      test(`the same mounts: ${words.join(" ")}`, async () => {
        const [name = "", ...rest] = words;
        const mounts = rest.includes("host:")
          ? []
          : flags.map((word) => word.replace("DATA", join(box.scratch, "data")));
        const all = [name, ...mounts, ...rest, "cat", "/proc/self/mountinfo"];
        const [modern, ancient] = [await box.run(all), await old(all)];
        if (kind === "root" && rest.includes("--isolate")) {
          // Owners can be mapped by the newer calls only.
          assert.match(ancient.stderr, /Linux 5\.12/);
          return;
        }
        assert.equal(ancient.status, 0, ancient.stderr);
        assert.deepEqual(shown(ancient.stdout), shown(modern.stdout));
        assert.ok(shown(ancient.stdout).length > 5);
      });
    }

    test("a target that leads out of the root stays inside it", async () => {
      const words = [
        "run",
        "--mount",
        `${join(box.scratch, "data")}:/mnt`,
        "--mount",
        `${join(box.scratch, "data/file")}:/mnt/link/hosts-of-image`,
      ];
      const { stdout, stderr } = await old([...words, "busybox", "cat", "/etc/hosts-of-image"]);
      assert.equal(stdout, "shared\n", stderr);
    });

    test("the filter is what it says: the newer calls are gone", async () => {
      const { stderr } = await command([
        filter,
        "python3",
        "-c",
        "import ctypes, os; l = ctypes.CDLL(None, use_errno=True); l.syscall(428, -1, b'', 0); print(os.strerror(ctypes.get_errno()), file=__import__('sys').stderr)",
      ]);
      assert.match(stderr, /not implemented/);
    });
  });
}
