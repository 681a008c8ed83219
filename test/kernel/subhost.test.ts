/** Subhosts: the three roots, hooks, services and their end. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type Box, emptyBox } from "../support/boxes.ts";
import { type CabledHost, cabledHost } from "../support/cabled-host.ts";
import { busyboxRoot } from "../support/images.ts";
import { makeSubhost, place } from "../support/subhosts.ts";
import { oldestKernel } from "../support/users.ts";

const asRoot = process.getuid?.() === 0 ? describe : () => {};

/** An init script that leaves a daemon behind, and says what it does. */
const DAEMON = `#!/bin/sh
echo "$1" >>/srv/calls
case $1 in start) sleep 1000 </dev/null >/dev/null 2>&1 & ;; stop) sleep 0.1 ;; esac
`;

asRoot("subhosts", () => {
  let box: Box;
  let base: string;
  let host: CabledHost;
  before(async () => {
    box = await emptyBox("root");
    base = join(box.scratch, "base");
    await busyboxRoot(base);
    mkdirSync(join(base, "srv"));
    host = await cabledHost(box);
  });
  after(async () => {
    await stopAll();
    await host.end();
    await box.remove();
  });

  /** What a test that failed has left. */
  const stopAll = async () => {
    for (const { name } of (JSON.parse(await must(["list", "--json"])) as { name: string; state: string }[]).filter(
      ({ state }) => state === "running",
    ))
      await run(["stop", "--timeout", "0", name]);
  };
  const run = (words: readonly string[]) => host.rootling(...words);
  const must = async (words: readonly string[]) => {
    const { status, stdout, stderr } = await run(words);
    assert.equal(status, 0, `rootling ${words.join(" ")}: ${stderr}`);
    return stdout;
  };
  const inside = (name: string, script: string) => must(["exec", name, "sh", "-c", script]);

  test("without services: namespaces of its own, /run, and a dummy service that ends at a write", async () => {
    const { conf, upper } = makeSubhost(box, "tiny", ["START= none", `LOWER= ${base}`]);
    assert.equal(await must(["boot", conf]), "tiny\n");
    assert.match(
      await inside("tiny", "echo kept >/srv/f; grep -c . /proc/1/status; hostname; cat /proc/mounts"),
      /^\d+\ntiny\n(.*\n)* *tmpfs \/run tmpfs .*size=51200k/,
    );
    assert.equal(readFileSync(join(upper, "srv/f"), "utf8"), "kept\n");
    assert.equal(await inside("tiny", "ls -A /proc/sys/net/ipv4/conf | grep -v -e all -e default"), "lo\n");
    assert.match(await host.sh("ip netns list"), /^tiny\b/);
    const again = await run(["boot", conf]);
    assert.match(again.stderr, /tiny is running.*E_BUSY/);
    // With pid 1 all others end, also who wrote.
    await run(["exec", "tiny", "sh", "-c", "echo >/run/dummy_service"]);
    assert.equal(await host.ended("tiny"), 0);
    assert.match(await must(["list"]), /^tiny +exited \(0\)/m);
    assert.ok(await host.isClean());
  });

  // There, each command takes a second.
  if (oldestKernel) return;

  test("services are started and stopped by their scripts; what fails, hangs or is missing keeps none from starting", async () => {
    const { conf, upper } = makeSubhost(box, "mixed", [
      "START=first bad slow only-unit nothing last",
      `LOWER=${base}`,
      "START_TIMEOUT=1",
    ]);
    for (const name of ["first", "last"]) place(upper, `etc/init.d/${name}`, DAEMON);
    place(upper, "etc/init.d/bad", "#!/bin/sh\nexit 7\n");
    place(upper, "etc/init.d/slow", "#!/bin/sh\nsleep 1000\n");
    place(upper, "lib/systemd/system/only-unit.service", "");
    const { status, stderr } = await run(["boot", conf]);
    assert.equal(status, 0, stderr);
    for (const said of [
      "bad failed with status 7",
      "slow did not start in time",
      "only-unit has no init script, only a systemd unit: write that script",
      "nothing has no init script",
    ])
      assert.ok(stderr.includes(`the service ${said}`), stderr);
    assert.equal(await inside("mixed", "ps | grep -c '[s]leep 1000'; cat /srv/calls"), "2\nstart\nstart\n");
    const shown = JSON.parse(await must(["inspect", "mixed", "--json"]));
    assert.deepEqual(
      [shown.kind, shown.state, shown.subhost, shown.paths.upper, shown.runs.length],
      ["subhost", "running", { conf, variant: "overlay", lower: base, userns: false }, upper, 1],
    );
    assert.deepEqual(
      shown.services.map(({ name, status }: { name: string; status: unknown }) => [name, status]),
      [
        ["first", 0],
        ["bad", 7],
        ["slow", "late"],
        ["only-unit", "unit"],
        ["nothing", "missing"],
        ["last", 0],
      ],
    );
    await must(["stop", "mixed"]);
    assert.equal(readFileSync(join(upper, "srv/calls"), "utf8"), "start\nstart\nstop\nstop\n");
    assert.match(await must(["logs", "mixed"]), /service bad: 7/);
    assert.match(await must(["inspect", "mixed"]), /^state: +exited \(0\), (.*\n)+service: +bad: 7$/m);
  });

  test("hooks run in its mount namespace before and after the root is there, INIT gives the script of its shell", async () => {
    const { conf, directory } = makeSubhost(box, "hooked", [
      "UPPER=base",
      "LOWER=base",
      'PREMOUNT=ls live >pre; echo "$CONFIG" >config',
      "POSTMOUNT=ls live >post; readlink /proc/self/ns/mnt >ns; mkdir live/made",
      "INIT=echo 'ls / >/listed; exec sleep 1000'",
      "RAM_SIZE=none",
      "LOG=own.log",
    ]);
    await busyboxRoot(join(directory, "base"));
    await must(["boot", conf]);
    const at = (name: string) => readFileSync(join(directory, name), "utf8");
    assert.equal(at("config"), `${conf}\n`);
    assert.equal(at("pre"), "");
    assert.match(at("post"), /^bin\ndev\netc\n/);
    assert.match(await inside("hooked", "readlink /proc/1/ns/mnt"), new RegExp(at("ns").trim().replace(/[[\]]/g, ".")));
    assert.ok(existsSync(join(directory, "base/made")), "a bind changes the directory itself");
    assert.match(at("base/listed"), /^made$/m);
    assert.ok(!existsSync(join(directory, "live/bin")), "the host does not see what is mounted");
    await must(["stop", "hooked"]);
    assert.ok(existsSync(join(directory, "own.log")));
  });

  test("a hook that fails, at each stage, and a command that fails stop the boot and say where", async () => {
    for (const [index, line] of [
      "PREMOUNT=echo no >&2; exit 3",
      "POSTMOUNT=exit 4",
      "INIT=exit 5",
      "LOG=!echo why >&2; exit 6",
    ].entries()) {
      const name = `fails${index}`;
      const { conf } = makeSubhost(box, name, [`LOWER=${base}`, line]);
      const { status, stderr } = await run(["boot", conf]);
      assert.equal(status, 125, stderr);
      assert.match(stderr, new RegExp(`E_HOOK.*\n +from: ${conf}:3\n`));
      assert.match(stderr, new RegExp(`status ${index + 3}`));
      assert.ok(!/running/.test(await must(["list"])), "nothing runs");
    }
  });

  test("SHARE, the root as it is, and a share into a subhost that runs", async () => {
    const shared = join(base, "srv/shared");
    mkdirSync(shared);
    const { conf, directory } = makeSubhost(box, "shares", [`LOWER=${base}`, "START=none", "SHARE=srv/shared"]);
    await must(["boot", conf]);
    await inside("shares", "echo through >/srv/shared/f");
    assert.equal(readFileSync(join(shared, "f"), "utf8"), "through\n");
    const later = join(directory, "later");
    mkdirSync(later);
    await must(["share", later, "shares"]);
    await inside("shares", `echo late >${later}/f`);
    assert.equal(readFileSync(join(later, "f"), "utf8"), "late\n");
    await must(["stop", "shares"]);
    const asIs = makeSubhost(box, "as-is", ["LIVE=own", "UPPER=own", "LOWER=own", "START=none"]);
    await busyboxRoot(join(asIs.directory, "own"));
    await must(["boot", asIs.conf]);
    await inside("as-is", "echo x >/here");
    assert.ok(existsSync(join(asIs.directory, "own/here")));
    await must(["stop", "as-is"]);
  });

  test("below LOWER=/ the host's secrets are hidden, and what the subhost has in their place is seen", async () => {
    const { conf, upper } = makeSubhost(box, "hiding", ["START=ssh"]);
    place(upper, "etc/init.d/ssh", DAEMON);
    place(upper, "usr/bin/ssh-keygen", "#!/bin/sh\nmkdir -p /etc/ssh; echo own $1 >/etc/ssh/ssh_host_rsa_key\n");
    mkdirSync(join(upper, "srv"), { recursive: true });
    await must(["boot", conf]);
    assert.equal(await inside("hiding", "ls -A /root; cat /etc/ssh/ssh_host_rsa_key"), "own -A\n");
    const shadow = await inside(
      "hiding",
      "stat -c %a /etc/shadow; stat -c %a /root; cut -d: -f2 /etc/shadow | sort -u",
    );
    assert.match(shadow, /^6[04]0\n700\n(!\n|\*\n)+$/);
    await inside("hiding", "echo mine >/root/f; echo mine >/etc/machine-id; stat -c %a /etc");
    assert.equal(readFileSync(join(upper, "root/f"), "utf8"), "mine\n");
    await must(["stop", "hiding"]);
    await must(["boot", conf]);
    assert.equal(await inside("hiding", "cat /root/f"), "mine\n");
    await must(["stop", "hiding"]);
  });

  test("INIT_SYSTEM is pid 1 itself, and is asked by its own signal", async () => {
    const lines = ["INIT_SYSTEM=/sbin/init", "STOP_SIGNAL=SIGUSR2", `LOWER=${base}`];
    const { conf, upper } = makeSubhost(box, "whole", lines);
    place(
      upper,
      "sbin/init",
      "#!/bin/sh\ntrap 'echo down >/srv/end; exit 3' USR2\necho $$ $container >/srv/pid\nwhile :; do sleep 0.1; done\n",
    );
    mkdirSync(join(upper, "srv"), { recursive: true });
    await must(["boot", conf]);
    for (let tries = 0; !existsSync(join(upper, "srv/pid")) && tries < 100; tries++) await sleep(50);
    assert.equal(readFileSync(join(upper, "srv/pid"), "utf8"), "1 rootling\n");
    await must(["stop", "whole"]);
    assert.equal(readFileSync(join(upper, "srv/end"), "utf8"), "down\n");
    assert.match(await must(["list"]), /^whole +exited \(3\)/m);
  });

  test("USERNS: root inside is not the host's, and its files have their owners all the same", async () => {
    const shared = join(base, "srv/mapped");
    mkdirSync(shared);
    const { conf, upper } = makeSubhost(box, "mapped", [
      ...[
        "USERNS=0:700000:65536",
        "START=one",
        "SHARE=/srv/mapped",
        `LOWER=${base}`,
        "CABLES= =",
        "ADDRESS=10.7.0.2/24",
      ],
    ]);
    place(upper, "etc/init.d/one", DAEMON);
    await must(["boot", conf]);
    const seen = await inside("mapped", "id -u; cat /proc/self/uid_map; stat -c %u /etc/passwd /srv/mapped /bin");
    assert.match(seen, /^0\n +0 +700000 +65536\n0\n0\n0\n$/);
    await inside("mapped", "echo x >/srv/mapped/f; rm /etc/os-release; rm -r /home; echo x >/tmp/f; chown 5 /tmp/f");
    assert.equal(statSync(join(shared, "f")).uid, 0, "as the host sees it");
    assert.equal(statSync(join(upper, "tmp/f")).uid, 5);
    const later = join(box.scratch, "later");
    mkdirSync(later);
    await must(["share", later, "mapped"]);
    await inside("mapped", `echo x >${later}/f`);
    assert.equal(statSync(join(later, "f")).uid, 0);
    await must(["stop", "mapped"]);
    assert.match(await must(["diff", "mapped"]), /^D \/etc\/os-release$/m);
    writeFileSync(conf, readFileSync(conf, "utf8").replace(/^USERNS.*$/m, ""));
    assert.match((await run(["boot", conf])).stderr, /was made with USERNS/);
    await must(["reset", "mapped"]);
    assert.match(await must(["boot", "--check", conf]), /^mapped: /);
  });

  test("two boots of one name at once: one subhost; what was killed whole is cleared by the next command", async () => {
    const { conf } = makeSubhost(box, "twice", ["START=none", `LOWER=${base}`, "CABLES= ="]);
    const both = await Promise.all([run(["boot", conf]), run(["boot", conf])]);
    assert.deepEqual(both.map(({ status }) => status).sort(), [0, 125], both.map(({ stderr }) => stderr).join());
    assert.match(both.map(({ stderr }) => stderr).join(), /E_BUSY/);
    const pid = async () =>
      (JSON.parse(await must(["list", "--json"])) as { name: string; pid: number }[]).find(
        ({ name }) => name === "twice",
      )?.pid;
    assert.match(await host.sh("ip -o link"), /twice0/);
    process.kill((await pid()) ?? 0, "SIGKILL");
    for (let tries = 0; (await pid()) && tries < 100; tries++) await sleep(50);
    assert.equal((await run(["boot", conf])).status, 0);
    await must(["stop", "twice"]);
    assert.ok(await host.isClean());
  });

  test("a full file system stops a boot without a trace, and is no matter to a stop", async () => {
    const { conf, upper, directory } = makeSubhost(box, "full", [
      "START=none",
      `LOWER=${base}`,
      "UPPER=small/root",
      "WORK=small/work",
    ]);
    mkdirSync(join(directory, "small"));
    await host.sh(
      `mount -t tmpfs -o size=64k tmpfs ${directory}/small; mkdir ${directory}/small/root ${directory}/small/work`,
    );
    await must(["boot", conf]);
    await run(["exec", "full", "sh", "-c", "cat /dev/zero >/srv/zero"]);
    await must(["stop", "full"]);
    await host.sh(`cat /dev/zero >${directory}/small/root/more 2>/dev/null || true`);
    const { status, stderr } = await run(["boot", conf]);
    if (status !== 0) assert.match(stderr, /ENOSPC|no space/);
    else await must(["stop", "full"]);
    await host.sh(`umount ${directory}/small`);
    assert.ok(existsSync(upper) && (await host.isClean()));
  });

  test("LOWER=image:NAME is a stored image, and one that is none is a mistake of the line", async () => {
    const { conf, upper } = makeSubhost(box, "imaged", ["START=none", "LOWER=image:bare", "SHARE=/srv"]);
    const first = await run(["boot", "--check", conf]);
    assert.match(first.stderr, new RegExp(`no stored image bare .*\n +from: ${conf}:3\n +mend: import`));
    await must(["import", `dir:${base}`, "--name", "bare", "--progress", "none"]);
    const { stderr } = await run(["boot", conf]);
    assert.match(stderr, new RegExp(`nothing of an image can be shared .*\n +from: ${conf}:4\n`));
    writeFileSync(conf, "BASE=.\nSTART=none\nLOWER=image:bare\n");
    await must(["boot", conf]);
    await inside("imaged", "echo own >/etc/passwd; test -e /srv");
    assert.equal(readFileSync(join(upper, "etc/passwd"), "utf8"), "own\n");
    assert.match(await must(["inspect", "imaged"]), /^root: +overlay over image:bare$/m);
    assert.match(await must(["diff", "imaged"]), /^C \/etc\/passwd$/m);
    // Of a name that both have, the image is shown.
    assert.match(await must(["inspect", "bare"]), /^digest: /m);
    await must(["stop", "imaged"]);
  });

  test("--check names every mistake and boots nothing; a name is taken by what has it", async () => {
    const { conf, directory } = makeSubhost(box, "wrong", [
      "STRAT=x",
      "NAME=tiny",
      "UPPER=nowhere",
      "START=!touch ran",
    ]);
    const { status, stderr } = await run(["boot", "--check", conf]);
    assert.equal(status, 125);
    for (const line of [2, 3, 4]) assert.match(stderr, new RegExp(`from: ${conf}:${line}\n +mend: `), stderr);
    assert.equal((await run(["boot", conf])).stderr, stderr);
    assert.ok(!existsSync(join(directory, "ran")), "no command runs");
    assert.match((await run(["boot", "--check", directory])).stderr, /this is a directory \[E_SUBHOST\]/);
    writeFileSync(conf, "BASE=.\nNAME=fine\n");
    assert.match(await must(["boot", "--check", conf]), /^fine: root .* over \/; starts networking ssh\n$/);
    assert.match(await must(["plan", "boot", conf]), /services \/run\/dummy_service/);
    assert.match(await must(["boot", "--dry-run", conf]), /\d+ {2}services \/run\/dummy_service 120 15 networking ssh/);
  });
});
