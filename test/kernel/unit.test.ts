/** Service files and the AppArmor profile: as texts, and as init systems run them. */
import assert from "node:assert/strict";
import { chmodSync, realpathSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { findProgram } from "../../src/base/process.ts";
import { systemdUnit } from "../../src/boot/service-files.ts";
import { busyboxBox } from "../support/boxes.ts";
import { packageDirectory } from "../support/cli.ts";
import { command } from "../support/command.ts";
import { userKinds } from "../support/users.ts";

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
