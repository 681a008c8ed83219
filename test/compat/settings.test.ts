/** Settings as starts see them: from files and the environment, under the name rootling. */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { busyboxBox } from "../support/boxes.ts";
import { userKinds } from "../support/users.ts";

test("rootling.conf and its drop-ins say how a container starts; flags and the environment win", async (t) => {
  const box = await busyboxBox(userKinds.includes("plain") ? "plain" : "root");
  t.after(() => box.remove());
  const directory = join(box.scratch, "etc");
  mkdirSync(join(directory, "rootling.conf.d"), { recursive: true });
  const env = { ROOTLING_SYSCONF_PATH: directory };
  const write = (name: string, text: string) => writeFileSync(join(directory, name), text);
  write("rootling.conf", "ROOTLING_REMAP_ROOT no\nROOTLING_UNSHARE_UTS y\nENROOT_ROOTFS_WRITABLE=y\n");
  write("rootling.conf.d/10-root.conf", "ROOTLING_REMAP_ROOT=yes\n");
  const show = ["start", "box", "sh", "-c", "id -u; readlink /proc/self/ns/uts"];
  const [uid, uts] = (await box.must(show, { env })).split("\n");
  const [, ours] = (await box.must(show)).split("\n");
  assert.equal(uid, "0");
  assert.notEqual(uts, ours);
  assert.equal((await box.must(["start", "--uts=host", ...show.slice(1)], { env })).split("\n")[1], ours);
  const other = await box.must(show, { env: { ...env, ROOTLING_REMAP_ROOT: "n" } });
  assert.equal(other.split("\n")[0], String(box.user.uid));
  assert.notEqual((await box.run(["start", "box", "touch", "/mark"], { env })).status, 0);
  await box.must(["start", "box", "touch", "/mark"], { env: { ROOTLING_ROOTFS_WRITABLE: "y" } });
  assert.match(await box.must(["info"], { env }), /^ROOTLING_REMAP_ROOT +yes /m);

  write("rootling.conf.d/20-wrong.conf", "# of the site\nROOTLING_DATA_PATH /srv/$(id -u)\n");
  const { status, stderr } = await box.run(["list"], { env });
  assert.equal(status, 125);
  assert.match(stderr, /need a shell.*\n {2}from: .*\/rootling\.conf\.d\/20-wrong\.conf:2\n {2}mend: .*\$UID/);
});
