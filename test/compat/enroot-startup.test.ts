/** The configuration of a start by files: what counts, in which order, and what is said of mistakes. */
import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { CommandOptions } from "../support/command.ts";
import { must } from "../support/command.ts";
import { type ConfigFiles, configure, dataPath, type EnrootBox, enrootBox, enrootWords } from "../support/enroot.ts";
import { userKinds } from "../support/users.ts";

for (const kind of userKinds.filter((each) => each !== "subids")) {
  describe(`enroot's configuration, as ${kind}`, () => {
    let box: EnrootBox;
    let site: string;
    before(async () => {
      box = await enrootBox(kind);
      site = join(box.scratch, "site");
    });
    after(() => box.remove());

    /** Replaces the site's configuration, and the user's. */
    const setUp = (files: ConfigFiles, user: ConfigFiles = {}) => {
      configure(site, files);
      configure(join(box.user.home, ".config/enroot"), user);
    };
    const options = (env: Record<string, string> = {}): CommandOptions => ({
      env: { ENROOT_SYSCONF_PATH: site, ...env },
    });
    const start = (words: readonly string[], env?: Record<string, string>) =>
      box.must(["start", ...words], options(env));
    const fails = async (words: readonly string[], ...said: RegExp[]) => {
      const { status, stderr } = await box.run(["start", ...words], options());
      assert.notEqual(status, 0);
      for (const pattern of said) assert.match(stderr, pattern);
    };
    /** A script in the user's home. */
    const script = (name: string, text: string): string => {
      const path = join(box.scratch, name);
      writeFileSync(path, text);
      chmodSync(path, 0o644);
      return path;
    };

    test("environment: root, system, user, conf, flags; the last one wins, and the host's is not inherited", async () => {
      const root = await box.foreign("variables");
      writeFileSync(join(root, "etc/environment"), "# comment\nA=root\nB=root\nC=root\nD=root\nE=root\nHOST=${FROM}\n");
      setUp(
        { "environ.d/20.env": "B=system20\nC=system20\n", "environ.d/10.env": "B=system10\nD=system\nE=system\n" },
        { "environ.d/10.env": "C=user\nD=user\nE=user\n" },
      );
      const conf = script("variables.conf", "environ() { echo D=conf; echo E=conf; }\n");
      const words = ["--conf", conf, "--env", "E=flag", "variables", "sh", "-c", 'echo $A $B $C $D $E "$HOST" $SECRET'];
      assert.equal(await start(words, { FROM: "a b", SECRET: "x" }), "root system20 user conf flag a b\n");
    });

    test("mounts and hooks: pass -1, hooks, their mounts, pass 0, conf, --mount; each sees what came before", async () => {
      const source = (name: string): string => {
        mkdirSync(join(box.scratch, name), { recursive: true });
        writeFileSync(join(box.scratch, name, name), "");
        return join(box.scratch, name);
      };
      const line = (name: string, pass = 0) => `${source(name)} /mnt none x-create=dir,bind,ro 0 ${pass}\n`;
      const look = (who: string) =>
        `#!/bin/sh\necho ${who}: $(ls "$ENROOT_ROOTFS/mnt") >>"${box.scratch}/log"\necho lost\n`;
      setUp(
        { "mounts.d/10.fstab": line("early", -1) + line("late"), "hooks.d/10-look.sh": look("system") },
        { "hooks.d/05-add.sh": `${look("user")}echo '${line("hooked").trim()}' >>"$ENROOT_MOUNTS"\n` },
      );
      await must(["chown", "-R", `${box.user.uid}`, box.scratch]);
      const conf = script(
        "mounts.conf",
        `mounts() { echo '${line("conf").trim()}'; }\nhooks() { echo conf hook: $(ls "$ENROOT_ROOTFS/mnt") >>"${box.scratch}/log"; }\n`,
      );
      const show = ["box", "ls", "/mnt"];
      assert.equal(await start(show), "late\n");
      assert.equal(await must(["cat", join(box.scratch, "log")]), "system: early\nuser: early\n");
      assert.equal(await start(["--conf", conf, ...show]), "conf\n");
      assert.match(await must(["cat", join(box.scratch, "log")]), /conf hook: early\n$/);
      assert.equal(await start(["--conf", conf, "-m", `${source("flag")}:/mnt`, ...show]), "flag\n");
    });

    test("hooks: the environment is a file that they may change; one that is not executable is left out", async () => {
      setUp({
        "hooks.d/10.sh":
          '#!/bin/sh\ngrep -q "^A=given$" "$ENROOT_ENVIRON" && echo "B=$ENROOT_VERSION" >>"$ENROOT_ENVIRON"\nsed -i /^C=/d "$ENROOT_ENVIRON"\n',
        "hooks.d/20.sh.off": "exit 1\n",
      });
      const [b, c] = (
        await start(["-e", "A=given", "-e", "C=x", "box", "sh", "-c", 'echo "$B"; echo "${C-gone}"'])
      ).split("\n");
      assert.match(b ?? "", /^4\./);
      assert.equal(c, "gone");
    });

    test("what hooks write goes nowhere but into this start", async () => {
      setUp({ "hooks.d/10.sh": '#!/bin/sh\necho hooked >"$ENROOT_ROOTFS/etc/hello"\n' });
      assert.equal(await start(["box", "cat", "/etc/hello"]), "hooked\n");
      setUp({});
      assert.equal(await start(["box", "cat", "/etc/hello"]), "hello\n");
    });

    test("mistakes are named by file and line, and a hook that fails stops the start", async () => {
      setUp({ "mounts.d/20-config.fstab": "# fine\n\n/nowhere/at/all /mnt none bind,x-create=dir\n" });
      await fails(["box", "true"], /\/nowhere\/at\/all \/mnt/, /mounts\.d\/20-config\.fstab:3/);
      setUp({ "mounts.d/20-config.fstab": "/nowhere /mnt none bind,nofail\n" });
      await start(["box", "true"]);
      setUp({ "mounts.d/a.fstab": "/etc /../mnt none bind,x-create=dir\n" });
      await fails(["box", "true"], /mounts\.d\/a\.fstab:1/);
      setUp({ "environ.d/10.env": "A=1\nno variable\n" });
      await fails(["box", "true"], /environ\.d\/10\.env:2/);
      setUp({ "hooks.d/30-no.sh": "#!/bin/sh\necho reason >&2\nexit 3\n" });
      await fails(["box", "true"], /reason/, /hooks\.d\/30-no\.sh/, /status 3/);
      setUp({});
      await fails(
        ["--conf", script("bad.conf", "hooks() { return 4; }\n"), "box", "true"],
        /--conf, hooks\(\)/,
        /status 4/,
      );
      await fails(["--conf", script("broken.conf", "environ() {\n"), "box", "true"], /--conf, environ\(\)/);
    });

    test("rc: the flag, then conf, then the root; the words are its arguments", async () => {
      setUp({});
      const root = await box.foreign("scripted");
      writeFileSync(join(root, "etc/rc"), 'echo "root $0 $*"; exec "$@"\n');
      assert.equal(await start(["scripted", "echo", "x y"]), "root /etc/rc echo x y\nx y\n");
      const conf = script("rc.conf", 'rc() {\n  echo "conf $*"\n}\n');
      assert.equal(await start(["--conf", conf, "scripted", "a", "b"]), "conf a b\n");
      const rc = script("given.rc", 'echo "flag $*"\n');
      assert.equal(await start(["--conf", conf, "--rc", rc, "scripted", "a"]), "flag a\n");
      const words = enrootWords("start");
      const pipe = ["bash", "-c", '"$@" --rc <(echo "echo pipe \\$*") box a', "bash", ...words];
      const piped = await box.user.run(pipe, { cwd: box.user.home, ...options() });
      assert.equal(piped.stdout, "pipe a\n", piped.stderr);
    });

    test("a --conf script runs once, with the words of the start; its functions share what they set", async () => {
      setUp({});
      const conf = script(
        "shared.conf",
        [
          'count=$((${count-0} + 1)) words="$*" declared=$(mktemp -u)',
          "echo B=not inside; readonly fixed=1; declare -A by=([key]=value)",
          'environ() { echo "A=$count $words"; later=$declared; cd /tmp; }',
          'hooks() { count=$((count + 1)); echo "H=$count ${by[key]} $PWD" >>"$ENROOT_ENVIRON"; }',
          'mounts() { [ "$later" = "$declared" ] && [ "$count" = 2 ] && echo "tmpfs /shared tmpfs x-create=dir"; }',
          'rc() {\n  echo "$A, $H, ${B-unset}, $(ls -d /shared)"\n}',
          "",
        ].join("\n"),
      );
      assert.equal(await start(["--conf", conf, "box", "a", "b c"]), "1 a b c, 2 value /tmp, unset, /shared\n");
      await fails(["--conf", script("fails.conf", "hooks() { false; true; }\n"), "box", "true"], /--conf, hooks\(\)/);
      await fails(["--conf", script("unset.conf", "echo $not_set\n"), "box", "true"], /not_set: unbound variable/);
    });

    test("a login shell reads its profile, unless it is off; no shell is needed for a command", async () => {
      setUp({});
      const root = await box.foreign("login");
      writeFileSync(join(root, "etc/profile"), "PROFILE=read; export PROFILE\n");
      const show = ["login", "sh", "-c", 'echo "${PROFILE-unread}"'];
      assert.equal(await start(show), "read\n");
      assert.equal(await start(show, { ENROOT_LOGIN_SHELL: "no" }), "unread\n");
      const bare = await box.foreign("bare");
      rmSync(join(bare, "bin/sh"));
      assert.equal(await start(["bare", "echo", "no shell"]), "no shell\n");
      await fails(["bare"], /\/bin\/sh|not found/);
    });

    test("files of a hostile root lead nowhere, and block nothing", async (t) => {
      setUp({});
      // Not below /dev, which the container shares.
      const outside = mkdtempSync("/tmp/rootling-outside-");
      t.after(() => rmSync(outside, { recursive: true }));
      chmodSync(outside, 0o755);
      const secret = join(outside, "secret");
      writeFileSync(secret, "STOLEN=yes\n");
      const root = await box.foreign("hostile");
      symlinkSync(secret, join(root, "etc/environment"));
      assert.equal(await start(["hostile", "sh", "-c", 'echo "${STOLEN-safe}"']), "safe\n");
      rmSync(join(root, "etc/environment"));
      await must(["mkfifo", join(root, "etc/fstab")]);
      await fails(["hostile", "true"], /\/etc\/fstab of the root cannot be read/);
      rmSync(join(root, "etc/fstab"));
      writeFileSync(join(root, "etc/fstab"), `${dataPath(box.user)} /mnt none bind,x-create=dir\n`);
      const { status, stderr } = await box.run(["start", "hostile", "ls", "-a", "/mnt"], options());
      assert.ok(status !== 0 || !/\.rootling\/containers/.test(stderr));
      writeFileSync(join(root, "etc/fstab"), `${join(dataPath(box.user), ".rootling")} /mnt none bind,x-create=dir\n`);
      await fails(["hostile", "true"], /belongs to the store/, /etc\/fstab:1|enroot/);
    });

    test("accounts: the caller's comes with root's and nobody's before those of the image", async () => {
      const root = await box.foreign("accounts");
      const line = "www-data:x:33:33:it is a \\\\ web:/var/www:/bin/sh";
      writeFileSync(join(root, "etc/passwd"), `root:x:0:0:image:/root:/bin/sh\n_apt:x:42:65534::/:/bin/sh\n${line}`);
      writeFileSync(join(root, "etc/group"), "root:x:0:\n");
      await must(["chown", "-R", `${box.user.uid}:${box.user.gid}`, root]);
      const accounts = async (...flags: string[]) =>
        (await box.must(["start", ...flags, "accounts", "cat", "/etc/passwd"])).split("\n").filter(Boolean);
      if (kind !== "root") {
        const names = (await accounts()).map((text) => text.split(":")[0]);
        assert.deepEqual(names, ["root", box.user.name, "nobody", "www-data"]);
        assert.equal((await accounts()).at(-1), line);
      }
      // As useradd does it: a new file takes the place of the old one. Root has the image's own.
      const add = "{ cat /etc/passwd; echo; echo new:x:9:9::/:/bin/sh; } >/etc/new && mv /etc/new /etc/passwd";
      await box.must(["start", "--root", "--rw", "accounts", "sh", "-c", add]);
      assert.deepEqual((await accounts("--root")).slice(-2), [line, "new:x:9:9::/:/bin/sh"]);
    });

    test("hooks see flags as settings", async () => {
      setUp({
        "hooks.d/10.sh": `#!/bin/sh\necho "\${ENROOT_REMAP_ROOT-} \${ENROOT_ROOTFS_WRITABLE-}" >"$ENROOT_ROOTFS/etc/seen"\n`,
      });
      const seen = (...flags: string[]) => start([...flags, "box", "cat", "/etc/seen"]);
      const own = kind === "root" ? "y" : "";
      assert.equal(await seen(), `${own} \n`);
      assert.equal(await seen("--rw"), `${own} y\n`);
      assert.equal(await seen("--root"), "y \n");
      setUp({});
    });

    test("the shipped configuration: terminal, mounts, accounts; and the hooks that settings switch on", async () => {
      const shipped = (words: readonly string[], env: Record<string, string> = {}) =>
        box.must(["start", ...words], { env: { TERM: "vt100", ...env } });
      assert.equal(await shipped(["box", "sh", "-c", "echo $TERM; echo >/tmp/x; echo >/run/x"]), "vt100\n");
      const passwd = await shipped(["box", "cat", "/etc/passwd"]);
      assert.match(passwd, /^root:x:0:/m);
      if (kind !== "root") assert.match(passwd, new RegExp(`^${box.user.name}:x:${box.user.uid}:`, "m"));
      const files = "/etc/hosts /etc/hostname /etc/resolv.conf /etc/machine-id /etc/localtime";
      const same = `for file in ${files}; do [ ! -e $file ] || md5sum $file; done`;
      const changed = "for file in /etc/hosts /sys/kernel /mark; do touch $file 2>/dev/null && echo $file; done";
      const said = await shipped(["box", "sh", "-c", `${same}; ${changed}; ls -d /run/lock`]);
      assert.equal(said, `${await must(["sh", "-c", same])}/run/lock\n`);
      assert.equal(
        await shipped(["-e", "TZ=UTC", "box", "sh", "-c", "ls /etc/localtime 2>/dev/null; echo own"]),
        "own\n",
      );
      // What covers a mount point comes last: of each hierarchy the caller's own cgroup.
      const mountinfo = (await shipped(["box", "cat", "/proc/self/mountinfo"]))
        .split("\n")
        .map((line) => line.split(" "));
      const cgroups = mountinfo.filter((fields) => /^cgroup2?$/.test(fields[fields.indexOf("-") + 1] ?? ""));
      const roots = new Map(cgroups.map(([, , , root, point]) => [point, root]));
      for (const [point, root] of roots) if (point?.startsWith("/sys/")) assert.equal(root, "/", point);
      const home = { ENROOT_MOUNT_HOME: "y" };
      const inside = (...flags: string[]) => shipped([...flags, "box", "sh", "-c", "cd; pwd; ls -d .local"], home);
      assert.equal(await inside("--root"), "/root\n.local\n");
      if (kind !== "root") assert.equal(await inside(), `${box.user.home}\n.local\n`);
      const devices = await shipped(["box", "ls", "/dev"], { ENROOT_RESTRICT_DEV: "y" });
      assert.match(devices, /^null$/m);
      assert.doesNotMatch(devices, /^mem$|^kmsg$|^loop/m);
      const adapters = ["start", "-e", "MELLANOX_VISIBLE_DEVICES=all", "box", "true"];
      const without = await box.run(adapters);
      if (!existsSync("/sys/class/infiniband")) assert.match(without.stderr, /there is no InfiniBand adapter/);
    });

    test("hooks written for enroot find its functions, also where there is no enroot", async () => {
      const hook = [
        "#!/bin/bash",
        "set -euo pipefail",
        'source "${ENROOT_LIBRARY_PATH}/common.sh"',
        "common::checkcmd grep awk",
        'IFS=: read -r name _ uid _ <<<"$(common::getpwent)"',
        'echo "WHO=$name $uid $(common::getgrent | cut -d: -f1)" >>"$ENROOT_ENVIRON"',
        'echo "A=\\${A}, \\${HOME}." >"${ENROOT_MOUNTS%/*}/text"; A=x common::envsubst "${ENROOT_MOUNTS%/*}/text" >>"$ENROOT_ENVIRON"',
        'common::log WARN "a warning"',
        '[ -z "${FAIL-}" ] || common::err "that is wrong"',
        "",
      ].join("\n");
      setUp({ "hooks.d/10.sh": hook });
      const words = ["start", "box", "sh", "-c", 'echo "$WHO"; echo "$A"'];
      const { stdout, stderr } = await box.run(words, options());
      const group = (await must(["getent", "group", String(box.user.gid)])).split(":")[0];
      assert.equal(stdout, `${box.user.name} ${box.user.uid} ${group}\nx, ${box.user.home}.\n`, stderr);
      assert.equal(stderr, "[WARN] a warning\n");
      const failed = await box.run(words, options({ FAIL: "y" }));
      assert.equal(failed.status, 1);
      assert.match(failed.stderr, /^\[ERROR\] that is wrong\n\[ERROR\] the hook /m);
      setUp({});
    });
  });
}
