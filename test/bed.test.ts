/** The test bed itself: what the other tests stand on does what they think it does. */
import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, suite, test } from "node:test";
import { startTime } from "../src/base/owner.ts";
import { command, must } from "./support/command.ts";
import { busyboxImage, deviceLayer, ImageLayout, layeredImage, trickyLayers } from "./support/images.ts";
import { type Registry, startRegistry } from "./support/registry.ts";
import { makeTemp, tempDirectory } from "./support/temp.ts";
import { compareTrees, listTree } from "./support/tree.ts";
import { everyKind, testUser } from "./support/users.ts";

const amRoot = process.getuid?.() === 0;

for (const kind of everyKind) {
  test(`a user of the kind ${kind} has a clean environment, a home and the ids of its kind`, async (t) => {
    const user = await testUser(t, kind);
    const outcome = await user.run(["sh", "-c", "id -u; pwd; env; grep CapEff /proc/self/status"]);
    const lines = outcome.stdout.split("\n");
    assert.equal(lines[0], String(user.uid));
    assert.equal(lines[1], user.home);
    assert.ok(lines.includes(`HOME=${user.home}`));
    assert.ok(!outcome.stdout.includes("npm_"), "nothing of the test runner's environment comes through");
    if (kind === "root") return;
    assert.ok(lines.includes("CapEff:\t0000000000000000"), "no capabilities");
    if (!amRoot) return;
    const has = readFileSync("/etc/subuid", "utf8").includes(`${user.name}:`);
    assert.equal(has, kind === "subids");
    await must(user.words(["test", "-w", user.home]));
  });
}

test("users that tests made are gone after them", { skip: !amRoot && "accounts are made by root" }, async (t) => {
  let name = "";
  await t.test("inner", async (inner) => {
    name = (await testUser(inner, "subids")).name;
  });
  for (const file of ["/etc/passwd", "/etc/group", "/etc/subuid", "/etc/subgid"]) {
    assert.ok(!readFileSync(file, "utf8").includes(`${name}:`), file);
  }
});

test("trees are compared by everything that they hold", async (t) => {
  const directory = tempDirectory(t);
  const make = async (name: string) => {
    const root = join(directory, name);
    mkdirSync(join(root, "sub"), { recursive: true });
    writeFileSync(join(root, "sub/file"), "content");
    symlinkSync("sub/file", join(root, "link"));
    writeFileSync(Buffer.from(`${root}/\xff`, "latin1"), "odd");
    await must(["ln", join(root, "sub/file"), join(root, "hard")]);
    await must(["find", root, "-exec", "touch", "--no-dereference", "--date=@1700000000", "{}", "+"]);
    return root;
  };
  const [one, other] = [await make("one"), await make("other")];
  assert.deepEqual(compareTrees(await listTree(one), await listTree(other)), []);
  const xattr = await must(["setfattr", "--name=user.x", "--value=0x00ff", join(other, "sub/file")]).then(
    () => true,
    () => false,
  );
  await must(["chmod", "4755", join(other, "sub/file")]);
  await must(["rm", join(other, "link")]);
  await must(["touch", "--date=@5", join(other, "sub")]);
  const differences = compareTrees(await listTree(other), await listTree(one));
  assert.deepEqual(
    differences.filter((line) => !line.includes("xattrs") && !line.startsWith('".": mtime')),
    [
      '"hard": mode is 2541, expected 420',
      '"link": missing symlink',
      '"sub": mtime is 5, expected 1700000000',
      '"sub/file": mode is 2541, expected 420',
    ],
  );
  if (xattr) assert.ok(differences.includes('"sub/file": xattrs is {"user.x":"\\u0000ÿ"}, expected none'));
});

test("what a killed test left is cleared by the next one, and what a live one has is not", async (t) => {
  const base = tempDirectory(t);
  const env = { ...process.env, ROOTLING_TEST_TEMP: base };
  const module = JSON.stringify(join(import.meta.dirname, "support/temp.ts"));
  const make = (then: string) => [
    ...[process.execPath, "--input-type=module-typescript", "-e"],
    `import { makeTemp } from ${module}; const { path, remove } = makeTemp("rootling-home-"); ${then}`,
  ];
  await command(make('process.kill(process.pid, "SIGKILL")'), { env });
  const [left = ""] = readdirSync(base);
  assert.match(left, /^rootling-home-/);
  mkdirSync(join(base, left, "closed"), { mode: 0 });
  const ours = `rootling-home-${process.pid}.${startTime(process.pid)}.abc`;
  for (const name of [ours, "rootling-home-abc", "other"]) mkdirSync(join(base, name));
  await must(make("await remove()"), { env });
  assert.deepEqual(readdirSync(base).sort(), ["other", ours, "rootling-home-abc"].sort());
});

suite("images and registry", () => {
  const temp = makeTemp();
  let registry: Registry;
  let layout: ImageLayout;

  before(async () => {
    registry = await startRegistry();
    layout = await ImageLayout.create(join(temp.path, "layout"));
  });
  after(async () => {
    await registry.stop();
    await temp.remove();
  });

  for (const kind of ["v2s2", "oci"] as const) {
    test(`a busybox image is pushed with a manifest of the kind ${kind}`, async () => {
      await busyboxImage(layout, `busybox-${kind}`, temp.path, { env: ["PATH=/bin", "A=b c"], labels: { x: "y" } });
      await registry.push(layout.reference(`busybox-${kind}`), `busybox:${kind}`, kind);
      const answer = await fetch(`http://${registry.address}/v2/busybox/manifests/${kind}`, {
        headers: {
          accept: "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json",
        },
      });
      const expected = kind === "oci" ? "vnd.oci.image.manifest.v1" : "vnd.docker.distribution.manifest.v2";
      assert.match(answer.headers.get("content-type") ?? "", new RegExp(expected));
      const manifest = (await answer.json()) as { config: { digest: string } };
      const config = JSON.parse(readFileSync(registry.blobFile(manifest.config.digest), "utf8"));
      assert.deepEqual(config.config.Env, ["PATH=/bin", "A=b c"]);
    });
  }

  test("a layered image holds what goes wrong", async () => {
    const layers = amRoot ? [...trickyLayers, deviceLayer] : trickyLayers;
    await layeredImage(layout, "tricky", temp.path, layers);
    const root = await layout.unpack("tricky", join(temp.path, "bundle"), !amRoot);
    const tree = new Map((await listTree(root)).map((entry) => [entry.name, entry]));
    assert.equal(tree.has("etc/gone"), false);
    assert.equal(tree.get("etc/was-file")?.type, "directory");
    assert.equal(tree.get("etc/was-directory")?.type, "file");
    assert.equal(tree.has("opaque/hidden"), false);
    assert.ok(tree.has("opaque/seen") && tree.has("opaque/later"));
    assert.ok(tree.has("names/\xff\xfe not UTF-8"));
    assert.equal(tree.get("links/c")?.link, "links/b");
    assert.equal(tree.get("links/a")?.link, undefined);
    assert.equal(tree.get("links/from-above")?.link, tree.get("links/target")?.link);
    assert.equal(tree.get("old")?.mtime, -86_400);
    if (!amRoot) return;
    assert.equal(tree.get("bin/setuid")?.mode, 0o4755);
    assert.equal(tree.get("late")?.uid, 7);
    assert.equal(tree.get("big-id")?.gid, 3_000_000);
    assert.equal(tree.get("bin/capable")?.xattrs?.["security.capability"]?.length, 20);
    assert.deepEqual(tree.get("dev/null")?.rdev, [1, 3]);
  });
});
