/** npm run test:guestfs: templates of an index of the test's own, through virt-builder and libguestfs's machine. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { rootling } from "../support/cli.ts";
import { must } from "../support/command.ts";
import { makeTemp } from "../support/temp.ts";
import { testUser, userKinds } from "../support/users.ts";

/** Two machines are started, each in half a minute where KVM does not work. */
const PATIENCE = 600_000;

const temp = makeTemp();
const config = join(temp.path, "config");

const files: Record<string, string> = {
  "etc/os-release": 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
  "etc/debian_version": "12.1\n",
  "etc/hostname": "tiny\n",
  "etc/fstab": "LABEL=root / ext4 defaults 0 1\n",
  "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
  "etc/shadow": "root:$6$salt$hash:19000:0:99999:7:::\n",
  "boot/vmlinuz": "kernel\n",
  "opt/app/dev/keep": "kept\n",
  "opt/app/boot/keep": "kept\n",
};

before(async () => {
  const root = join(temp.path, "root");
  for (const name of "bin boot dev etc home proc root run sbin srv sys tmp usr/bin var/log".split(" ")) {
    mkdirSync(join(root, name), { recursive: true });
  }
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(join(root, name, ".."), { recursive: true });
    writeFileSync(join(root, name), content);
  }
  chmodSync(join(root, "etc/shadow"), 0o600);
  await must(["cp", "/bin/busybox", join(root, "bin/busybox")]);
  symlinkSync("busybox", join(root, "bin/sh"));
  const disk = join(temp.path, "tiny.img");
  await must(["mke2fs", "-q", "-t", "ext4", "-L", "root", "-E", "root_owner=0:0", "-d", root, disk, "32M"]);
  await must(["xz", "--keep", disk]);
  const sum = createHash("sha512")
    .update(readFileSync(`${disk}.xz`))
    .digest("hex");
  const architecture = (await must(["uname", "-m"])).trim();
  const index = [
    ...["[tiny]", "name=Tiny", `arch=${architecture}`, "file=tiny.img.xz", `checksum[sha512]=${sum}`, "format=raw"],
    ...[`size=${statSync(disk).size}`, `compressed_size=${statSync(`${disk}.xz`).size}`, "expand=/dev/sda"],
    ...["", "[broken]", "name=Broken", `arch=${architecture}`, "file=tiny.img.xz", "format=raw"],
    ...[`checksum[sha512]=${"0".repeat(128)}`, `size=${statSync(disk).size}`],
  ];
  writeFileSync(join(temp.path, "index"), `${index.join("\n")}\n`);
  await sign(join(temp.path, "index"));
  const repositories = join(config, "virt-builder/repos.d");
  mkdirSync(repositories, { recursive: true });
  writeFileSync(
    join(repositories, "own.conf"),
    `[own]\nuri=file://${temp.path}/index.asc\ngpgkey=file://${temp.path}/key.asc\n`,
  );
});

/** As indexes are that everybody may use: virt-builder gets the key into a directory of its own, with an agent for it. */
async function sign(file: string): Promise<void> {
  const keys = join(temp.path, "keys");
  mkdirSync(keys, { mode: 0o700 });
  const gpg = ["gpg", "--homedir", keys, "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""];
  await must([...gpg, "--quick-generate-key", "templates@example.org", "ed25519", "sign"]);
  await must([...gpg, "--clearsign", file]);
  await must([...gpg, "--armor", "--output", join(temp.path, "key.asc"), "--export"]);
  await must(["gpgconf", "--homedir", keys, "--kill", "gpg-agent"]);
}
after(() => temp.remove());

for (const kind of userKinds.filter((one) => one !== "subids")) {
  test(`a template as a root, as ${kind}`, { timeout: PATIENCE }, async (t) => {
    const user = await testUser(t, kind);
    const env = { VIRT_BUILDER_DIRS: config };
    const imports = (template: string, output: string) =>
      rootling(user, ["import", `virt-builder://${template}`, "-o", output, "--format", "tar"], {
        env,
        timeout: PATIENCE,
      });
    assert.match((await imports("none", "none.tar")).stderr, /no such template.*E_NOT_FOUND/);
    assert.match((await imports("broken", "broken.tar")).stderr, /checksum.*E_PROGRAM/i);
    const made = await imports("tiny", "tiny.tar");
    assert.equal(made.status, 0, made.stderr);
    const tar = join(user.home, "tiny.tar");
    const read = (path: string) => must(["tar", "-xOf", tar, path]);
    assert.equal(await read("etc/fstab"), `#${files["etc/fstab"]}`);
    assert.equal(await read("opt/app/dev/keep"), "kept\n");
    assert.equal(await read("opt/app/boot/keep"), "kept\n");
    // No password: neither one that virt-builder made up, nor that of the template.
    assert.match(await read("etc/shadow"), /^root:[!*]+:/);
    const names = (await must(["tar", "-tf", tar])).trim().split("\n");
    assert.deepEqual(
      names.filter((name) => /^(?:\.\/)?(?:boot|dev|lost\+found)\b/.test(name)),
      ["boot/", "dev/"],
    );
    assert.equal(names.includes("bin/sh"), true);
    assert.deepEqual(
      readdirSync(user.env.TMPDIR ?? "").filter((name) => /^rootling\b|^virt-builder/.test(name)),
      [],
    );
  });
}
