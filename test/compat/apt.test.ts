/** The compatibility filter on the kernel: what a map of one id refuses seems to work, and a package is installed by apt. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { packageDirectory } from "../support/cli.ts";
import { must } from "../support/command.ts";
import { dataPath, type EnrootBox, enrootBox } from "../support/enroot.ts";
import { smallDebian } from "../support/small-debian.ts";
import { ordinaryKinds } from "../support/users.ts";

/** A repository of one package, whose files and script name users that a map of one id does not hold. */
async function repository(directory: string): Promise<void> {
  const parts = join(directory, "parts");
  for (const name of ["DEBIAN", "usr/bin", "var/lib/greeter"]) mkdirSync(join(parts, name), { recursive: true });
  const script = (name: string, text: string) => {
    writeFileSync(join(parts, name), `#!/bin/sh\nset -e\n${text}\n`);
    chmodSync(join(parts, name), 0o755);
  };
  const fields = ["Package: greeter", "Version: 1.0", "Architecture: all", "Maintainer: a test <a@b.invalid>"];
  const control = `${fields.join("\n")}\nDescription: says hello\n`;
  writeFileSync(join(parts, "DEBIAN/control"), control);
  script("DEBIAN/postinst", "chown -R 33:mail /var/lib/greeter\nsed -i '$a greeter:x:999:' /etc/group");
  script("usr/bin/greeter", "echo hello from a package");
  const file = join(directory, "greeter.deb");
  await must(["dpkg-deb", "--build", parts, file]);
  await must(["rm", "-r", parts]);
  const digest = createHash("sha256").update(readFileSync(file)).digest("hex");
  const index = `${control}Filename: ./greeter.deb\nSize: ${statSync(file).size}\nSHA256: ${digest}\n`;
  writeFileSync(join(directory, "Packages"), index);
  await must(["chmod", "-R", "a+rX", directory]);
}

describe("the seccomp profile compat", () => {
  let box: EnrootBox;
  before(async () => {
    box = await enrootBox(ordinaryKinds[0] ?? "plain");
  });
  after(() => box.remove());

  test("owners and ids seem to change; beside strict as well; without it they do not", async () => {
    const { user } = box;
    const root = join(dataPath(user), "../ids");
    await must(["cp", "-a", await box.foreign("ids"), root]);
    const program = join(packageDirectory(), "bin/rootling");
    const words = (...flags: string[]) => [program, "run", ...flags, "--root", `dir:${root}`];
    const change = [
      "/bin/busybox",
      "sh",
      "-c",
      "busybox touch /tmp/x && busybox chown 7:8 /tmp/x && busybox stat -c %u /tmp/x",
    ];
    for (const flags of [
      ["--seccomp", "compat"],
      ["--seccomp", "compat", "--isolate"],
    ]) {
      const outcome = await user.run([...words(...flags), ...change]);
      assert.equal(outcome.stdout, "0\n", outcome.stderr);
    }
    const without = await user.run([...words(), ...change]);
    assert.notEqual(without.status, 0);
  });

  test("apt-get install in a root made of Debian's packages, as an ordinary user", async () => {
    const { user, scratch } = box;
    const tar = join(scratch, "small.tar");
    await smallDebian(tar, scratch);
    const root = join(dataPath(user), "debian");
    mkdirSync(root);
    await must(["tar", "-C", root, "-xf", tar]);
    await must(["chown", "-hR", `${user.uid}:${user.gid}`, root]);
    mkdirSync(join(scratch, "repository"));
    await repository(join(scratch, "repository"));
    const commands = [
      "echo 'deb [trusted=yes] file:/repository ./' >/etc/apt/sources.list",
      "apt-get -q update",
      "apt-get -q -y install greeter",
      "greeter",
      "grep greeter /etc/group",
      "dpkg-query -W -f '${Status}\\n' greeter",
    ];
    const { status, stdout, stderr } = await box.run([
      ...["start", "--root", "--rw", "--mount", `${join(scratch, "repository")}:/repository:x-create=dir,bind,ro`],
      ...["debian", "sh", "-c", commands.join(" && ")],
    ]);
    assert.equal(status, 0, `${stdout}${stderr}`);
    assert.match(stdout, /hello from a package\ngreeter:x:999:\ninstall ok installed\n$/);
  });
});
