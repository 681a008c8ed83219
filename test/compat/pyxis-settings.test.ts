/** What pyxis's settings and options change in how it drives enroot: use_enroot_load, use_squashfuse, the entrypoint. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { packageDirectory } from "../support/cli.ts";
import { command, must } from "../support/command.ts";
import { type EnrootBox, enrootBox, enrootWords } from "../support/enroot.ts";
import { busyboxImage, ImageLayout } from "../support/images.ts";
import { type Registry, startRegistry } from "../support/registry.ts";
import { ordinaryKinds } from "../support/users.ts";

/** The plugin's script for --no-container-entrypoint and --container-env=KEEP,NONE. */
const SCRIPT = [
  "hooks() {",
  "\techo 'exec \"$@\"' >${ENROOT_ROOTFS}/etc/rc.local",
  "}",
  "environ() {",
  '\t[ -n "${KEEP-}" ] && echo "KEEP=${KEEP}" || :',
  '\t[ -n "${NONE-}" ] && echo "NONE=${NONE}" || :',
  "}",
  "",
].join("\n");

describe("pyxis's settings", () => {
  let box: EnrootBox;
  let registry: Registry;
  let conf: string;
  const targets: Record<string, string> = { loaded: "pyxis_loaded", imported: "pyxis_imported" };
  before(async () => {
    box = await enrootBox(ordinaryKinds[0] ?? "plain");
    registry = await startRegistry();
    const layout = await ImageLayout.create(join(box.scratch, "layout"));
    await busyboxImage(layout, "latest", box.scratch, {
      entrypoint: ["/bin/echo", "entry"],
      cmd: ["cmd"],
      env: ["PATH=/bin"],
      workdir: "/srv",
      volumes: ["/volume"],
    });
    await registry.push(layout.reference("latest"), "app:1");
    const uri = `docker://${registry.address}#app:1`;
    const env = { ENROOT_ALLOW_HTTP: "y" };
    const file = join(box.user.home, "7.0.squashfs");
    await box.must(["load", "--name", "pyxis_loaded", uri], { env });
    await box.must(["import", "--output", file, uri], { env });
    await box.must(["create", "--name", "pyxis_imported", file]);
    targets.file = file;
    conf = join(box.scratch, "conf.sh");
    writeFileSync(conf, SCRIPT);
  });
  after(async () => {
    await registry.stop();
    await box.remove();
  });

  for (const how of ["loaded", "imported", "file"]) {
    test(`an image that was ${how}: a hook's /etc/rc.local has the command run without the entrypoint`, async () => {
      const target = targets[how] ?? "";
      assert.equal(await box.must(["start", target, "a", "b"]), "entry a b\n");
      assert.equal(await box.must(["start", target]), "entry cmd\n");
      const words = ["start", "--conf", conf, target, "sh", "-c", 'pwd; id -u; echo "$KEEP,$NONE"'];
      const env = { KEEP: "kept", ENROOT_REMAP_ROOT: "y" };
      assert.equal(await box.must(words, { env }), "/srv\n0\nkept,\n");
      const volume = [
        "start",
        "--conf",
        conf,
        target,
        "sh",
        "-c",
        "touch /volume/mark && ls /volume; touch /mark || echo sealed",
      ];
      assert.equal(await box.must(volume), "mark\nsealed\n");
      // It was this start's alone; --container-writable keeps it, as in enroot.
      assert.equal(await box.must(["start", target, "a"]), "entry a\n");
      if (how === "file") return;
      await box.must(["start", "--conf", conf, target, "true"], { env: { ENROOT_ROOTFS_WRITABLE: "y" } });
      assert.equal(await box.must(["start", target, "echo", "plain"]), "plain\n");
    });
  }

  test("an epilog without HOME finds the containers of its user", async () => {
    const { uid, words } = box.user;
    const bare = words(["env", "-i", "PATH=/usr/local/bin:/usr/bin:/bin", ...enrootWords("info")]);
    const home = (await must(["sh", "-c", 'getent passwd "$1" | cut -d: -f6', "sh", String(uid)])).trim();
    const { status, stdout, stderr } = await command(bare);
    assert.equal(status, 0, stderr);
    assert.match(stdout, new RegExp(`${home}/.local/share/enroot`));
  });

  test("a squashfs file is started in place: its namespaces are joined, and read after the first process", async () => {
    const servers = `ps -u "$(id -u)" -o args | grep -c "^[^ ]*squashfuse "`;
    const joined = "nsenter --preserve-credentials --user=/proc/self/fd/7 --mount=/proc/self/fd/8";
    const script = [
      `enroot start ${box.image} sh -c "kill -STOP \\$\\$; exit 5" & pid=$!`,
      `for try in $(seq 200); do grep -q "^State:.T" /proc/$pid/status 2>/dev/null && break; sleep 0.05; done`,
      "exec 7</proc/$pid/ns/user 8</proc/$pid/ns/mnt",
      `${joined} cat /etc/hello`,
      'kill -CONT "$pid"; wait "$pid"; echo "status $?"',
      `${joined} cat /etc/hello; ${servers}`,
      "exec 7<&- 8<&-",
      `for try in $(seq 200); do [ "$(${servers})" = 0 ] && break; sleep 0.05; done; ${servers}`,
    ].join("\n");
    const { stdout, stderr } = await box.user.run(["bash", "-c", script], {
      env: { PATH: `${join(packageDirectory(), "bin")}:${box.user.env.PATH}` },
    });
    assert.equal(stdout, "hello\nstatus 5\nhello\n1\n0\n", stderr);
  });
});
