/**
 * What an image says is data: never shell text, never a path, never a control sequence; and what it brings is nobody
 * else's. threats.md rows 20, 22 and 27, from import to the plan of a start, as root and as an ordinary user.
 */
import assert from "node:assert/strict";
import { chownSync, existsSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { rootling } from "../support/cli.ts";
import { command } from "../support/command.ts";
import { tarOf, writeLayout } from "../support/image-support.ts";
import { tempDirectory } from "../support/temp.ts";
import { testUser, userKinds } from "../support/users.ts";

const kinds = userKinds.filter((kind) => kind !== "subids");

// C0 but newline, DEL, C1, zero-width and bidirectional characters, as they come out of a UTF-8 terminal.
// biome-ignore lint/suspicious/noControlCharactersInRegex: none of them may be there
const STEERING = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/;

const steering = "\u001b[2J\u009b31m\r\u202e\u2066\u200b";

for (const kind of kinds) {
  test(`what an image's configuration says is never carried out or steers a terminal, as ${kind}`, async (t) => {
    const user = await testUser(t, kind);
    const place = tempDirectory(t);
    const canary = join(user.home, "canary");
    const evil = `$(touch ${canary})\`touch ${canary}\`;touch ${canary}\n|touch ${canary}&../../../../${canary}${steering}`;
    const config = {
      Env: [
        `EVIL=${evil}`,
        "LD_PRELOAD=/proc/self/cwd/evil.so",
        "PATH=/bin:$(touch /rootling-canary)",
        `NODE_OPTIONS=${evil}`,
      ],
      Entrypoint: ["/bin/sh", "-c", evil],
      Cmd: [evil],
      WorkingDir: `/${evil.replaceAll("\0", "")}`,
      User: "0:0",
      StopSignal: evil,
      Labels: { [evil]: evil, "org.opencontainers.image.title": evil },
      Volumes: { [evil]: {}, "/../../..": {} },
      Healthcheck: { Test: ["CMD-SHELL", evil] },
      OnBuild: [evil],
    };
    writeLayout(
      join(place, "layout"),
      [
        tarOf([
          { path: `name${steering}`, content: "x" },
          { path: "bin", kind: "directory" },
        ]),
      ],
      { config, annotations: { [evil]: evil, "org.opencontainers.image.title": evil } },
    );
    const steps = [
      ["import", `oci:${place}/layout`, "--name", "evil"],
      ["import", `oci:${place}/layout`, "-o", join(user.home, "evil.squashfs")],
      ["import", `oci:${place}/layout`, "-o", join(user.home, "evil"), "--format", "oci"],
      ["import", `oci:${user.home}/evil`, "--name", "again"],
      ["images"],
      ["images", "--json"],
      ["create", "evil", "--name", "box", "--json"],
      ["list"],
      ["list", "--json"],
      ["run", "--dry-run", "evil"],
      ["run", "--dry-run", "--json", "evil"],
      ["start", "--dry-run", "box"],
      ["inspect", "evil"],
      ["inspect", "--json", "evil"],
      ["inspect", "evil", "--html", join(user.home, "evil.html")],
      ["info", "--disk"],
      ["prune", "--dry-run"],
      ["remove", "box", "image:evil"],
    ];
    for (const words of steps) {
      const { status, stdout, stderr } = await rootling(user, words);
      const what = `rootling ${words.join(" ")}`;
      assert.ok(status === 0 || status === 125, `${what}: ${status} ${stderr}`);
      assert.doesNotMatch(stderr, /defect in rootling/, what);
      assert.doesNotMatch(stdout, STEERING, what);
      assert.doesNotMatch(stderr, STEERING, what);
      for (const path of [canary, "/rootling-canary"]) assert.equal(existsSync(path), false, `${what} made ${path}`);
    }
  });

  test(`names and refs of an image layout steer no terminal, as ${kind}`, async (t) => {
    const user = await testUser(t, kind);
    const place = tempDirectory(t);
    writeLayout(join(place, "layout"), [tarOf([{ path: "a" }])], { ref: `v1${steering}` });
    for (const words of [
      ["import", `oci:${place}/layout`],
      ["import", `oci:${place}/layout:other`],
    ]) {
      const { status, stdout, stderr } = await rootling(user, words);
      assert.equal(status, 125);
      assert.match(stderr, /mend: /);
      assert.doesNotMatch(stdout + stderr, STEERING);
    }
  });

  test(`a set-id file of a stored tree is out of other users' reach, as ${kind}`, async (t) => {
    const user = await testUser(t, kind);
    const place = tempDirectory(t);
    // Even where somebody made the directories before, open to all, and the umask is none.
    const data = join(place, "data");
    writeLayout(join(place, "layout"), [
      tarOf([
        { path: "bin", kind: "directory", mode: 0o777 },
        { path: "bin/su", content: "#!/bin/sh\n", mode: 0o6755 },
      ]),
    ]);
    const env = { ROOTLING_DATA_PATH: data };
    chownSync(place, user.uid, user.gid);
    const line = 'umask 0; mkdir -m 777 "$ROOTLING_DATA_PATH" "$ROOTLING_DATA_PATH/images"; exec "$@"';
    const words = ["import", `oci:${place}/layout`, "--name", "set-id", "--progress", "none"];
    const { rootlingWords } = await import("../support/cli.ts");
    const outcome = await user.run(["sh", "-c", line, "sh", ...rootlingWords(...words)], { env });
    assert.equal(outcome.status, 0, outcome.stderr);
    const [hex = ""] = readdirSync(join(data, "images"));
    const image = join(data, "images", hex);
    assert.equal(statSync(image).mode & 0o777, 0o700);
    assert.equal(statSync(join(image, "tree/bin/su")).mode & 0o7777, 0o6755);
    if (process.getuid?.() !== 0) return;
    const other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--"];
    for (const test of ["-e", "-x"]) {
      assert.equal((await command([...other, "test", test, join(image, "tree/bin/su")])).status, 1);
    }
    writeFileSync(join(image, "probe"), "");
    assert.equal((await command([...other, "ls", image])).status, 2);
  });
}
