/** enroot's images: import, load and digest from a registry, logins of its own file, and what squashfs is written as. */
import assert from "node:assert/strict";
import { chmodSync, existsSync, globSync, mkdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { markOfFile } from "../../src/store/known-files.ts";
import { must } from "../support/command.ts";
import { dataPath, type EnrootBox, enrootBox, enrootImage } from "../support/enroot.ts";
import { BASIC, FakeRegistry, PASSWORD, USER } from "../support/fake-registry.ts";
import { busyboxImage, ImageLayout } from "../support/images.ts";
import { type Registry, startRegistry } from "../support/registry.ts";
import { userKinds } from "../support/users.ts";

describe("enroot and a registry", () => {
  let box: EnrootBox;
  let registry: Registry;
  let image: string;
  before(async () => {
    box = await enrootBox(userKinds.includes("plain") ? "plain" : "root");
    registry = await startRegistry();
    const layout = await ImageLayout.create(join(box.scratch, "layout"));
    await busyboxImage(layout, "latest", box.scratch, { cmd: ["/bin/sh", "-c", "echo $FROM"], env: ["FROM=image"] });
    await registry.push(layout.reference("latest"), "team/app:1");
    image = `docker://${registry.address}#team/app:1`;
  });
  after(async () => {
    await registry.stop();
    await box.remove();
  });

  test("import names the file after the image, and replaces none", async () => {
    const home = { cwd: box.user.home };
    assert.equal(await box.must(["import", image], home), "");
    const file = join(box.user.home, "team+app+1.sqsh");
    const about = await must(["unsquashfs", "-s", file]);
    assert.match(about, /Compression lzo/);
    assert.match(about, /Data is uncompressed/);
    assert.match(await must(["unsquashfs", "-lls", file]), /\/etc\/rc\n/);
    await box.fails(["import", image], /File already exists: .*team\+app\+1\.sqsh/, home);
    await box.must(["import", "-a", "x86_64", "--output", "b.sqsh", image.replace("#", "/")], {
      ...home,
      env: { ENROOT_SQUASH_OPTIONS: "-comp zstd -Xcompression-level 1" },
    });
    assert.match(await must(["unsquashfs", "-s", join(box.user.home, "b.sqsh")]), /Compression zstd/);
    await box.must(["create", "b.sqsh"], home);
    assert.equal(await box.must(["start", "b"]), "image\n");
    assert.equal(await box.must(["start", "./b.sqsh"], home), "image\n");
    await box.fails(["import", "-a", "vax", "-o", "c.sqsh", image], /architecture/, home);
    await box.fails(["import", "ftp://x"], /Invalid argument: ftp:\/\/x/);
    const env = { ENROOT_SQUASH_OPTIONS: "-root-becomes x" };
    await box.fails(["import", "-o", "c.sqsh", image], /"-root-becomes".*\n {2}from: ENROOT_SQUASH_OPTIONS/, {
      ...home,
      env,
    });
    assert.ok(!existsSync(join(box.user.home, "c.sqsh")));
  });

  test("load makes a container at once; digest says which image it is", async () => {
    assert.equal(await box.must(["load", image]), "");
    assert.equal(await box.must(["start", "team+app+1"]), "image\n");
    await box.fails(["load", image], /File already exists/);
    await box.must(["load", "-f", "-n", "team+app+1", image]);
    const digest = (await box.must(["digest", image])).trim();
    assert.match(digest, /^sha256:[0-9a-f]{64}$/);
    await box.must(["load", "-n", "pinned", `docker://${registry.address}#team/app@${digest}`]);
    assert.match(await box.must(["list"]), /pinned\nteam\+app\+1\n/);
  });
});

test("a file that was read once is not read again for another container, unless it has changed", async (t) => {
  const box = await enrootBox(userKinds.includes("plain") ? "plain" : "root");
  t.after(() => box.remove());
  const images = join(dataPath(box.user), ".rootling/images");
  const notes = () => globSync("*/files/*", { cwd: images });
  assert.deepEqual(notes(), [], "what was just written may change without a trace");
  const other = await enrootImage(box.scratch, "other", "other");
  await until(() => markOfFile(other) !== undefined && markOfFile(box.image) !== undefined);
  await box.must(["create", "-n", "one", box.image]);
  const [note = ""] = notes();
  assert.equal(note.split("/")[2], markOfFile(box.image));
  // Were it read, it would say what it holds.
  await box.user.run(["touch", join(images, note, "..", markOfFile(other) ?? "")]);
  await box.must(["create", "-n", "two", other]);
  assert.equal(await box.must(["start", "two", "cat", "/etc/hello"]), "hello\n");
  utimesSync(other, 1, 1);
  await box.must(["create", "-f", "-n", "two", other]);
  assert.equal(await box.must(["start", "two", "cat", "/etc/hello"]), "other\n");
});

async function until(good: () => boolean): Promise<void> {
  for (let tries = 0; !good() && tries < 60; tries++) await sleep(100);
}

test("logins of .credentials: literal, and never given to a shell", async (t) => {
  const box = await enrootBox(userKinds.includes("plain") ? "plain" : "root");
  t.after(() => box.remove());
  const fake = await new FakeRegistry({ auth: "basic" }).start(t);
  const directory = join(box.user.home, ".config/enroot");
  const file = join(directory, ".credentials");
  mkdirSync(directory, { recursive: true });
  chmodSync(join(box.user.home, ".config"), 0o755);
  const login = (text: string) => {
    rmSync(file, { force: true });
    writeFileSync(file, text);
    chmodSync(file, 0o644);
  };
  const uri = `docker://${fake.host}#team/app:1`;
  await box.fails(["digest", uri], /E_DENIED/);
  login(`machine elsewhere login a password b\nmachine ${fake.host} login ${USER} password ${PASSWORD}\n`);
  assert.match(await box.must(["digest", uri]), /^sha256:/);
  assert.ok(fake.seen.some(({ headers }) => headers.authorization === `Basic ${BASIC}`));
  login(`machine ${fake.host} login ${USER} password "$(touch evil)"\n`);
  await box.fails(["digest", uri], /need a shell.*\n {2}from: .*\.credentials\n {2}mend: .*credHelpers/);
  assert.ok(!existsSync(join(box.user.home, "evil")));
});
