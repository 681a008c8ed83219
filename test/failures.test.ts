/** Bad input: a clear error with its code and its mend, nothing half done. */
import assert from "node:assert/strict";
import { chmodSync, existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type Box, busyboxBox } from "./support/boxes.ts";
import { rootlingWords } from "./support/cli.ts";
import { command } from "./support/command.ts";
import { ordinaryKinds, userKinds } from "./support/users.ts";

for (const kind of userKinds) {
  describe(`failures as ${kind}`, () => {
    let box: Box;
    before(async () => {
      box = await busyboxBox(kind);
    });
    after(() => box.remove());

    const cases: readonly { name: string; words: readonly string[]; status: number; says: readonly RegExp[] }[] = [
      { name: "no words", words: [], status: 2, says: [] },
      { name: "unknown command", words: ["strat"], status: 2, says: [/E_USAGE/, /did you mean start\?/] },
      {
        name: "mistyped flag",
        words: ["run", "--moutn", "/a:/b", "busybox"],
        status: 2,
        says: [/E_USAGE/, /Did you mean --mount\?/],
      },
      { name: "unknown source", words: ["run", "ftp://x/y"], status: 125, says: [/E_SOURCE/, /docker:\/\//] },
      { name: "missing image", words: ["run", "nosuch"], status: 125, says: [/E_NOT_FOUND/, /import it/] },
      { name: "missing layout", words: ["import", "oci:/nonexistent"], status: 125, says: [/E_NOT_FOUND/] },
      { name: "missing container", words: ["remove", "nosuch"], status: 125, says: [/E_NOT_FOUND/, /rootling list/] },
      {
        name: "nothing runs",
        words: ["exec", "box", "true"],
        status: 125,
        says: [/E_NOT_FOUND/, /rootling start box/],
      },
      {
        name: "missing mount source",
        words: ["run", "-m", "/nonexistent:/x", "busybox"],
        status: 125,
        says: [/E_NOT_FOUND/, /--mount/, /nofail/],
      },
      {
        name: "mount out of the root",
        words: ["run", "-m", "/etc:/../x", "busybox"],
        status: 2,
        says: [/E_USAGE/, /out of the root/],
      },
      {
        name: "missing directory",
        words: ["start", "--workdir", "relative", "box"],
        status: 2,
        says: [/E_USAGE/, /--workdir/],
      },
      {
        name: "bad host name",
        words: ["run", "--hostname", "a b", "busybox"],
        status: 2,
        says: [/E_USAGE/, /--hostname/],
      },
      {
        name: "JSON of what shows nothing",
        words: ["exec", "--json", "box", "true"],
        status: 2,
        says: [/E_USAGE/, /--dry-run/],
      },
      { name: "bad pid", words: ["run", "--pid=shared", "busybox"], status: 2, says: [/E_USAGE/, /use private, host/] },
      {
        name: "flags before the image is fetched",
        words: ["run", "--pid=shared", "docker://127.0.0.1:1/nosuch"],
        status: 2,
        says: [/E_USAGE/, /use private, host/],
      },
      {
        name: "compression of what is not compressed",
        words: ["import", "--comp", "lz4", "oci:x"],
        status: 2,
        says: [/E_USAGE/, /--comp/],
      },
      {
        name: "a mount of a directory on a file",
        words: ["run", "-m", "/etc:/etc/passwd", "busybox", "true"],
        status: 125,
        says: [/E_MOUNT/, /both be directories/],
      },
      {
        name: "wrong platform",
        words: ["import", "--platform", "plan9", "oci:x"],
        status: 2,
        says: [/E_USAGE/, /linux\/arm64/],
      },
    ];
    for (const { name, words, status, says } of cases) {
      test(name, async () => {
        const outcome = await box.run(words);
        assert.equal(outcome.status, status, outcome.stderr);
        for (const pattern of says) assert.match(outcome.stderr, pattern);
        if (says.length > 0) assert.match(outcome.stderr, /^ {2}mend: /m);
      });
    }

    if (kind !== "root") {
      test("another user, whom a map of one id does not hold", async () => {
        const outcome = await box.run(["run", "--user", "demo", "busybox", "true"]);
        assert.equal(outcome.status, 125);
        assert.match(outcome.stderr, /E_CONFLICT.*\n {2}from: --user\n {2}mend: .*--root/);
      });
    }

    test("a program that is no program of this machine", async () => {
      const file = join(box.scratch, "foreign");
      // An ELF head of no machine.
      writeFileSync(file, Buffer.concat([Buffer.from("7f454c4602010100", "hex"), Buffer.alloc(56)]));
      chmodSync(file, 0o755);
      const outcome = await box.run(["run", "--mount", `${file}:/foreign`, "busybox", "/foreign"]);
      assert.equal(outcome.status, 126);
      assert.match(outcome.stderr, /E_EXEC.*\n.*\n {2}mend: /);
    });

    test("terminal escapes of others are never printed", async () => {
      const outcome = await box.run(["run", "busybox", "/no\u001b[31m/such\u202e"]);
      assert.equal(outcome.status, 127);
      for (const character of "\u001b\u202e")
        assert.ok(!outcome.stderr.includes(character), JSON.stringify(outcome.stderr));
      assert.match(outcome.stderr, /\\x1b\[31m/);
    });

    test("a full file system", async () => {
      const { ROOTLING_DATA_PATH = "" } = box.user.env;
      const small = join(box.scratch, "small");
      if (process.getuid?.() !== 0) return; // Only root can mount one; as root, this runs for every kind of user.
      await command(["mkdir", small]);
      const made = await command(["mount", "-t", "tmpfs", "-o", `size=300k,mode=1777`, "tmpfs", small]);
      assert.equal(made.status, 0, made.stderr);
      try {
        const env = { ROOTLING_DATA_PATH: join(small, "data"), ROOTLING_CACHE_PATH: join(small, "cache") };
        const outcome = await box.run(["import", `oci:${join(box.scratch, "layout")}:latest`], { env });
        assert.equal(outcome.status, 125);
        assert.match(outcome.stderr, /E_SPACE/);
        assert.match(outcome.stderr, /mend: free some space/);
        const left = ["images", "temporary"].flatMap((name) =>
          existsSync(join(small, "data", name)) ? readdirSync(join(small, "data", name)) : [],
        );
        assert.deepEqual(left, []);
      } finally {
        await command(["umount", small]);
      }
      assert.ok(existsSync(ROOTLING_DATA_PATH));
    });
  });
}

for (const kind of ordinaryKinds) {
  test(`no user namespaces for ${kind}: the switch is named`, async (t) => {
    const box = await busyboxBox(kind);
    t.after(box.remove);
    // The limit belongs to a user namespace: in one of the user's own, they may set it to none.
    const script = 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"';
    const inner = ["sh", "-c", script, "sh", ...rootlingWords("run", "busybox", "true")];
    const outcome = await box.user.run(["unshare", "--user", "--map-current-user", "--keep-caps", ...inner]);
    assert.equal(outcome.status, 125, outcome.stderr);
    assert.match(outcome.stderr, /E_USERNS/);
    assert.match(outcome.stderr, /user\.max_user_namespaces/);
  });
}
