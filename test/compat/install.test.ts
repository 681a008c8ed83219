/** The names of other programs on a PATH: put there, taken away, and nothing else touched. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { packageDirectory, rootling } from "../support/cli.ts";
import { makeUser } from "../support/users.ts";

const OVERLAY = ["boot", "go", "stop", "share", "diskfile"].map((name) => `overlay-${name}`);

test("compat install and remove", async (t) => {
  const { user, remove } = await makeUser("root");
  t.after(remove);
  const directory = join(user.home, "bin");
  const path = join(directory, "enroot");
  const run = async (...words: string[]) => {
    const { status, stdout, stderr } = await rootling(user, ["compat", ...words]);
    return { status, stdout, stderr };
  };
  const missing = await run("install", directory);
  assert.equal(missing.status, 125);
  assert.match(missing.stderr, /not a directory/);
  mkdirSync(directory);

  const planned = await run("install", directory, "--dry-run");
  assert.match(planned.stdout, new RegExp(`write symlink ${path}`));
  assert.ok(!existsSync(path), "a dry run changes nothing");

  const installed = await run("install", directory, "--only", "enroot");
  assert.deepEqual([installed.status, installed.stdout], [0, `${path}\n`]);
  assert.match(installed.stderr, /is not on PATH/);
  assert.match(readlinkSync(path), /\/bin\/rootling$/);
  const version = await user.run(["enroot", "version"], { env: { PATH: `${directory}:${user.env.PATH}` } });
  assert.deepEqual([version.status, version.stdout], [0, "4.1.2\n"]);
  const rest = (await run("install", directory)).stdout;
  assert.deepEqual(
    rest.trim().split("\n"),
    ["virt-bootstrap", ...OVERLAY].map((name) => join(directory, name)),
  );
  const other = await user.run(["virt-bootstrap", "--version"], { env: { PATH: `${directory}:${user.env.PATH}` } });
  assert.deepEqual([other.status, other.stdout], [0, "virt-bootstrap 1.1.1\n"]);
  const away = await run("remove", directory, "--only", "enroot", "--json");
  assert.deepEqual(JSON.parse(away.stdout), { removed: [path] });
  assert.ok(!existsSync(path));

  writeFileSync(path, "another enroot");
  assert.match((await run("install", directory)).stderr, /E_EXISTS.*\n {2}from: .*bin\/enroot/);
  assert.match((await run("remove", directory)).stderr, /E_CONFLICT/);
  assert.equal(readFileSync(path, "utf8"), "another enroot");
  const elsewhere = join(user.home, "elsewhere");
  mkdirSync(elsewhere);
  symlinkSync("/usr/bin/true", join(elsewhere, "enroot"));
  assert.match((await run("remove", elsewhere)).stderr, /E_CONFLICT/);
  assert.match((await run("install", elsewhere, "--only", "docker")).stderr, /E_USAGE/);
});

test("man page and completions go to the share beside, and give way to what is there", async (t) => {
  const { user, remove } = await makeUser("root");
  t.after(remove);
  for (const name of ["bin", "share"]) mkdirSync(join(user.home, name));
  const share = (path: string) => join(user.home, "share", path);
  mkdirSync(share("fish/vendor_completions.d"), { recursive: true });
  writeFileSync(share("fish/vendor_completions.d/enroot.fish"), "another's");
  const run = (action: string) => rootling(user, ["compat", action, join(user.home, "bin")]);
  const installed = await run("install");
  assert.equal(installed.status, 0, installed.stderr);
  const shown = installed.stdout.trim().split("\n");
  assert.deepEqual(shown, [
    join(user.home, "bin/enroot"),
    join(user.home, "bin/virt-bootstrap"),
    ...OVERLAY.map((name) => join(user.home, "bin", name)),
    share("man/man1/enroot.1"),
    share("bash-completion/completions/enroot"),
    share("zsh/site-functions/_enroot"),
    share("man/man1/virt-bootstrap.1"),
    ...OVERLAY.map((name) => share(`man/man8/${name}.8`)),
  ]);
  const env = { MANPATH: share("man"), LC_ALL: "C.UTF-8" };
  assert.match((await user.run(["man", "enroot"], { env })).stdout, /^NAME\n\s+enroot - /m);
  assert.match(readFileSync(share("bash-completion/completions/enroot"), "utf8"), /^complete .* enroot$/m);
  assert.equal((await run("remove")).stdout, installed.stdout);
  assert.ok(shown.every((path) => !existsSync(path)));
  assert.equal(readFileSync(share("fish/vendor_completions.d/enroot.fish"), "utf8"), "another's");
});

test("bin/enroot works by itself, through a symlink of any name, and in a directory that is one", async (t) => {
  const { user, remove } = await makeUser("root");
  t.after(remove);
  const program = join(packageDirectory(), "bin/enroot");
  symlinkSync(program, join(user.home, "enroot"));
  symlinkSync(dirname(program), join(user.home, "programs"));
  for (const words of [[program], [join(user.home, "enroot")], ["./enroot"], ["programs/enroot"]]) {
    const { stdout, stderr } = await user.run([...words, "version"]);
    assert.deepEqual([stdout, stderr], ["4.1.2\n", ""], words.join(" "));
  }
});
