/** Guests under LXC: its own configuration, as `guest define` writes it, starts the boot file system. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { rootlingWords } from "../support/cli.ts";
import { command, must, shellWord } from "../support/command.ts";
import { bootDirectory, proofOf, prove, writeInit } from "../support/guest.ts";
import { busyboxRoot } from "../support/images.ts";
import { tempDirectory } from "../support/temp.ts";
import { needsRoot } from "../support/users.ts";

test("a guest of LXC: ids of its own, an overlay, and its console", needsRoot("LXC"), async (t) => {
  const scratch = tempDirectory(t);
  const boot = await bootDirectory(scratch);
  const root = join(scratch, "root");
  await busyboxRoot(root);
  const cache = join(scratch, "cache");
  mkdirSync(cache);
  const nonce = randomBytes(8).toString("hex");
  const script = `${prove(nonce)}; echo ids $(cat /proc/self/uid_map); touch /kept; echo devices $(ls /dev)`;
  const lines = [
    "id_map: {users: 0 200000 65536, groups: 0 200000 65536}",
    "setup: {before: [mount-idmapped --map-mount=b:0:200000:65536 /mnt/root /mnt/root, overlay]}",
    `exec: [sh, -c, ${JSON.stringify(script)}]`,
  ];
  const config = writeInit(join(scratch, "config"), lines.join("\n"));
  const places = ["--boot", boot, "--root", root, "--cache", cache, "--config", config];
  const text = await must(rootlingWords("guest", "define", "test-guest", "--driver", "lxc", ...places));
  const file = join(scratch, "lxc.config");
  writeFileSync(file, text);
  const console = join(scratch, "console");
  // Where cgroups are of both versions, it gets one: see libvirt.sh.
  const start = `lxc-start -P ${shellWord(scratch)} -f ${shellWord(file)} -n test-guest -F --console-log=${shellWord(console)}`;
  const outcome = await command([
    ...["unshare", "--mount", "--propagation", "private", "sh", "-c"],
    `umount /sys/fs/cgroup/unified 2>/dev/null; exec ${start}`,
  ]);
  assert.equal(outcome.status, 0, outcome.stderr);
  const said = readFileSync(console, "utf8");
  assert.match(said, new RegExp(proofOf(nonce)));
  assert.match(said, /ids 0 200000 65536/);
  assert.match(said, /devices .*null.*ptmx.*zero/);
  assert.equal(readFileSync(join(cache, "overlay/upper/kept"), "utf8"), "");
});
