/** Snapshots of containers and subhosts. */
import assert from "node:assert/strict";
import { mkdirSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { busyboxBox, emptyBox } from "../support/boxes.ts";
import { cabledHost } from "../support/cabled-host.ts";
import { busyboxRoot } from "../support/images.ts";
import { makeSubhost } from "../support/subhosts.ts";
import { oldestKernel, userKinds } from "../support/users.ts";

for (const kind of oldestKernel ? [] : userKinds) {
  test(`a container comes back to its snapshots, deleted and replaced names too, as ${kind}`, async (t) => {
    const box = await busyboxBox(kind);
    t.after(box.remove);
    const sh = (script: string) => box.must(["start", "--rw", "--root", "box", "sh", "-c", script]);
    await sh("rm /etc/os-release; rm -r /home; mkdir /home; echo first >/srv");
    assert.equal(await box.must(["snapshot", "box", "first"]), "first\n");
    const before = await box.must(["diff", "box"]);
    await sh("echo second >/srv; echo x >/etc/os-release; rm -r /root");
    assert.match(await box.must(["snapshot", "box"]), /^[0-9]{8}-[0-9]{6}\n$/);
    assert.match((await box.run(["snapshot", "box", "first"])).stderr, /E_EXISTS/);
    assert.match(await box.must(["restore", "--dry-run", "box", "first"]), /replace what box has of its own/);
    assert.notEqual(await box.must(["diff", "box"]), before);
    await box.must(["restore", "box", "first"]);
    assert.equal(await box.must(["diff", "box"]), before);
    assert.equal(await sh("cat /srv; ls -A /home; ls /etc/os-release 2>/dev/null; ls -d /root"), "first\n/root\n");
    assert.match(await box.must(["snapshot", "--list", "box"]), /^first +[0-9]/m);
    await box.must(["snapshot", "--remove", "box", "first"]);
    assert.match((await box.run(["restore", "box", "first"])).stderr, /E_NOT_FOUND/);
    assert.match((await box.run(["snapshot", "box", "../x"])).stderr, /E_NAME/);
  });
}

const asRoot = process.getuid?.() === 0 && !oldestKernel ? test : () => {};

asRoot("a subhost comes back to its snapshots, which lie beside what it has of its own", async (t) => {
  const box = await emptyBox("root");
  t.after(box.remove);
  const host = await cabledHost(box);
  t.after(() => host.end());
  const base = join(box.scratch, "base");
  await busyboxRoot(base);
  mkdirSync(join(base, "srv"));
  const { conf, upper } = makeSubhost(box, "kept", [`LOWER=${base}`, "START=none"]);
  const must = async (...words: string[]) => {
    const { status, stdout, stderr } = await host.rootling(...words);
    assert.equal(status, 0, stderr);
    return stdout;
  };
  await must("boot", conf);
  await must("exec", "kept", "sh", "-c", "rm -r /home; echo one >/srv/f");
  assert.match((await host.rootling("snapshot", "kept", "one")).stderr, /E_BUSY/);
  await must("stop", "kept");
  const before = await must("diff", "kept");
  await must("snapshot", "kept", "one");
  await must("reset", "kept");
  assert.equal(await must("diff", "kept"), "");
  await must("restore", "kept", "one");
  assert.equal(await must("diff", "kept"), before);
  await must("boot", conf);
  assert.equal(await must("exec", "kept", "sh", "-c", "cat /srv/f; ls -d /home 2>/dev/null; true"), "one\n");
  await must("stop", "kept");
  assert.deepEqual(
    readdirSync(dirname(upper))
      .filter((name) => name.startsWith("root"))
      .sort(),
    ["root", "root.snapshots"],
  );
});
