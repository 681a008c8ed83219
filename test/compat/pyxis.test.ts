/** Slurm's plugin pyxis: it drives enroot by these words, and joins the container that it has made. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { packageDirectory } from "../support/cli.ts";
import { command } from "../support/command.ts";
import { type EnrootBox, enrootBox } from "../support/enroot.ts";
import { ordinaryKinds } from "../support/users.ts";

const amRoot = process.getuid?.() === 0;

/** A job of the plugin's: what it prints, and where enroot is found. */
async function job(t: TestContext, box: EnrootBox, name: string, task: string) {
  const bin = join(box.scratch, "bin");
  if (!existsSync(bin)) {
    mkdirSync(bin, { mode: 0o755 });
    symlinkSync(join(packageDirectory(), "bin/enroot"), join(bin, "enroot"));
  }
  const shared = join(box.scratch, "shared");
  mkdirSync(shared, { recursive: true, mode: 0o755 });
  writeFileSync(join(shared, "data"), "data\n");
  t.after(() => rmSync(shared, { recursive: true, force: true }));
  const { uid, gid, env } = box.user;
  const script = join(import.meta.dirname, "../support/pyxis.py");
  const mount = `${shared} /mnt/shared none x-create=dir,bind,rw,nofail,rslave`;
  const { status, stdout, stderr } = await command(
    ["python3", script, String(uid), String(gid), name, mount, "--", "/bin/sh", "-c", task],
    { env: { ...env, PATH: `${bin}:${env.PATH}`, SLURM_JOB_ID: "7" }, cwd: "/" },
  );
  assert.deepEqual([status, stderr], [0, ""]);
  return stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

for (const kind of amRoot ? ordinaryKinds.filter((one) => one !== "subids") : []) {
  test(`a job by the plugin's words, as ${kind}`, async (t) => {
    const box = await enrootBox(kind);
    t.after(() => box.remove());
    // The image is imported, made a container, and its file removed.
    const file = join(box.user.home, "7.0.squashfs");
    await box.must(["create", "--name", "pyxis_7.0", box.image]);
    assert.ok((await box.must(["list"])).split("\n").includes("pyxis_7.0"));

    const task =
      "cat /mnt/shared/data; id -u; pwd; echo $SLURM_PROCID >>/trace; readlink /proc/self/ns/user; cat /etc/hello";
    const [stopped, ended, first, second] = await job(t, box, "pyxis_7.0", task);
    const { environment } = stopped as { environment: Record<string, string> };
    assert.equal(environment.SLURM_JOB_ID, undefined, "the caller's environment stays outside");
    assert.ok(environment.PATH);
    assert.deepEqual(ended, { ended: 0 });
    const outputs = [first, second].map((one) => one as { status: number; output: string });
    assert.deepEqual(
      outputs.map(({ status }) => status),
      [0, 0],
      JSON.stringify(outputs),
    );
    const [data, uid, directory, namespace, hello] = outputs[0]?.output.split("\n") ?? [];
    assert.deepEqual([data, uid, hello], ["data", String(box.user.uid), "hello"]);
    assert.ok(directory?.startsWith("/"));
    assert.match(namespace ?? "", /^user:\[/);
    assert.equal(outputs[1]?.output.split("\n")[3], namespace, "tasks share the container");

    // What it changed is exported, and it is removed.
    await box.must(["export", "--force", "--output", file, "pyxis_7.0"]);
    assert.equal(await box.must(["start", file, "cat", "/trace"]), "0\n1\n");
    await box.must(["remove", "-f", "pyxis_7.0"]);
    assert.ok(!(await box.must(["list", "-f"])).includes("pyxis_7.0"));
  });

  test(`nsenter joins what has stopped, and list --fancy shows it, as ${kind}`, async (t) => {
    const box = await enrootBox(kind);
    t.after(() => box.remove());
    const script = [
      'enroot start box sh -c "kill -STOP \\$\\$; exit 9" & pid=$!',
      'until grep -q "^State:.T" /proc/$pid/status; do sleep 0.05; done',
      "enroot list -f | grep ^box",
      'nsenter --preserve-credentials --user --mount --target "$pid" cat /etc/hello',
      'kill -CONT "$pid"; wait "$pid"; echo "status $?"',
    ].join("\n");
    const path = `${join(packageDirectory(), "bin")}:${box.user.env.PATH}`;
    const { stdout, stderr } = await box.user.run(["bash", "-c", script], { env: { PATH: path } });
    const [row, hello, status] = stdout.trim().split("\n");
    assert.match(row ?? "", /^box +\d+ +sh +T/, stderr);
    assert.deepEqual([hello, status], ["hello", "status 9"], stderr);
  });
}
