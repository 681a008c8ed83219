/** The commands of overlay-boot, and the examples of its man page, as root and on roots of busybox. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type Box, emptyBox } from "../support/boxes.ts";
import { type CabledHost, cabledHost } from "../support/cabled-host.ts";
import { packageDirectory, rootlingOnTerminal } from "../support/cli.ts";
import { command, must as mustRun } from "../support/command.ts";
import { busyboxRoot } from "../support/images.ts";
import { makeSubhost, place } from "../support/subhosts.ts";

const asRoot = process.getuid?.() === 0 ? describe : () => {};

/** An init script whose daemon shows that it runs. */
const SERVICE = `#!/bin/sh
case $1 in
  start) (exec sleep 1000 </dev/null >/dev/null 2>&1) & echo "$0" >>/run/started ;;
  stop) echo "$0" >>/stopped ;;
esac
`;

asRoot("overlay-boot's commands", () => {
  let box: Box;
  let base: string;
  let host: CabledHost;
  before(async () => {
    box = await emptyBox("root");
    base = join(box.scratch, "base");
    await busyboxRoot(base);
    host = await cabledHost(box);
  });
  after(async () => {
    await stopAll();
    await host.end();
    await box.remove();
  });

  const program = (name: string) => join(packageDirectory(), "bin", `overlay-${name}`);
  const run = (name: string, ...words: string[]) => host.command([program(name), ...words]);
  const ours = async (name: string, ...words: string[]) => {
    const { status, stdout, stderr } = await run(name, ...words);
    assert.equal(status, 0, `overlay-${name} ${words.join(" ")}: ${stderr}`);
    return stdout;
  };

  /** What a test that failed has left. */
  const stopAll = async () => {
    for (const name of (await ours("go")).split("\n").filter(Boolean))
      await host.rootling("stop", "--timeout", "0", name);
  };
  const must = async (words: readonly string[]) => {
    const { status, stdout, stderr } = await host.rootling(...words);
    assert.equal(status, 0, stderr);
    return stdout;
  };

  test("the smallest example: the host's root overlaid, entered by overlay-go, and gone after overlay-stop", async () => {
    const { conf, upper } = makeSubhost(box, "copy", []);
    await ours("boot", conf);
    assert.equal(await ours("go"), "copy\n");
    const mark = `/etc/rootling-test-${process.pid}`;
    assert.equal(await ours("go", "copy", "sh", "-c", `echo own >${mark}; cat /etc/hostname >/dev/null; id -u`), "0\n");
    assert.ok(!existsSync(mark), "the host's /etc is not touched");
    assert.equal(readFileSync(join(upper, mark), "utf8"), "own\n");
    assert.equal((await run("go", "copy", "sh", "-c", "exit 7")).status, 7);
    assert.match(await must(["diff", "copy"]), new RegExp(`^A ${mark}$`, "m"));
    await ours("stop", "copy");
    assert.equal(await ours("go"), "");
    assert.equal((await run("stop", "copy")).status, 1);
  });

  test("the tiny example: another root without services, held by the dummy service", async () => {
    const { conf, directory } = makeSubhost(box, "tiny", ["CABLES= =", "START= none", "LOWER= base"]);
    await busyboxRoot(join(directory, "base"));
    await ours("boot", conf);
    assert.match(await ours("go", "tiny", "ls", "-l", "/run"), /^prw------- .* dummy_service$/m);
    const shown = await rootlingOnTerminal(box.user, ["exec", "--tty", "tiny", "tty"]);
    assert.match(shown.stdout, /\/dev\/pts\/0/);
    // With pid 1 all others end, also who wrote.
    await run("go", "tiny", "sh", "-c", "echo bye >/run/dummy_service");
    assert.equal(await host.ended("tiny"), 0);
  });

  test("the mta example: every service by its script, stopped in the reverse order", async () => {
    const start = "rsyslog networking ssh saslauthd postfix dovecot";
    const { conf, upper } = makeSubhost(box, "mta", [`LOWER=${base}`, "CABLES= =", `START= ${start}`]);
    for (const name of start.split(" ")) place(upper, `etc/init.d/${name}`, SERVICE);
    await ours("boot", conf);
    assert.ok(host.calls().includes("ifup mta0"));
    assert.match(await host.sh("ip -n mta -o link show eth0; ip -o link show mta0"), /eth0.*\n.*mta0/);
    const scripts = start.split(" ").map((name) => `/etc/init.d/${name}\n`);
    assert.equal(await ours("go", "mta", "cat", "/run/started"), scripts.join(""));
    const shared = join(box.scratch, "mail");
    mkdirSync(shared);
    writeFileSync(join(shared, "inbox"), "letter\n");
    await ours("share", shared, "mta");
    assert.equal(await ours("go", "mta", "cat", join(shared, "inbox")), "letter\n");
    await ours("stop", "mta");
    assert.equal(readFileSync(join(upper, "stopped"), "utf8"), scripts.reverse().join(""));
    assert.ok(await host.isClean(), "cables, the namespace and their journal are gone");
  });

  test("overlay-diskfile gives LOWER a partition of a disk image, and the loop device is free after the stop", async () => {
    const image = join(box.scratch, "disk.img");
    const { conf, directory } = makeSubhost(box, "disk", [
      "START=none",
      "LOWER=!overlay-diskfile mnt/system ../disk.img 1",
    ]);
    const parts = { filler: join(box.scratch, "tree/system") };
    await busyboxRoot(parts.filler);
    mkdirSync(join(directory, "mnt"));
    const script = [
      `truncate -s 24M ${image}.part`,
      `mke2fs -q -t ext4 -d ${join(box.scratch, "tree")} ${image}.part`,
      `truncate -s 26M ${image}`,
      `echo '2048,49152,L' | sfdisk --quiet ${image}`,
      `dd if=${image}.part of=${image} bs=1M seek=1 conv=notrunc status=none`,
      `rm ${image}.part`,
    ];
    await mustRun(["sh", "-e", "-c", script.join("\n")]);
    const loops = async () => (await command(["losetup", "--noheadings", "--associated", image])).stdout;
    await ours("boot", conf);
    assert.match(await loops(), /disk\.img/);
    await ours("go", "disk", "touch", "/made");
    await ours("stop", "disk");
    assert.equal(await loops(), "");
    const wrong = await run("diskfile", join(directory, "mnt/nowhere"), image, "7");
    assert.deepEqual([wrong.status, await loops()], [1, ""], wrong.stderr);
    // A boot that fails leaves nothing, and what a killed one has left goes with the next command.
    writeFileSync(conf, `BASE=.\nLOWER=!overlay-diskfile mnt/system ../disk.img 1\nSTART=!exit 3\n`);
    assert.match((await run("boot", conf)).stderr, /status 3 \[E_HOOK\]\n +from: .*disk.conf:3/);
    assert.equal(await loops(), "");
    writeFileSync(conf, `BASE=.\nLOWER=!overlay-diskfile mnt/system ../disk.img 1\nSTART=none\n`);
    await ours("boot", conf);
    const [{ pid }] = JSON.parse(await must(["list", "--json"])).filter(
      ({ name }: { name: string }) => name === "disk",
    );
    process.kill(pid, "SIGKILL");
    await ours("boot", makeSubhost(box, "other", [`LOWER=${base}`, "START=none"]).conf);
    assert.equal(await loops(), "");
    await ours("stop", "other");
  });

  test("words that are wrong, and help", async () => {
    assert.match(await ours("boot", "--help"), /^Usage: overlay-boot CONF$/m);
    assert.match((await run("boot")).stderr, /E_USAGE/);
    assert.match((await run("go", "nothing")).stderr, /E_NOT_FOUND/);
    assert.match((await run("boot", "/no/such.conf")).stderr, /E_NOT_FOUND/);
  });
});
