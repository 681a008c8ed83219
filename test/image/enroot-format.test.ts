/** Images as enroot makes them: what they hold, what hostile configurations become, and what is read back. */
import assert from "node:assert/strict";
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { capture } from "../../src/base/process.ts";
import { importImage, importToFile } from "../../src/commands/import-image.ts";
import { environmentOf, mountsOf, readEnvironment, readScript, scriptOf } from "../../src/image/enroot-files.ts";
import { preparedImage } from "../support/image-cases.ts";
import { failsWith, type Given, scratch, testContext } from "../support/image-support.ts";

const HOSTILE = [
  "",
  "it's",
  '"$(touch /canary)"',
  "`id`",
  "a\nb; touch /canary\n",
  "\\",
  "$HOME",
  "-n",
  "# x",
  "ü\x1b[31m",
];

const entries: Given[] = [
  { path: "./", kind: "directory", mode: 0o711 },
  { path: "etc", kind: "directory", mode: 0o555, uid: 3, gid: 4 },
  { path: "etc/rc", content: "the image's own\n" },
  { path: "etc/fstab", content: "its own as well\n" },
  { path: "etc/fstab.link", kind: "link", target: "etc/fstab" },
  { path: "dev", kind: "directory" },
  { path: "dev/null", kind: "character", major: 1, minor: 3 },
  { path: "dev/file", content: "x" },
  { path: "srv/file", content: "y", mode: 0o4070, uid: 1000, gid: 70 },
];

const config = {
  Env: ["A=b c", 'Q="x"', "BROKEN=a\nLD_PRELOAD=/x"],
  Entrypoint: ["/bin/tool", "it's"],
  Cmd: ["-x", "a b"],
  WorkingDir: "/srv/new/dir",
  Volumes: { "/data dir": {}, "/$HOME/../v": {} },
  Labels: { note: "one\ntouch /canary" },
};

test("a squashfs file for enroot: its files, root's alone, without devices; the configuration comes back", async (t) => {
  const { directory, source, context, layout, warnings } = preparedImage(t, [entries], { config });
  const output = join(directory, "it.sqsh");
  await importToFile(context, layout, source, { output, format: "squashfs", enroot: true });
  assert.match(warnings.join("\n"), /left out of it: BROKEN$/);
  const tree = join(directory, "tree");
  await capture("unsquashfs", ["-no-progress", "-d", tree, output]);
  const text = (path: string) => readFileSync(join(tree, path), "utf8");
  assert.equal(text("etc/environment"), 'A=b c\nQ="x"\n');
  assert.match(text("etc/rc"), /^# note one touch \/canary\n/);
  assert.equal(
    text("etc/fstab"),
    [
      "${ENROOT_ROOTFS}/data\\040dir /data\\040dir none x-create=dir,bind,rw,nosuid,nodev\n",
      "${ENROOT_ROOTFS}/v /v none x-create=dir,bind,rw,nosuid,nodev\n",
    ].join(""),
  );
  assert.equal(text("etc/fstab.link"), "its own as well\n", "a further name of the image's file keeps it");
  assert.ok(existsSync(join(tree, "etc/rc.local")));
  assert.deepEqual(readdirSync(join(tree, "dev")), []);
  const listed = (await capture("unsquashfs", ["-lln", output]))
    .split("\n")
    .filter((line) => line.includes("squashfs-root"));
  assert.ok(listed.length > 8);
  for (const line of listed) assert.match(line, /^\S+ 0\/0 /);
  assert.equal(lstatSync(join(tree, "etc")).mode & 0o7777, 0o755, "its owner may write to it");
  // unsquashfs gives a user's file no set-id bit.
  assert.ok(listed.some((line) => /^-r-Srwx--- .*srv\/file$/.test(line)));
  const stored = await importImage(context, layout, output, { name: "again" });
  assert.deepEqual(stored.run, config);
});

test("a symlink on the way to the working directory stays one; an OCI layout takes no such files", async (t) => {
  const list: Given[] = [...entries, { path: "link", kind: "symlink", target: "/" }];
  const { directory, source, context, layout } = preparedImage(t, [list], { config: { WorkingDir: "/link/a" } });
  const output = join(directory, "tree");
  await importToFile(context, layout, source, { output, format: "dir", enroot: true });
  assert.ok(lstatSync(join(output, "link")).isSymbolicLink());
  assert.equal(existsSync(join(output, "a")), false);
});

for (const shell of ["dash", "bash"]) {
  test(`/etc/rc under ${shell}: every word of a hostile configuration arrives as it is`, async (t) => {
    const directory = scratch(t);
    for (const name of ["it's `x`", "$(touch canary)\n"]) {
      const WorkingDir = join(directory, name);
      mkdirSync(WorkingDir);
      const run = { Entrypoint: ["printf", "[%s]", ...HOSTILE], Cmd: ["cmd"], WorkingDir, Labels: { a: "b\nexit 3" } };
      const said = (words: readonly string[]) => words.map((word) => `[${word}]`).join("");
      assert.equal(await capture(shell, ["-c", scriptOf(run), "rc"]), said([...HOSTILE, "cmd"]));
      assert.equal(await capture(shell, ["-c", scriptOf(run), "rc", ...HOSTILE]), said([...HOSTILE, ...HOSTILE]));
      const there = { Cmd: ["pwd"], WorkingDir };
      assert.equal(await capture(shell, ["-c", scriptOf(there), "rc"]), `${WorkingDir}\n`);
    }
    assert.equal(existsSync("/canary"), false);
  });
}

test("any configuration comes back from the files that were made of it", () => {
  const word = fc.string({ unit: "grapheme", maxLength: 8 }).filter((text) => !text.includes("\0"));
  const path = fc.array(
    word.filter((text) => !/^\.{0,2}$|\//.test(text)),
    { maxLength: 3 },
  );
  fc.assert(
    fc.property(fc.array(word), fc.array(word), path, word, (Entrypoint, Cmd, parts, label) => {
      const WorkingDir = `/${parts.join("/")}`;
      const back = readScript(scriptOf({ Entrypoint, Cmd, WorkingDir, Labels: { label } }));
      const command = Entrypoint.length + Cmd.length > 0 ? Cmd : ["/bin/sh"];
      assert.deepEqual(back, {
        WorkingDir,
        ...(Entrypoint.length > 0 ? { Entrypoint } : {}),
        ...(command.length > 0 ? { Cmd: command } : {}),
      });
    }),
  );
  const begin = performance.now();
  assert.equal(readScript(`cd /\n${"exec '\n".repeat(200_000)}`), undefined);
  assert.ok(performance.now() - begin < 2000, "a hostile script takes no time");
  assert.equal(mountsOf({ Volumes: { "/": {}, "a b": {} } }).split(" ")[1], "/a\\040b");
  assert.deepEqual(readEnvironment(environmentOf({ Env: ["A=1", "B=", "=x", "C"] }).text), ["A=1", "B="]);
});

test("a file that enroot itself made: its script gives the command, its environment the variables", async (t) => {
  const quote = (words: readonly string[]) =>
    capture("bash", ["-c", 'printf "%s " "${@@Q}"', "bash", ...words]).then((text) => text.trimEnd());
  const command = ["/entry point", ...HOSTILE.slice(1)];
  const script = [
    "# maintainer somebody",
    "",
    'mkdir -p "/work dir" 2> /dev/null',
    'cd "/work dir" && unset OLDPWD || exit 1',
    "",
    "if [ $# -gt 0 ]; then",
    `    exec ${await quote(command)} "$@"`,
    "else",
    `    exec ${await quote(command)} ${await quote(["a\tb"])}`,
    "fi",
    "",
  ].join("\n");
  const list: Given[] = [
    { path: "etc/rc", content: script },
    { path: "etc/environment", content: '# none\nPATH=/bin\nQ="x y"\nENROOT_X=1\nnot one\n' },
  ];
  const { directory, source, context, layout } = preparedImage(t, [list]);
  const tar = join(directory, "it.tar");
  // A tar has no configuration, so that the squashfs file of it has none either.
  await importToFile(context, layout, source, { output: tar, format: "tar" });
  const output = join(directory, "it.sqsh");
  await importToFile(context, layout, tar, { output, format: "squashfs" });
  const stored = await importImage(context, layout, output);
  assert.deepEqual(stored.run, {
    Env: ["PATH=/bin", "Q=x y"],
    WorkingDir: "/work dir",
    Entrypoint: command,
    Cmd: ["a\tb"],
  });
  const fresh = testContext(join(directory, "other"));
  const other = join(directory, "plain.sqsh");
  const plain: Given[] = [{ path: "etc/rc", content: "#!/bin/sh\ncd /\nexec /sbin/init\n" }];
  const { source: another } = preparedImage(t, [plain]);
  await importToFile(context, layout, another, { output: join(directory, "p.tar"), format: "tar" });
  await importToFile(context, layout, join(directory, "p.tar"), { output: other, format: "squashfs" });
  assert.deepEqual((await importImage(fresh.context, fresh.layout, other)).run, {});
  await assert.rejects(
    importImage(fresh.context, fresh.layout, join(directory, "none.sqsh")),
    failsWith("E_NOT_FOUND"),
  );
});
