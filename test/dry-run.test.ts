/** --dry-run: every command that changes something says what, as text and as JSON, and changes nothing. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type Box, busyboxBox } from "./support/boxes.ts";
import { describeTree } from "./support/image-support.ts";
import { userKinds } from "./support/users.ts";

/** What only shows, or only speaks to what runs. All others have the flag. */
const CHANGE_NOTHING = new Set([
  "list",
  "network",
  "web",
  "digest",
  "diff",
  "logs",
  "wait",
  "attach",
  "unit",
  "images",
  "inspect",
  "info",
  "plan",
  "doctor",
  "version",
  "completion",
  "init",
]);

/** Tools of guests, by the words of their originals. */
const OF_GUESTS = new Set(["tolerant", "overlay", "initctl"]);

describe("--dry-run", () => {
  let box: Box;
  before(async () => {
    box = await busyboxBox(userKinds[0] ?? "plain");
  });
  after(() => box.remove());

  const store = async (): Promise<string> => {
    const lines = await describeTree(join(box.user.env.ROOTLING_DATA_PATH ?? "/none"));
    return createHash("sha256").update(lines.join("\n")).digest("hex");
  };

  test("every command that changes something has it", async () => {
    const overview = await box.must(["help"]);
    const commands = [...overview.matchAll(/^ {2}([a-z]+) {2,}/gm)].map((match) => match[1] ?? "");
    assert.ok(commands.includes("create") && commands.includes("version"), overview);
    for (const name of commands.filter((one) => !CHANGE_NOTHING.has(one) && !OF_GUESTS.has(one)))
      assert.match(await box.must([name, "--help"]), /--dry-run/, name);
  });

  const cases: readonly (readonly [words: readonly string[], steps: readonly string[]])[] = [
    [["create", "busybox", "--name", "new"], ["create container new # --name"]],
    [["create", "busybox"], ["create container busybox # named after the image"]],
    [
      ["create", "docker://registry.example/team/tool:2"],
      [
        "import image docker://registry.example/team/tool:2 # command line",
        "create container tool # named after the image",
      ],
    ],
    [
      ["import", "docker://busybox:1.36", "--name", "bb"],
      ["import image docker://busybox:1.36 # command line", "name it bb # --name"],
    ],
    [
      ["import", "oci:layout", "-o", "/tmp/none-out.tar", "--format", "tar"],
      ["read image oci:layout # command line", "write tar /tmp/none-out.tar # --output"],
    ],
    [
      ["bundle", "busybox", "-o", "/none/it.run"],
      ["read image busybox # command line", "write bundle /none/it.run # --output"],
    ],
    [
      ["commit", "box", "app:2"],
      [
        "read container box # command line",
        "create an image above busybox # command line",
        "name it app:2 # command line",
      ],
    ],
    [
      ["push", "busybox", "oci-archive:/tmp/none-it.tar"],
      ["read image busybox # command line", "write oci-archive /tmp/none-it.tar # command line"],
    ],
    [["remove", "box"], ["remove container box # command line"]],
  ];
  for (const [words, steps] of cases) {
    test(words.join(" "), async () => {
      const first = await store();
      const text = await box.must([...words, "--dry-run"]);
      assert.deepEqual(
        text.trimEnd().split("\n"),
        steps.map((step, index) => `${index}  ${step.replace(" # ", "  # ")}`),
      );
      const json = JSON.parse(await box.must(["plan", "--json", ...words]));
      assert.equal(json.version, 1);
      assert.deepEqual(
        json.steps.map(({ verb, object, origin }: Record<string, string>) => `${verb} ${object} # ${origin}`),
        steps,
      );
      assert.equal(await store(), first);
    });
  }

  for (const [words, code] of [
    [["create", "busybox", "--name", "box"], "E_EXISTS"],
    [["create", "busybox", "--name", "a/b"], "E_NAME"],
    [["remove", "none"], "E_NOT_FOUND"],
    [["remove", "image:none"], "E_NOT_FOUND"],
    [["remove", "image:busybox"], "E_BUSY"],
    [["import", "oci:layout", "-o", "/proc/version"], "E_EXISTS"],
    [["import", "oci:layout", "--name", "a b"], "E_NAME"],
  ] as const) {
    test(`says what would fail: ${words.join(" ")}`, async () => {
      const outcome = await box.run([...words, "--dry-run"]);
      assert.equal(outcome.status, 125, outcome.stdout);
      assert.match(outcome.stderr, new RegExp(code));
    });
  }
});
