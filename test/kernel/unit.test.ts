/** Service files and the AppArmor profile: as texts, and as init systems run them. */
import assert from "node:assert/strict";
import { chmodSync, realpathSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { findProgram } from "../../src/base/process.ts";
import { systemdUnit } from "../../src/boot/service-files.ts";
import { busyboxBox, emptyBox } from "../support/boxes.ts";
import { cabledHost } from "../support/cabled-host.ts";
import { packageDirectory, rootlingWords } from "../support/cli.ts";
import { background, command } from "../support/command.ts";
import { busyboxRoot } from "../support/images.ts";
import { makeSubhost } from "../support/subhosts.ts";
import { oldestKernel, userKinds } from "../support/users.ts";

for (const kind of userKinds) {
  test(`unit prints what the init system takes, as ${kind}`, async (t) => {
    const box = await busyboxBox(kind, { cmd: ["/bin/sh", "-c", "exec sleep 1000"], stopSignal: "SIGINT" });
    t.after(box.remove);
    const unit = await box.must(["unit", "box", "--rw", "--mount", "/usr/share/a b:/c"]);
    assert.match(unit, /^ExecStart=\/.*\/rootling start --pid --rw --mount "\/usr\/share\/a b:\/c" box$/m);
    assert.match(unit, /^KillSignal=2$/m);
    assert.match(unit, kind === "root" ? /^WantedBy=multi-user.target$/m : /^WantedBy=default.target$/m);
    if (findProgram("systemd-analyze") !== undefined) {
      const file = join(box.scratch, "box.service");
      writeFileSync(file, unit);
      const verified = await command(["systemd-analyze", "verify", file]);
      assert.deepEqual([verified.status, verified.stderr], [0, ""]);
    }
    const wrong = await box.run(["unit", "box", "--rww"]);
    assert.deepEqual([wrong.status, /Did you mean --rw/.test(wrong.stderr)], [2, true], wrong.stderr);
    if (kind !== "root") {
      const refused = await box.run(["unit", "--init", "sysvinit", "box"]);
      assert.match(refused.stderr, /E_CONFLICT.*\n.*--init\n/);
      return;
    }
    const script = join(box.scratch, "box");
    writeFileSync(script, await box.must(["unit", "--init", "sysvinit", "box", "--rw"]));
    chmodSync(script, 0o755);
    // As init starts it: with next to nothing in the environment.
    const run = (word: string) => command([script, word], { env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" } });
    for (const [word, status] of Object.entries({ status: 3, start: 0, "force-reload": 0, stop: 0, nonsense: 2 })) {
      const outcome = await run(word);
      assert.equal(outcome.status, status, `${word}: ${outcome.stderr}`);
      assert.equal((await run("status")).status, word === "start" || word === "force-reload" ? 0 : 3, word);
      if (word === "start") assert.equal((await run("start")).status, 0, "again");
    }
    const openrc = join(box.scratch, "openrc");
    writeFileSync(openrc, await box.must(["unit", "--init", "openrc", "box", "--mount", "/usr/share/a b:/c"]));
    const words = await command(["sh", "-c", '. "$1"; eval "set -- $command_args"; echo $# "$5"', "sh", openrc]);
    assert.equal(words.stdout, "5 box\n", words.stderr);
  });
}

test("the AppArmor profile names the executor where it lies", async (t) => {
  const box = await busyboxBox("plain");
  t.after(box.remove);
  const profile = await box.must(["unit", "--apparmor"]);
  const executor = realpathSync(join(packageDirectory(), `dist/executor-${process.arch}`));
  assert.ok(profile.includes(`profile rootling "${executor}" flags=(unconfined) {\n  userns,\n}`), profile);
});

test("words of unit files stay words", () => {
  const service = {
    name: "n",
    image: 'evil\n[Service]\nExecStart=/bin/false "x" %h',
    program: "/opt/a b/$x/%n/rootling",
    flags: ["--env", 'Q="a\\b"\n$HOME'],
    environment: { ROOTLING_DATA_PATH: "/d%d\n" },
    stopSignal: 15,
    ofUser: true,
  };
  const unit = systemdUnit(service);
  assert.match(unit, /^Description=n, a container of evil\?\[Service\]\?ExecStart=\/bin\/false "x" %%h$/m);
  assert.match(unit, /^ExecStart="\/opt\/a b\/\$\$x\/%%n\/rootling" start --pid --env "Q=\\"a\\\\b\\"\\n\$\$HOME" n$/m);
  assert.match(unit, /^Environment="ROOTLING_DATA_PATH=\/d%%d\\n"$/m);
});

const asRoot = process.getuid?.() === 0 && !oldestKernel ? test : () => {};

asRoot("subhosts boot with the host: by scripts from /etc/subhosts.conf, by systemd each for itself", async (t) => {
  const box = await emptyBox("root");
  t.after(box.remove);
  const host = await cabledHost(box);
  t.after(() => host.end());
  const unit = await box.must(["unit", "--subhosts"]);
  assert.match(unit, /^ExecStart=\/.*\/rootling boot --foreground %f$/m);
  const file = join(box.scratch, "overlay-boot@.service");
  writeFileSync(file, unit);
  if (findProgram("systemd-analyze") !== undefined) {
    const verified = await command(["systemd-analyze", "verify", file]);
    assert.deepEqual([verified.status, verified.stderr], [0, ""]);
  }
  const base = join(box.scratch, "base");
  await busyboxRoot(base);
  const [one, two] = ["one", "two"].map((name) => makeSubhost(box, name, [`LOWER=${base}`, "START=none"]).conf);
  // The file is one of a mount namespace of the host's own.
  const list = join(box.scratch, "subhosts.conf");
  writeFileSync(list, `# Subhosts\n${one}\n\n${two}\n`);
  for (const init of ["sysvinit", "openrc"]) {
    const text = (await box.must(["unit", "--subhosts", "--init", init])).replaceAll("/etc/subhosts.conf", list);
    const script = join(box.scratch, init);
    writeFileSync(script, text, { mode: 0o755 });
    const words =
      init === "sysvinit" ? [script] : ["sh", "-c", `ebegin() { :; }; eend() { return $1; }; . ${script}; "$1"`, "x"];
    const names = async () =>
      (await host.command([...rootlingWords("list")])).stdout.match(/^\w+(?= +running)/gm) ?? [];
    assert.equal((await host.command([...words, "start"])).status, 0);
    assert.deepEqual(await names(), ["one", "two"], init);
    assert.equal((await host.command([...words, "stop"])).status, 0);
    assert.deepEqual(await names(), [], init);
  }
  const shown = background(host.there(rootlingWords("boot", "--foreground", one ?? "")), { env: box.user.env });
  while (!(await host.rootling("list")).stdout.includes("running")) await sleep(50);
  shown.kill("SIGTERM");
  const ended = await shown.ended;
  assert.deepEqual([ended.status, ended.stderr], [0, ""], "ends as the service manager asks it to");
  assert.ok(await host.isClean());
});
