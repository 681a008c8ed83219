/** A start as enroot's files have it, in the kernel: what is gathered, run and mounted late, and what becomes of it. */
import assert from "node:assert/strict";
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { must, type Outcome } from "../support/command.ts";
import { type BareEnrootBox, bareEnrootBox, type ConfigFiles, configure, enrootWords } from "../support/enroot.ts";
import { userKinds } from "../support/users.ts";

/** Mounts by their places: attributes, how they spread, type, options of the file system. */
function mountsOf(mountinfo: string): Map<string, string> {
  const rows = mountinfo.split("\n").filter((line) => line.includes(" - "));
  return new Map(
    rows.map((line) => {
      const [left = "", right = ""] = line.split(" - ");
      const [, , , , path = "", attributes = "", ...spread] = left.split(" ");
      const [type, , options = ""] = right.split(" ");
      return [path, `${[...attributes.split(","), ...spread, type, ...options.split(",")].join(" ")} `] as const;
    }),
  );
}

for (const kind of userKinds.filter((each) => each !== "subids")) {
  describe(`a start by enroot's files, as ${kind}`, () => {
    let box: BareEnrootBox;
    let root: string;
    let site: string;
    let shared: string;
    before(async () => {
      box = await bareEnrootBox(kind);
      root = await box.foreign("box");
      site = join(box.scratch, "site");
      shared = join(box.scratch, "shared");
      for (const name of ["below", "sp ace"]) mkdirSync(join(shared, name), { recursive: true });
      writeFileSync(join(shared, "file"), "shared\n");
    });
    after(() => box.remove());

    /** Files of the root, owned by the user. */
    const write = async (files: ConfigFiles) => {
      for (const [name, text] of Object.entries(files)) writeFileSync(join(root, name), text);
      await must(["chown", "-hR", `${box.user.uid}:${box.user.gid}`, root]);
    };
    const start = (words: readonly string[], env: Record<string, string> = {}): Promise<Outcome> =>
      box.run(["start", ...words], { cwd: shared, env: { ENROOT_SYSCONF_PATH: site, ...env } });
    const lines = async (words: readonly string[], env?: Record<string, string>): Promise<string[]> => {
      const { status, stdout, stderr } = await start(words, env);
      assert.equal(status, 0, stderr);
      return stdout.trimEnd().split("\n");
    };

    test("environment, mounts, hooks, script: each comes after what it needs, in the process that was started", async () => {
      await write({
        "etc/environment": "A=root\nB='root'\nHOST=\"${FROM}\"\n# a comment\nno variable\n",
        "etc/fstab": "",
      });
      const hook = [
        "#!/bin/sh",
        "set -e",
        'grep -q "^C=conf$" "$ENROOT_ENVIRON"',
        '[ -e "$ENROOT_ROOTFS/srv/file" ] && [ ! -e "$ENROOT_ROOTFS/late" ]',
        '[ "$(readlink "/proc/$ENROOT_PID/ns/mnt")" = "$(readlink /proc/self/ns/mnt)" ]',
        '! grep -q "^CapEff:.*0000000000000000" /proc/self/status',
        'sed -i "s/^A=.*/A=hook/" "$ENROOT_ENVIRON"',
        'echo "PID=$ENROOT_PID" >>"$ENROOT_ENVIRON"',
        'echo written >"$ENROOT_ROOTFS/etc/written"',
        'echo made >"${ENROOT_MOUNTS%/*}/made"',
        'echo "${ENROOT_MOUNTS%/*}/made /etc/made none x-create=file,bind,ro" >>"$ENROOT_MOUNTS"',
        'echo "tmpfs /late tmpfs x-create=dir,size=64k" >>"$ENROOT_MOUNTS"',
        "echo lost",
      ];
      configure(site, {
        "environ.d/10.env": "B='site'\nC=site\n",
        "mounts.d/10.fstab": `${shared} /srv none x-create=dir,bind,ro,nosuid 0 -1\n${shared}/file /late/file none x-create=file,bind\n`,
        "hooks.d/10.sh": `${hook.join("\n")}\n`,
      });
      const conf = join(box.scratch, "conf");
      const functions = [
        'environ() { echo "C=\\"conf\\""; grep -q ^B=site "$ENROOT_ENVIRON" && echo D=conf; }',
        'hooks() { echo E=conf >>"$ENROOT_ENVIRON"; }',
        'mounts() { [ -e "$ENROOT_ROOTFS/late/file" ] && echo "tmpfs /late/conf tmpfs x-create=dir,size=64k"; }',
        'rc() {\n  echo "$A $B $C $D $E $HOST"\n  exec "$@"\n}',
      ];
      writeFileSync(conf, `${functions.join("\n")}\n`);
      const script = 'echo "$PID $$"; cat /etc/written /etc/made /late/file /proc/self/mountinfo';
      let pid: number | undefined;
      const words = ["start", "--conf", conf, "--env", "D='flag'", "box", "sh", "-c", script];
      const { stdout, stderr } = await box.run(words, {
        env: { ENROOT_SYSCONF_PATH: site, FROM: "the host" },
        onStart: (child) => (pid = child.pid),
      });
      const [environment, pids, ...rest] = stdout.split("\n");
      assert.equal(environment, "hook site conf 'flag' conf the host", stderr);
      assert.equal(pids, `${pid} ${pid}`);
      assert.deepEqual(rest.slice(0, 3), ["written", "made", "shared"]);
      const mounts = mountsOf(stdout);
      assert.match(mounts.get("/srv") ?? "", /^ro nosuid /);
      assert.match(mounts.get("/etc/made") ?? "", /^ro /);
      assert.match(mounts.get("/late") ?? "", / tmpfs .*size=64k /);
      assert.ok(mounts.has("/late/conf"));
      configure(site, {});
      assert.deepEqual(await lines(["box", "sh", "-c", "ls /etc/written /etc/made 2>/dev/null; echo none"]), ["none"]);
    });

    test("all forms of a line", async () => {
      await must(["mkdir", "-p", ...["b", "t", "gone", "from"].map((name) => join(root, name))]);
      await write({
        "etc/environment": "",
        "etc/fstab": [
          shared,
          `${shared}/below bind,ro`,
          `${shared} /b`,
          "tmpfs /t",
          `${shared}/sp\\040ace /sp\\040ace none create=auto,rbind,nosuid,nodev,noexec`,
          `\${SHARED}/file /one/two/file none x-create=auto,bind,ro,user,defaults`,
          "tmpfs /data tmpfs x-create=dir,size=64k,mode=0750,noatime",
          "none /data none remount,bind,ro",
          "tmpfs /gone",
          "none /gone none x-detach",
          "none /b none unbindable",
          "none /t none rshared",
          "/nowhere /x none bind,nofail",
          "${ENROOT_ROOTFS}/volume /volume none x-create=dir,bind,rw,nosuid,nodev",
          "${ENROOT_ROOTFS}/led /led none bind,rw",
          `${box.user.home} /home none x-create=dir,rbind`,
          "${ENROOT_ROOTFS}/home /again none x-create=dir,bind",
          "tmpfs /from tmpfs size=64k 0 -1",
        ].join("\n"),
      });
      configure(site, {
        "hooks.d/10.sh": `#!/bin/sh\necho "$ENROOT_ROOTFS/from /to none x-move,x-create=dir" >>"$ENROOT_MOUNTS"\n`,
      });
      symlinkSync("/../../../../etc", join(root, "led"));
      const script = [
        "touch /volume/mark /led/mark && ls /etc/mark; touch /mark 2>/dev/null || echo sealed",
        "ls -d /home/.local /again/.local/share/enroot/.rootling/*; cat /proc/self/mountinfo",
      ].join("; ");
      const mount = ["--mount", "below:beside"];
      const said = await lines([...mount, "box", "sh", "-c", `cd /; ${script}`], { SHARED: shared });
      assert.deepEqual(said.slice(0, 3), ["/etc/mark", "sealed", "/home/.local"]);
      const mounts = mountsOf(said.join("\n"));
      const expected: Record<string, RegExp> = {
        [shared]: /^r[ow] /,
        [`${shared}/below`]: /^ro /,
        "/b": /^r[ow] .*unbindable /,
        "/t": /^rw .*shared:\d+ tmpfs /,
        "/sp\\040ace": /^r[ow] nosuid nodev noexec /,
        "/one/two/file": /^ro /,
        "/data": /^ro (?=.*noatime ).* tmpfs .*size=64k .*mode=750 /,
        "/to": / tmpfs .*size=64k /,
        "/beside": /^r[ow] /,
        "/volume": /^rw nosuid nodev /,
      };
      for (const [path, pattern] of Object.entries(expected)) assert.match(mounts.get(path) ?? "", pattern, path);
      for (const path of ["/gone", "/from", "/x"]) assert.ok(!mounts.has(path), path);
    });

    test("what fails says where, under our name; what leads outside leads nowhere", async () => {
      rmSync(join(root, "etc/fstab"));
      const fails = async (files: ConfigFiles, ...said: RegExp[]) => {
        configure(site, files);
        const { status, stderr } = await start(["box", "true"]);
        assert.equal(status, 1);
        assert.match(stderr, /^\[ERROR\] /m);
        for (const pattern of said) assert.match(stderr, pattern);
      };
      const hook = (...script: string[]) => ({ "hooks.d/10.sh": ["#!/bin/sh", ...script, ""].join("\n") });
      await fails(hook("kill -9 $$"), /hooks\.d\/10\.sh/, /signal 9/);
      await fails(hook('ln -sf /etc/passwd "$ENROOT_ENVIRON"'), /hooks\.d\/10\.sh/);
      await fails(
        hook("echo '# fine' >>\"$ENROOT_MOUNTS\"", 'echo "/etc /../up none bind" >>"$ENROOT_MOUNTS"'),
        /ENROOT_MOUNTS:2/,
      );
      // A target that leads outside is one inside.
      symlinkSync("/../../etc", join(root, "lead"));
      configure(site, { "mounts.d/10.fstab": `${shared}/file /lead/found none x-create=file,bind\n` });
      assert.deepEqual(await lines(["box", "cat", "/etc/found"]), ["shared"]);
    });

    test("a login: its shell, profile, home and message; a script by a pipe; none of it when it is off", async () => {
      configure(site, {});
      await write({
        "etc/passwd": `root:x:0:0::/etc:/bin/sh\nme:x:${box.user.uid}:0::/etc:/bin/sh\n`,
        "etc/profile": "PROFILE=read; export PROFILE\n",
        "etc/login.defs":
          "MOTD_FILE\t/etc/motd\nHUSHLOGIN_FILE .hushlogin\nENV_SUPATH PATH=/bin:/root\nENV_PATH /bin:/user\n",
        "etc/motd": "welcome\n",
      });
      const show = ["sh", "-c", 'echo "${PROFILE-unread} ${USER-nobody} $PATH"; pwd'];
      assert.deepEqual(await lines(["box", ...show]), [
        `read ${kind === "root" ? "root /bin:/root" : "me /bin:/user"}`,
        "/etc",
      ]);
      const [plain, where] = await lines(["box", ...show], { ENROOT_LOGIN_SHELL: "no" });
      assert.match(plain ?? "", /^unread nobody (?!\/bin:)/);
      assert.equal(where, "/");
      const rc = 'echo "$0 $PROFILE $PWD $*"; tr "\\0" " " </proc/$$/cmdline';
      const script = 'printf %s "$RC" | "$@" --rc /proc/self/fd/0 box a b';
      const pipe = ["sh", "-c", script, "sh", ...enrootWords("start")];
      const piped = await box.user.run(pipe, { env: { ENROOT_SYSCONF_PATH: site, RC: rc } });
      assert.match(
        piped.stdout,
        /^\/proc\/self\/fd\/\d+ read \/etc a b\n-sh \/proc\/self\/fd\/\d+ a b $/,
        piped.stderr,
      );
      assert.deepEqual(await lines(["box"]), ["welcome"]);
      await write({ "etc/.hushlogin": "" });
      assert.deepEqual(await lines(["box"]), [""]);
    });
  });
}
