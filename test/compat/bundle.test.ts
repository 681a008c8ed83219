/** Bundles where neither rootling nor Node is: in a root of busybox alone, and on a Debian without a PATH to them. */
import assert from "node:assert/strict";
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type Box, busyboxBox } from "../support/boxes.ts";
import { command, must, type Outcome } from "../support/command.ts";
import { type EnrootBox, enrootBox } from "../support/enroot.ts";
import { userKinds } from "../support/users.ts";

/** Mounts for these tests are root's. */
const mayMount = process.getuid?.() === 0;

/** What is done to a bundle is seen in its user's own temporary directory. */
const leftIn = (box: Pick<Box, "user">): string[] =>
  readdirSync(box.user.env.TMPDIR ?? "/none").filter((name) => name.startsWith("rootling-bundle"));

/** The process that a bundle is, once its payload has been started. */
async function monitorOf(box: Pick<Box, "user">): Promise<number> {
  const { uid, env } = box.user;
  for (let tries = 0; tries < 600; tries++) {
    const [name] = leftIn(box);
    if (name !== undefined && existsSync(join(env.TMPDIR ?? "", name, "pid"))) {
      await sleep(100);
      return Number(name.slice(`rootling-bundle.${uid}.`.length).split(".")[0]);
    }
    await sleep(20);
  }
  throw new Error("the bundle did not start");
}

for (const kind of userKinds.filter((one) => one !== "subids")) {
  describe(`bundle, as ${kind}`, () => {
    let box: Box;
    let file: string;
    before(async () => {
      box = await busyboxBox(kind, { workdir: "/home" });
      file = join(box.user.home, "it.run");
      const said = await box.must(["bundle", "busybox", "-o", "it.run", "-c", "-d", "a 'description'"]);
      assert.ok(said.startsWith(file), said);
    });
    after(() => box.remove());
    const here = (name: string) => join(box.user.home, name);
    /** PATH has nothing but the system's programs; no setting of rootling's is known. */
    const run = (words: readonly string[], env: Record<string, string> = {}, path = file): Promise<Outcome> =>
      box.user.run(["env", "-i", "PATH=/usr/bin:/bin", `TMPDIR=${box.user.env.TMPDIR}`, ...pairs(env), path, ...words]);

    test("runs with the image's configuration, is read-only, and leaves nothing", async () => {
      const script = "id -u; pwd; echo $FROM; echo x >/new || echo refused; exit 7";
      const { status, stdout, stderr } = await run(["sh", "-c", script]);
      assert.equal(status, 7, stderr);
      assert.equal(stdout, `${box.user.uid}\n/home\nimage\nrefused\n`);
      assert.deepEqual(leftIn(box), []);
    });

    test("-r, -w, -e and -m", async () => {
      writeFileSync(here("data"), "of the host\n");
      chmodSync(here("data"), 0o644);
      const script =
        "id -u; echo x >/new && busybox chown 7:8 /new && cat /new; cat /mnt/data; echo $A-$B-$C; echo y >/mnt/data || echo no";
      const words = ["-r", "-w", "-e", "A", "--env=B=it's", "-e", "C", "-m", `${here("data")}:/mnt/data:ro`];
      const { stdout, stderr } = await run([...words, "sh", "-c", script], { A: "a" });
      assert.equal(stdout, "0\nx\nof the host\na-it's-\nno\n", stderr);
    });

    test("-i says what it is; -x unpacks, with the modes; -k keeps and runs", async () => {
      const info = (await run(["-i"])).stdout;
      assert.match(info, /^Description: a 'description'\nCompression: gzip\nTarget directory: busybox\n/);
      assert.match(info, /\nUncompressed size: \d+ KB\nChecksum: [0-9a-f]{64}\n$/);
      assert.equal((await run(["-x"])).status, 0);
      assert.equal(readFileSync(here("busybox/etc/passwd"), "utf8").split(":")[0], "root");
      const taken = await run(["-k", "true"]);
      assert.equal(taken.status, 125);
      assert.match(taken.stderr, /^ERROR: File already exists: .*\/busybox\n {2}mend: /);
      await box.user.run(["rm", "-rf", "busybox"]);
      const kept = await run(["-k", "-w", "sh", "-c", "echo changed >/etc/new"]);
      assert.equal(kept.status, 0, kept.stderr);
      assert.equal(readFileSync(here("busybox/etc/new"), "utf8"), "changed\n");
      assert.equal(statSync(here("busybox/etc/new")).uid, box.user.uid);
    });

    test("--conf and --rc", async () => {
      const conf =
        'environ() { echo "FROM=conf"; }\nmounts() { echo "tmpfs /mnt tmpfs x-create=dir"; }\n#ENROOT_REMAP_ROOT=y\n';
      writeFileSync(here("job.conf"), conf);
      chmodSync(here("job.conf"), 0o644);
      const { stdout, stderr } = await run([
        "-c",
        "job.conf",
        "sh",
        "-c",
        "id -u; echo $FROM; grep -c /mnt /proc/mounts",
      ]);
      assert.equal(stdout, "0\nconf\n1\n", stderr);
      const script = await box.user.run(["sh", "-c", `echo 'echo "rc: $*"' | ./it.run --rc /dev/stdin a 'b c'`]);
      assert.equal(script.stdout, "rc: a b c\n", script.stderr);
    });

    test("statuses and words", async () => {
      const missing = await run(["/none"]);
      assert.deepEqual([missing.status, missing.stdout], [127, ""]);
      assert.match(missing.stderr, /^ERROR: the command cannot be executed: \/none: no such file or directory\n$/);
      assert.equal((await run(["sh", "-c", "kill -9 $$"])).status, 137);
      for (const words of [["--nothing"], ["-e"], ["-e", "1A=b"], ["-m", "x"]])
        assert.equal((await run(words)).status, 2);
      assert.match((await run(["--help"])).stdout, /^Usage: it\.run /);
    });

    test("a file that is cut, or changed, or bundled for another machine does not run", async () => {
      const copy = here("copy.run");
      const size = statSync(file).size;
      copyFileSync(file, copy);
      truncateSync(copy, size - 1);
      const cut = await run(["true"], {}, copy);
      assert.equal(cut.status, 125);
      assert.match(cut.stderr, /^ERROR: the file is truncated or damaged/);
      const bytes = readFileSync(file);
      bytes.writeUInt8(bytes.readUInt8(size - 100) ^ 1, size - 100);
      writeFileSync(copy, bytes);
      const changed = await run(["true"], {}, copy);
      assert.equal(changed.status, 125);
      assert.match(changed.stderr, /^ERROR: Checksum validation failed\n/);
      const other = readFileSync(file, "latin1").replace(/^machine='x86_64'$/m, "machine='x86_46'");
      writeFileSync(copy, other.replace(/^machine='aarch64'$/m, "machine='aarch46'"), "latin1");
      assert.match((await run(["true"], {}, copy)).stderr, /^ERROR: this bundle is for \w+46, and this machine is /);
      // Without a checksum the compressed root tells.
      await box.must(["bundle", "busybox", "-o", "plain.run"]);
      const plain = readFileSync(here("plain.run"));
      plain.fill(0, plain.length - 2000, plain.length - 1000);
      writeFileSync(copy, plain);
      const damaged = await run(["true"], {}, copy);
      assert.equal(damaged.status, 125);
      assert.match(damaged.stderr, /ERROR: the root cannot be unpacked/);
      assert.deepEqual(leftIn(box), []);
    });

    test("a signal ends it, and nothing stays; what kill -9 left goes with the next one", async () => {
      const starting = run(["sleep", "1000"]);
      process.kill(await monitorOf(box), "SIGTERM");
      assert.equal((await starting).status, 143);
      assert.deepEqual(leftIn(box), []);
      const killed = run(["sleep", "1000"]);
      process.kill(await monitorOf(box), "SIGKILL");
      assert.equal((await killed).signal, "SIGKILL");
      assert.equal(leftIn(box).length, 1);
      assert.equal((await run(["true"])).status, 0);
      assert.deepEqual(leftIn(box), []);
    });

    test("the same image gives the same bytes", async () => {
      await box.must(["bundle", "busybox", "-o", "again.run", "-c", "-d", "a 'description'"]);
      assert.ok(readFileSync(here("again.run")).equals(readFileSync(file)));
      const taken = await box.run(["bundle", "busybox", "-o", "again.run"]);
      assert.match(taken.stderr, /E_EXISTS/);
    });

    test("in a root that has nothing but busybox", { skip: !mayMount }, async () => {
      const root = join(box.scratch, "bare");
      for (const name of ["bin", "tmp", "proc", "sys", "dev", "etc"]) mkdirSync(join(root, name), { recursive: true });
      cpSync("/bin/busybox", join(root, "bin/busybox"));
      for (const applet of (await must(["busybox", "--list"])).trim().split("\n")) {
        if (applet !== "busybox") symlinkSync("busybox", join(root, "bin", applet));
      }
      copyFileSync(file, join(root, "it.run"));
      chmodSync(join(root, "tmp"), 0o1777);
      chmodSync(join(root, "it.run"), 0o755);
      chmodSync(box.scratch, 0o755);
      const mounts = ["proc", "sys", "dev"].map((name) => `mount --rbind /${name} ${root}/${name}`).join(" && ");
      const enter = `mount --bind ${root} ${root} && ${mounts} && cd ${root} && mount --move . / && exec chroot "$@"`;
      const as = `--userspec=${box.user.uid}:${box.user.gid}`;
      const words = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        enter,
        "sh",
        as,
        ".",
        "/it.run",
        "sh",
        "-c",
        "echo $FROM; id -u",
      ];
      const { stdout, stderr } = await command(words, { env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" } });
      assert.equal(stdout, `image\n${box.user.uid}\n`, stderr);
    });

    test("a temporary directory where no program can be executed is named", { skip: !mayMount }, async () => {
      const place = join(box.scratch, "noexec");
      mkdirSync(place, { recursive: true });
      const mount = `mount -t tmpfs -o noexec,mode=1777 tmpfs ${place} && exec "$@"`;
      const words = box.user.words(["env", `TMPDIR=${place}`, file, "true"]);
      const { status, stderr } = await command(["unshare", "--mount", "sh", "-c", mount, "sh", ...words]);
      assert.equal(status, 125);
      assert.match(stderr, /^ERROR: no program can be executed in .*noexec.*\n {2}mend: name another directory/);
    });
  });
}

const pairs = (env: Record<string, string>): string[] => Object.entries(env).map(([name, value]) => `${name}=${value}`);

describe("enroot bundle", () => {
  let box: EnrootBox;
  before(async () => {
    box = await enrootBox(userKinds.at(-1) ?? "plain");
  });
  after(() => box.remove());

  test("holds the system's configuration, and with a setting the user's", async () => {
    const own = join(box.user.home, ".config/enroot");
    const script = `mkdir -p ${own}/hooks.d ${own}/environ.d; echo 'OWN=$' >${own}/environ.d/1.env
      printf '#!/bin/sh\\necho "HOOK=ran" >>"$ENROOT_ENVIRON"\\n' >${own}/hooks.d/1.sh; chmod 755 ${own}/hooks.d/1.sh
      echo 'HERE=\${FROM_HERE}/x' >${own}/environ.d/2.env`;
    await box.user.run(["sh", "-c", script]);
    await box.must(["bundle", box.image]);
    const env = { ENROOT_BUNDLE_ALL: "y", ENROOT_BUNDLE_CHECKSUM: "y" };
    await box.must(["bundle", "-t", "${HOME}/there", "-o", "all.run", box.image], { env });
    const ask = ["sh", "-c", "echo $HOOK,$HERE; grep -c ' /tmp tmpfs' /proc/mounts"];
    const run = (name: string) => box.user.run(["env", "FROM_HERE=here", `./${name}`, ...ask]);
    const system = await run("my+image.run");
    assert.equal(system.stdout, ",\n1\n", system.stderr);
    const all = await run("all.run");
    assert.equal(all.stdout, "ran,here/x\n1\n", all.stderr);
    await box.fails(["bundle", box.image], /File already exists: /);
    await box.fails(["bundle", "/none"], /No such file or directory: \/none/);
    const info = await box.user.run(["./all.run", "--info"]);
    assert.match(info.stdout, /^Target directory: \$\{HOME\}\/there$/m);
    assert.match(info.stdout, /^Checksum: /m);
    const extracted = await box.user.run(["sh", "-c", "cd / && ~/all.run -x && cat ~/there/etc/hello"]);
    assert.equal(extracted.stdout, "hello\n", extracted.stderr);
  });
});
