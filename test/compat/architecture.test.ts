/** Images of other architectures: chosen by any word for them, imported, and refused by name where they cannot run. */
import assert from "node:assert/strict";
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { digestHex, digestOf } from "../../src/image/digest.ts";
import { hostPlatform, platformOfArchitecture } from "../../src/image/sources/reference.ts";
import type { Digest } from "../../src/image/types.ts";
import { emptyBox } from "../support/boxes.ts";
import { must } from "../support/command.ts";
import { failsWith, tarOf, writeLayout } from "../support/image-support.ts";
import { ordinaryKinds } from "../support/users.ts";

/** Puts the image of a second layout, as one of another architecture, into the index of the first. */
function addForeign(layout: string, other: string, architecture: string): Digest {
  const read = (path: string) => JSON.parse(readFileSync(path, "utf8"));
  const blob = (directory: string, digest: Digest) => join(directory, "blobs/sha256", digestHex(digest));
  const put = (document: object) => {
    const bytes = Buffer.from(JSON.stringify(document));
    writeFileSync(blob(layout, digestOf(bytes)), bytes);
    return { digest: digestOf(bytes), size: bytes.length };
  };
  const [entry] = read(join(other, "index.json")).manifests;
  const manifest = read(blob(other, entry.digest));
  for (const { digest } of manifest.layers) writeFileSync(blob(layout, digest), readFileSync(blob(other, digest)));
  Object.assign(manifest.config, put({ ...read(blob(other, manifest.config.digest)), architecture }));
  const index = read(join(layout, "index.json"));
  const [own] = index.manifests;
  const { mediaType, annotations } = own;
  const { os, architecture: here } = hostPlatform();
  const foreign = put(manifest);
  const all = put({
    schemaVersion: 2,
    manifests: [
      { mediaType, digest: own.digest, size: own.size, platform: { os, architecture: here } },
      { mediaType, ...foreign, platform: { os, architecture } },
    ],
  });
  const entryOfAll = { mediaType: "application/vnd.oci.image.index.v1+json", ...all, annotations };
  writeFileSync(join(layout, "index.json"), JSON.stringify({ schemaVersion: 2, manifests: [entryOfAll] }));
  return foreign.digest;
}

/** The head of a program for 64-bit SPARC, which nobody has: elf(5), e_machine EM_SPARCV9. */
function foreignProgram(): Buffer {
  const head = Buffer.alloc(64);
  head.write("\x7fELF\x02\x02\x01", "latin1");
  head.writeUInt16BE(2, 16);
  head.writeUInt16BE(43, 18);
  return head;
}

test("a foreign image is imported and created by --arch, and its start says why it fails", async (t) => {
  const box = await emptyBox(ordinaryKinds[0] ?? "plain");
  t.after(() => box.remove());
  const layout = join(box.scratch, "layout");
  const config = { Cmd: ["/tool"] };
  const list = [{ path: "tool", content: foreignProgram(), mode: 0o755 }];
  const own = writeLayout(layout, [tarOf([{ path: "own" }])], { config });
  writeLayout(join(box.scratch, "other"), [tarOf(list)], { config });
  const foreign = addForeign(layout, join(box.scratch, "other"), "s390x");
  await must(["chmod", "-R", "a+rX", layout]);
  const source = `oci:${layout}`;
  assert.equal(await box.must(["digest", source]), `${own}\n`);
  assert.equal(await box.must(["digest", source, "--arch", "s390x"]), `${foreign}\n`);
  assert.equal(await box.must(["digest", source, "--platform", "linux/s390x"]), `${foreign}\n`);
  assert.match((await box.run(["digest", source, "--arch", "riscv64"])).stderr, /E_PLATFORM/);
  for (const words of [
    ["--arch", "vax"],
    ["--arch", "s390x", "--platform", "linux/s390x"],
  ]) {
    assert.equal((await box.run(["digest", source, ...words])).status, 2, words.join(" "));
  }
  await box.must(["create", source, "--arch", "s390x", "--name", "foreign"]);
  const { status, stderr } = await box.run(["start", "foreign"]);
  assert.equal(status, 126, stderr);
  assert.match(stderr, /\/tool: not a program of this machine's architecture.*\n.*\n.*qemu-user/);
  mkdirSync(join(box.scratch, "out"));
  chmodSync(join(box.scratch, "out"), 0o777);
  await box.must(["import", source, "--arch", "s390x", "-o", join(box.scratch, "out/it.sqsh"), "--enroot"]);
});

test("architectures by the words of uname, Debian and Go", () => {
  const amd64 = { os: "linux", architecture: "amd64" };
  for (const word of ["x86_64", "amd64"]) assert.deepEqual(platformOfArchitecture(word, "--arch"), amd64);
  for (const word of ["aarch64", "arm64"]) assert.equal(platformOfArchitecture(word, "").architecture, "arm64");
  for (const word of ["ppc64le", "ppc64el"]) assert.equal(platformOfArchitecture(word, "").architecture, "ppc64le");
  assert.deepEqual(platformOfArchitecture("armv7l", ""), { os: "linux", architecture: "arm", variant: "v7" });
  for (const word of ["", "constructor", "AMD64", "linux/amd64"]) {
    assert.throws(() => platformOfArchitecture(word, "--arch"), failsWith("E_USAGE"), word);
  }
});
