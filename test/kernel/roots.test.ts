/** Roots without a stored image: squashfs files as they are, directories; and where ephemeral changes lie. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type Box, busyboxBox } from "../support/boxes.ts";
import { rootlingWords } from "../support/cli.ts";
import { background, must } from "../support/command.ts";
import { everyKind, userKinds } from "../support/users.ts";

/** Loop devices over files below `path`. */
const loopsOver = (path: string): string[] =>
  readdirSync("/sys/block").filter((name) => {
    const backing = join("/sys/block", name, "loop/backing_file");
    return existsSync(backing) && readFileSync(backing, "utf8").startsWith(path);
  });

/** Processes with the file among their words. */
const serversOf = (path: string): string[] =>
  readdirSync("/proc").filter((pid) => {
    try {
      const words = readFileSync(join("/proc", pid, "cmdline"), "utf8").split("\0");
      return words[0]?.endsWith("squashfuse") && words.includes(path);
    } catch {
      return false;
    }
  });

const isGone = async (what: () => string[]): Promise<boolean> => {
  for (let tries = 0; tries < 100; tries++) {
    if (what().length === 0) return true;
    await sleep(50);
  }
  return false;
};

for (const kind of userKinds) {
  describe(`roots as ${kind}`, () => {
    let box: Box;
    let file: string;
    const store = () => box.user.env.ROOTLING_DATA_PATH ?? "";
    before(async () => {
      box = await busyboxBox(kind);
      file = join(box.user.home, "app.sqsh");
      assert.equal(statSync("/dev/fuse").mode & 0o666, 0o666, "scripts/test.sh opens it");
      await box.must(["import", `oci:${join(box.scratch, "layout")}:latest`, "-o", file]);
    });
    after(() => box.remove());

    test("a squashfs file runs as it is, with its configuration, and is writable for as long as it runs", async () => {
      const env = { ROOTLING_DATA_PATH: join(box.user.home, "empty") };
      const script = "echo $FROM; echo new >/home/demo/f; rm /bin/ls; cat /home/demo/f; stat -c %a /";
      assert.equal(await box.must(["run", "./app.sqsh", "sh", "-c", script], { env }), "image\nnew\n755\n");
      assert.ok(!existsSync(join(env.ROOTLING_DATA_PATH, "images")), "nothing is unpacked");
      const readOnly = await box.run(["start", "./app.sqsh", "sh", "-c", "echo x >/x"], { env });
      assert.match(readOnly.stderr, /Read-only file system/);
      const kept = await box.run(["start", "--rw", "./app.sqsh", "true"], { env });
      assert.match(kept.stderr, /E_CONFLICT/);
    });

    test("the kernel parses the file for real root only", async () => {
      const plan = JSON.parse(await box.must(["plan", "--json", "run", "./app.sqsh"])) as { ops: { verb: string }[] };
      const verbs = plan.ops.map(({ verb }) => verb);
      assert.equal(verbs.includes("lend-squashfs"), kind === "root");
      assert.equal(verbs.includes("serve"), kind !== "root");
    });

    test("neither loop device nor daemon is left, also after kill -9", async () => {
      for (const signal of ["SIGTERM", "SIGKILL"] as const) {
        const words = box.user.words(rootlingWords("run", "./app.sqsh", "sleep", "1000"));
        const running = background(words, { env: box.user.env, cwd: box.user.home });
        const there = () => [...loopsOver(file), ...serversOf(file)];
        for (let tries = 0; there().length === 0 && tries < 200; tries++) await sleep(50);
        assert.equal(there().length, 1);
        await running.end(signal);
        assert.ok(await isGone(there), signal);
      }
    });

    test("a damaged file is refused in words", async () => {
      const bad = join(box.user.home, "bad.sqsh");
      await box.user.run(["sh", "-c", `head -c 96 app.sqsh >bad.sqsh; head -c 5000 /dev/zero >>bad.sqsh`]);
      const outcome = await box.run(["run", bad, "true"]);
      assert.equal(outcome.status, 125);
      assert.match(outcome.stderr, /E_(MOUNT|OVERLAY)/);
      assert.ok(await isGone(() => [...loopsOver(bad), ...serversOf(bad)]));
    });

    test("a directory is a root: untouched by run and start, changed itself by start --rw", async () => {
      const root = join(box.user.home, "rootfs");
      await box.must(["import", `oci:${join(box.scratch, "layout")}:latest`, "-o", root, "--format", "dir"]);
      await box.must(["run", "dir:rootfs", "sh", "-c", "echo x >/new; rm /etc/passwd"]);
      assert.match((await box.run(["start", "dir:rootfs", "sh", "-c", "echo x >/new"])).stderr, /Read-only/);
      assert.ok(!existsSync(join(root, "new")) && existsSync(join(root, "etc/passwd")));
      await box.must(["start", "--rw", "dir:rootfs", "sh", "-c", "echo x >/new; rm /etc/passwd"]);
      assert.equal(readFileSync(join(root, "new"), "utf8"), "x\n");
      assert.ok(!existsSync(join(root, "etc/passwd")));
    });

    test("one writable start of a directory at a time", async () => {
      const words = ["start", "--rw", "dir:rootfs", "sh", "-c", ": >/ready; sleep 1000"];
      const writer = background(box.user.words(rootlingWords(...words)), { env: box.user.env, cwd: box.user.home });
      while (writer.alive() && !existsSync(join(box.user.home, "rootfs/ready"))) await sleep(20);
      const second = await box.run(["start", "--rw", "dir:./rootfs/../rootfs", "true"]);
      await writer.end("SIGKILL");
      assert.match(second.stderr, /E_BUSY/);
      await box.must(["start", "--rw", "dir:rootfs", "true"]);
    });

    test("the store is no root, and not seen in one", async () => {
      const hex = readdirSync(join(store(), "images"))[0] ?? "";
      const tree = join(store(), "images", hex, "tree");
      for (const words of [["run"], ["start", "--rw"]]) {
        assert.match((await box.run([...words, `dir:${tree}`, "true"])).stderr, /E_CONFLICT/);
      }
      const link = join(box.user.home, "link");
      await box.user.run(["ln", "-s", tree, link]);
      assert.match((await box.run(["start", "--rw", `dir:${link}`, "true"])).stderr, /E_CONFLICT/);
      await box.user.run(["sh", "-c", "mkdir -p bin && cp /bin/busybox bin/sh"]);
      const seen = await box.run(["run", `dir:${box.user.home}`, "/bin/sh", "-c", "echo .local/share/rootling/*"]);
      assert.equal(seen.stdout, ".local/share/rootling/*\n", seen.stderr);
      assert.match((await box.run(["run", "dir:nowhere", "true"])).stderr, /E_NOT_FOUND/);
    });

    test("--upper-size limits changes in memory, and is refused where they are not there", async () => {
      const script = "dd if=/dev/zero of=/big bs=1048576 count=8 2>&1; echo done";
      const limited = await box.run(["run", "--upper-size", "4m", "busybox", "sh", "-c", script]);
      const oldest = process.env.ROOTLING_TEST_BED === "uml";
      if (oldest) assert.match(limited.stderr, /E_CONFLICT/);
      else assert.match(limited.stdout, /No space left on device/, limited.stderr);
      for (const words of [
        ["start", "--rw", "--upper-size", "4m", "box"],
        ["run", "--upper", "disk", "--upper-size", "4m", "busybox"],
      ]) {
        assert.match((await box.run([...words, "true"])).stderr, /E_CONFLICT/);
      }
      assert.equal(await box.must(["run", "--upper", "disk", "busybox", "sh", "-c", "echo x >/f; cat /f"]), "x\n");
      assert.deepEqual(readdirSync(join(store(), "ephemeral")), []);
    });
  });
}

if (process.getuid?.() === 0 && everyKind.includes("subids")) {
  test("squashfs files show the owners of the image to maps of many ids", async (t) => {
    for (const kind of ["root", "subids"] as const) {
      const box = await busyboxBox(kind);
      t.after(box.remove);
      const file = join(box.scratch, "owned.sqsh");
      await must([
        "sh",
        "-c",
        `mkdir ${box.scratch}/t && cp /bin/busybox ${box.scratch}/t/sh && chown 12:34 ${box.scratch}/t/sh`,
      ]);
      await must(["mksquashfs", join(box.scratch, "t"), file, "-quiet", "-no-progress"]);
      const script = "stat -c %u:%g /sh; chmod 700 /sh; stat -c %a:%u /sh";
      assert.equal(await box.must(["run", "--map", "subids", file, "/sh", "-c", script]), "12:34\n700:12\n");
    }
  });
}
