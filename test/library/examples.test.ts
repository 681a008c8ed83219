/** The seven usage examples of virt-bootstrap's library in their TypeScript form, with registries on this machine. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { capture } from "../../src/base/process.ts";
import { bootstrap, importToFile, type ProgressStatus } from "../../src/index.ts";
import { PASSWORD, secretsIn, USER } from "../support/fake-registry.ts";
import { failsWith } from "../support/image-support.ts";
import { type PublicImages, publicImages } from "../support/public-images.ts";

const amRoot = process.getuid?.() === 0;

describe("the usage examples", () => {
  let images: PublicImages;
  const undo: (() => unknown)[] = [];
  before(async () => {
    images = await publicImages({ after: (then: () => unknown) => undo.push(then) } as never);
  });
  after(async () => {
    for (const then of undo.reverse()) await then();
  });

  let made = 0;
  const place = () => join(images.directory, `place-${++made}`);
  const shadowOf = (dest: string) => readFileSync(join(dest, "etc/shadow"), "utf8");

  const isNew = (status: string, index: number, all: readonly string[]) => status !== all[index - 1];

  /** The tree of ubuntuLayers, merged. */
  function checkTree(dest: string): void {
    assert.deepEqual(readdirSync(join(dest, "etc")).sort(), ["os-release", "shadow"]);
    assert.equal(readFileSync(join(dest, "etc/os-release"), "utf8"), "ID=ubuntu\n");
    assert.equal(statSync(join(dest, "usr/bin/tool")).mode & 0o7777, 0o4755);
    assert.equal(statSync(join(dest, "etc/shadow")).mode & 0o7777, 0o640);
  }

  test("the latest image of docker.io", async () => {
    const dest = place();
    const { digest } = await bootstrap({ uri: "docker://ubuntu", dest, env: images.env });
    checkTree(dest);
    assert.match(digest, /^sha256:[0-9a-f]{64}$/);
    assert.match(shadowOf(dest), /^root:\*:/);
  });

  test("an image of another registry, by its tag", async () => {
    const dest = place();
    await bootstrap({ uri: "docker://registry.fedoraproject.org/fedora:25", dest, env: images.env });
    checkTree(dest);
  });

  test("a password for root", async () => {
    const dest = place();
    await bootstrap({ uri: "docker://fedora", dest, rootPassword: "secret", env: images.env });
    checkTree(dest);
    const [, salt = "", hash] = /^root:(\$6\$[^$:]+)\$([^:]+):19000:/.exec(shadowOf(dest)) ?? [];
    const words = ["passwd", "-6", "-salt", salt.slice(3), "secret"];
    assert.equal((await capture("openssl", words)).trim(), `${salt}$${hash}`);
    assert.match(shadowOf(dest), /\ndaemon:\*:/);
  });

  test("a chain of disks, one for each layer", async () => {
    const dest = place();
    const statuses: string[] = [];
    const onProgress = ({ status }: ProgressStatus) => void statuses.push(status.replace(/size: .*/, "size"));
    await bootstrap({ uri: "docker://ubuntu", dest, format: "qcow2", env: images.env, onProgress });
    assert.deepEqual(readdirSync(dest).sort(), ["layer-0.qcow2", "layer-1.qcow2"]);
    const chain = await capture("qemu-img", ["info", "--backing-chain", "--output=json", join(dest, "layer-1.qcow2")]);
    const disks = JSON.parse(chain) as { "virtual-size": number; "backing-filename"?: string }[];
    assert.deepEqual(
      disks.map((disk) => disk["backing-filename"]),
      ["layer-0.qcow2", undefined],
    );
    assert.ok(disks.every((disk) => disk["virtual-size"] >= 5 * 2 ** 30));
    assert.deepEqual(statuses.filter((status) => !/^(Checking|Downloading)/.test(status)).filter(isNew), [
      "Extracting container layers into qcow2 images",
      "Creating base layer",
      "Formating disk image",
      "Extracting layer (1/2) with size",
      "Creating image (2/2)",
      "Extracting layer (2/2) with size",
      "Download and extract completed!",
    ]);
    const file = `${place()}.qcow2`;
    const disk = { fileSystem: "ext3", size: 64 * 2 ** 20, flatten: true } as const;
    const made = await importToFile("docker://ubuntu", file, {
      format: "qcow2",
      disk,
      rootPassword: "x",
      env: images.env,
    });
    assert.equal(made.output, file);
    const alone = JSON.parse(await capture("qemu-img", ["info", "--output=json", file]));
    assert.deepEqual([alone["virtual-size"], alone["backing-filename"]], [disk.size, undefined]);
  });

  test("a private registry with a login, TLS and a certificate that nobody knows", async () => {
    const dest = place();
    const uri = "docker://localhost:5000/opensuse";
    const said: unknown[] = [];
    const login = { uri, dest, username: USER, env: images.env, onWarning: (text: string) => said.push(text) };
    await assert.rejects(bootstrap({ ...login, password: PASSWORD }), failsWith("E_CERTIFICATE"));
    await assert.rejects(bootstrap({ ...login, notSecure: true, password: "wrong" }), failsWith("E_DENIED"));
    await assert.rejects(bootstrap({ ...login, notSecure: true }), failsWith("E_USAGE", /password/));
    assert.ok(!existsSync(dest));
    await bootstrap({ ...login, password: PASSWORD, notSecure: true });
    assert.equal(readFileSync(join(dest, "file"), "utf8"), "right");
    assert.deepEqual(secretsIn(said), []);
  });

  test("other users and groups for files", async () => {
    const dest = place();
    const work = bootstrap({
      uri: "docker://ubuntu",
      dest,
      uidMap: [[0, 1000, 10]],
      gidMap: [[0, 1000, 10]],
      env: images.env,
    });
    if (!amRoot) return assert.rejects(work, failsWith("E_SUBUID"));
    await work;
    checkTree(dest);
    const owners = ["", "etc/shadow", "home/user/file", "home/far"].map((name) => {
      const { uid, gid } = statSync(join(dest, name));
      return `${uid}:${gid}`;
    });
    // 1000 is in no range: it stays, though 0 became it. 42 is none of the ten groups.
    assert.deepEqual(owners, ["1000:1000", "1000:42", "1005:1009", "1000:1000"]);
  });

  test("a callback that is told how far it is", async () => {
    const dest = place();
    const seen: ProgressStatus[] = [];
    const show = (progress: ProgressStatus) => void seen.push(progress);
    await bootstrap({ uri: "docker://ubuntu", dest, noCache: true, onProgress: show, env: images.env });
    const statuses = [...new Set(seen.map(({ status }) => status.replace(/size: .*/, "size")))];
    assert.deepEqual(statuses, [
      "Checking cached layers",
      "Downloading container image",
      "Downloading layer (1/2)",
      "Downloading layer (2/2)",
      "Extracting container layers",
      "Extracting layer (1/2) with size",
      "Extracting layer (2/2) with size",
      "Download and extract completed!",
    ]);
    const values = seen.map(({ value }) => value);
    assert.deepEqual(
      values,
      values.toSorted((one, other) => one - other),
    );
    assert.deepEqual([values[0], values.at(-1)], [0, 100]);
  });
});
