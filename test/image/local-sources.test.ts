/** Sources of this machine: what each promises, beyond the contract that all sources keep. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { capture } from "../../src/base/process.ts";
import { silentProgress } from "../../src/base/progress.ts";
import { importImage, importToFile } from "../../src/commands/import-image.ts";
import { digestOf } from "../../src/image/digest.ts";
import { parseSource } from "../../src/image/sources/reference.ts";
import { generateStack } from "../support/image-stacks.ts";
import {
  bytes,
  describeTree,
  failsWith,
  type Given,
  readTar,
  scratch,
  tarOf,
  testContext,
  writeLayout,
} from "../support/image-support.ts";

const config = { Env: ["A=b"], Cmd: ["tool"], Labels: { note: "$(touch /canary)\n" } };
const lower: Given[] = [
  { path: "./", kind: "directory", mode: 0o711 },
  { path: "etc", kind: "directory", mode: 0o750, uid: 3, gid: 4 },
  { path: "etc/file", content: "x".repeat(5000), mode: 0o4755, uid: 1000, gid: 70 },
  { path: "gone" },
];
const upper: Given[] = [
  { path: ".wh.gone" },
  { path: "etc/link", kind: "link", target: "etc/file" },
  { path: "null", kind: "character", major: 1, minor: 3 },
  { path: "pipe", kind: "fifo", mode: 0o600 },
  { path: 'name \\ "x', content: "y", xattrs: new Map([[bytes("user.note"), Buffer.from("\xff\0=\n", "latin1")]]) },
  { path: "symlink", kind: "symlink", mode: 0o777, target: "a b\\c" },
];

/** An image in a layout, and its tree. */
async function prepared(t: TestContext) {
  const directory = scratch(t);
  const { context, layout, warnings } = testContext(directory, { ROOTLING_TEMP_PATH: directory });
  writeLayout(join(directory, "layout"), [tarOf(lower), tarOf(upper)], { config });
  const tree = join(directory, "tree");
  await importToFile(context, layout, `oci:${directory}/layout`, { output: tree, format: "dir" });
  const to = async (source: string, name: string) => {
    await importToFile(context, layout, source, { output: join(directory, name), format: "dir" });
    return describeTree(join(directory, name));
  };
  return { directory, context, layout, warnings, tree, expected: await describeTree(tree), to };
}

/** Runs the import of a test in a process of its own, with this standard input. */
function importFrom(directory: string, stdin: "pipe" | number, source: string, output: string, format: string) {
  const script = join(import.meta.dirname, "../support/image-import.ts");
  const child = spawn(process.execPath, [script, source, output, format], {
    env: { ...process.env, IMAGE_TEST_DIRECTORY: directory, ROOTLING_TEMP_PATH: directory },
    stdio: [stdin, "ignore", "pipe"],
  });
  let said = "";
  child.stderr?.on("data", (chunk) => (said += chunk));
  const ended = new Promise<{ status: number | null; said: string }>((resolve) =>
    child.on("close", (status) => resolve({ status, said })),
  );
  return { child, ended };
}

test("every local source gives the tree, the configuration where it has one, and leaves no temporary file", async (t) => {
  const { directory, context, layout, expected, tree } = await prepared(t);
  const flat = join(directory, "flat.tar");
  await importToFile(context, layout, `oci:${directory}/layout`, { output: flat, format: "tar" });
  await importToFile(context, layout, `oci:${directory}/layout`, {
    output: join(directory, "it.sqsh"),
    format: "squashfs",
  });
  for (const program of ["gzip", "bzip2", "xz"]) await capture(program, ["-k", flat]);
  await capture("skopeo", [
    "copy",
    "-q",
    `oci:${directory}/layout`,
    `docker-archive:${directory}/docker.tar:team/app:1`,
  ]);
  await capture("skopeo", ["copy", "-q", `oci:${directory}/layout`, `oci-archive:${directory}/oci.tar:v1`]);
  for (const name of ["docker", "oci"]) await capture("gzip", ["-k", join(directory, `${name}.tar`)]);
  dockerOfToday(directory);
  const configured = {
    "an OCI archive": `oci-archive:${directory}/oci.tar:v1`,
    "an OCI archive, compressed": `oci-archive:${directory}/oci.tar.gz`,
    "an archive of docker save": `docker-archive:${directory}/docker.tar:team/app:1`,
    "an archive of docker save, compressed": `docker-archive:${directory}/docker.tar.gz`,
    "an archive of docker save, as of Docker 25": `docker-archive:${directory}/docker25.tar:team/app`,
    "a squashfs file": `${directory}/it.sqsh`,
  };
  const plain = {
    "a tarball": flat,
    "a tarball, gzip": `${flat}.gz`,
    "a tarball, bzip2": `${flat}.bz2`,
    "a tarball, xz": `file://${flat}.xz`,
    "a directory": `dir:${tree}`,
  };
  const before = readdirSync(directory);
  for (const [what, source] of Object.entries({ ...configured, ...plain })) {
    const image = await importImage(context, layout, source, { name: "it" });
    assert.deepEqual(await describeTree(image.tree), expected, what);
    assert.deepEqual(image.run, what in configured ? config : {}, what);
    const again = await importImage(context, layout, source, { name: "again" });
    assert.equal(again.digest, image.digest, what);
  }
  assert.deepEqual(
    readdirSync(directory).filter((name) => !before.includes(name) && name !== "data"),
    [],
  );
  assert.equal(existsSync("/canary"), false);
});

/** Docker 25 and newer: an OCI layout with a manifest.json beside it, whose paths lead into blobs/. */
function dockerOfToday(directory: string): void {
  const blobs = join(directory, "layout/blobs/sha256");
  const index = JSON.parse(readFileSync(join(directory, "layout/index.json"), "utf8"));
  const path = (digest: string) => `blobs/sha256/${digest.slice("sha256:".length)}`;
  const manifest = JSON.parse(readFileSync(join(blobs, index.manifests[0].digest.slice(7)), "utf8"));
  const saved = [
    {
      Config: path(manifest.config.digest),
      RepoTags: ["team/app:latest"],
      Layers: manifest.layers.map(({ digest }: { digest: string }) => path(digest)),
    },
  ];
  const files = readdirSync(blobs).map(
    (name): Given => ({ path: `blobs/sha256/${name}`, content: readFileSync(join(blobs, name)) }),
  );
  const documents = ["index.json", "oci-layout"].map(
    (name): Given => ({ path: name, content: readFileSync(join(directory, "layout", name)) }),
  );
  const list: Given[] = [...files, ...documents, { path: "manifest.json", content: JSON.stringify(saved) }];
  writeFileSync(join(directory, "docker25.tar"), tarOf(list));
}

test("archives: flipped bytes, missing files, several images, links between layers", async (t) => {
  const { directory, context, layout } = await prepared(t);
  dockerOfToday(directory);
  const tar = (name: string, list: Given[]) => {
    writeFileSync(join(directory, name), tarOf(list));
    return join(directory, name);
  };
  // In a store of its own each: an image that is stored is not read again.
  let stores = 0;
  const refuses = (source: string, code: Parameters<typeof failsWith>[0], text?: RegExp) => {
    const fresh = testContext(join(directory, `store-${stores++}`));
    return assert.rejects(
      importImage(fresh.context, fresh.layout, source, { name: "x" }),
      failsWith(code, text),
      source,
    );
  };

  const layer = tarOf([{ path: "a", content: "1" }]);
  const made = Buffer.from(
    JSON.stringify({
      os: "linux",
      architecture: process.arch === "arm64" ? "arm64" : "amd64",
      rootfs: { type: "layers", diff_ids: [digestOf(layer), digestOf(layer)] },
    }),
  );
  const named = `${digestOf(made).slice(7)}.json`;
  const save = (images: object[], extra: Given[] = []): Given[] => [
    { path: named, content: made },
    { path: "one/layer.tar", content: layer },
    { path: "two/layer.tar", kind: "symlink", target: "../one/layer.tar" },
    ...extra,
    { path: "manifest.json", content: JSON.stringify(images) },
  ];
  const image = (tags: string[] | null, layers = ["one/layer.tar", "two/layer.tar"]) => ({
    Config: named,
    RepoTags: tags,
    Layers: layers,
  });
  const linked = await importImage(
    context,
    layout,
    `docker-archive:${tar("linked.tar", save([image(["a:1", "b:1"])]))}:b:1`,
    { name: "x" },
  );
  assert.equal(readFileSync(join(linked.tree, "a"), "utf8"), "1");

  const two = tar("two.tar", save([image(["a:1"]), image(["docker.io/library/b:latest"])]));
  await refuses(`docker-archive:${two}`, "E_NOT_FOUND", /a:1/);
  await refuses(`docker-archive:${two}:c`, "E_NOT_FOUND", /a:1/);
  await importImage(context, layout, `docker-archive:${two}:b`, { name: "x" });
  await refuses(
    `docker-archive:${tar("missing.tar", save([image(null, ["one/layer.tar", "three/layer.tar"])]))}`,
    "E_NOT_FOUND",
  );
  await refuses(
    `docker-archive:${tar("loop.tar", [...save([image(null, ["l/layer.tar", "one/layer.tar"])]), { path: "l/layer.tar", kind: "symlink", target: "layer.tar" }])}`,
    "E_NOT_FOUND",
  );
  await refuses(`docker-archive:${tar("fewer.tar", save([image(null, ["one/layer.tar"])]))}`, "E_MANIFEST");
  const wrong = tarOf([{ path: "a", content: "2" }]);
  await refuses(
    `docker-archive:${tar("wrong.tar", save([image(null)], [{ path: "one/layer.tar", content: wrong }]))}`,
    "E_DIGEST",
  );
  await refuses(
    `docker-archive:${tar("config.tar", save([image(null)], [{ path: named, content: made.toString().replace("linux", "Linux") }]))}`,
    "E_DIGEST",
  );
  await refuses(
    `docker-archive:${tar("text.tar", [{ path: "manifest.json", content: '[],"images":[]' }])}`,
    "E_MANIFEST",
  );
  await refuses(
    `docker-archive:${tar("keys.tar", [{ path: "manifest.json", content: '[],"other":[]' }])}`,
    "E_MANIFEST",
  );
  await refuses(`docker-archive:${tar("none.tar", [{ path: "a" }])}`, "E_MANIFEST", /oci-archive/);
  await refuses(`oci-archive:${tar("none.tar", [{ path: "a" }])}`, "E_NOT_FOUND");
  await refuses(`oci-archive:${tar("escape.tar", [{ path: "../index.json" }])}`, "E_LAYER");

  // Each byte of the archive of an image counts: every hundredth, flipped.
  const whole = readFileSync(join(directory, "docker25.tar"));
  const entries = readTar(whole).filter(({ path }) => path.startsWith("blobs/"));
  assert.equal(entries.length, 4);
  for (const { content } of entries.filter(
    ({ content }) =>
      !content.includes('"manifests"') && !content.includes('"mediaType":"application/vnd.oci.image.manifest'),
  )) {
    const flipped = Buffer.from(whole);
    const at = flipped.indexOf(content, 0, "latin1") + (content.length >> 1);
    flipped.writeUInt8(flipped.readUInt8(at) ^ 1, at);
    writeFileSync(join(directory, "flipped.tar"), flipped);
    const fresh = testContext(join(directory, "fresh"));
    await assert.rejects(
      importImage(fresh.context, fresh.layout, `docker-archive:${directory}/flipped.tar`, { name: "x" }),
      failsWith("E_DIGEST"),
    );
  }
});

test("standard input: as a file, as a pipe, into a file without spooling, into the store with it", async (t) => {
  const { directory, context, layout, expected } = await prepared(t);
  const flat = join(directory, "flat.tar");
  await importToFile(context, layout, `oci:${directory}/layout`, { output: flat, format: "tar" });
  const redirected = importFrom(directory, openSync(flat, "r"), "-", join(directory, "a"), "dir");
  assert.deepEqual(await redirected.ended, { status: 0, said: "" });
  assert.deepEqual(await describeTree(join(directory, "a")), expected);

  // Nothing of it may be on disk while it waits.
  const piped = importFrom(directory, "pipe", "-", join(directory, "b"), "dir");
  const archive = readFileSync(flat);
  piped.child.stdin?.write(archive.subarray(0, archive.length - 600));
  await new Promise((resolve) => setTimeout(resolve, 500));
  assert.deepEqual(
    readdirSync(directory).filter((name) => name.startsWith("rootling.")),
    [],
  );
  piped.child.stdin?.end(archive.subarray(archive.length - 600));
  assert.deepEqual(await piped.ended, { status: 0, said: "" });
  assert.deepEqual(await describeTree(join(directory, "b")), expected);

  const stored = importFrom(directory, "pipe", "-", "", "store");
  stored.child.stdin?.end(archive);
  assert.deepEqual(await stored.ended, { status: 0, said: "" });

  const twice = importFrom(directory, "pipe", "-", join(directory, "c"), "dir");
  twice.child.stdin?.end(Buffer.concat([tarOf([{ path: "a" }, { path: "a" }])]));
  const outcome = await twice.ended;
  assert.match(outcome.said, /E_SOURCE/);
  assert.equal(existsSync(join(directory, "c")), false);
});

test("a directory: not what is mounted in it, nor the store, nor the output; a change is noticed", async (t) => {
  const { directory, context, layout, tree } = await prepared(t);
  const inside = testContext(join(tree, "var"), {});
  mkdirSync(join(tree, "mounted"));
  mkdirSync(join(tree, "var"));
  await capture("mount", ["-t", "tmpfs", "none", join(tree, "mounted")]);
  try {
    writeFileSync(join(tree, "mounted", "secret"), "x");
    const image = await importImage(inside.context, inside.layout, `dir:${tree}`, { name: "it" });
    assert.deepEqual(readdirSync(join(image.tree, "mounted")), []);
    assert.deepEqual(readdirSync(join(image.tree, "var")), []);
    await importToFile(context, layout, `dir:${tree}`, { output: join(tree, "out [1]*"), format: "dir" });
    assert.ok(!readdirSync(join(tree, "out [1]*")).some((name) => name.startsWith("out")));
  } finally {
    await capture("umount", [join(tree, "mounted")]);
  }
  await assert.rejects(importImage(context, layout, `dir:${directory}/none`), failsWith("E_NOT_FOUND"));
  // What grows between the two readings is no image.
  const grows = {
    ...context,
    progress: {
      ...silentProgress,
      task: () => ({ advance() {}, setTotal() {}, done: () => appendFileSync(join(tree, "etc/file"), "x") }),
    },
  };
  await assert.rejects(importImage(grows, layout, `dir:${tree}`, { name: "x" }), failsWith("E_DIGEST", /changed/));
});

test("host: the root that a process has, without what is mounted in it and without the store", async (t) => {
  const directory = scratch(t);
  const root = join(directory, "root");
  const out = join(directory, "out");
  mkdirSync(root);
  mkdirSync(out);
  const checkout = join(import.meta.dirname, "../..");
  // A small root: what Node needs is mounted in it, so it is no part of the image.
  const script = `
    set -e
    root=$1; out=$2; shift 2
    mount -t tmpfs none "$root"
    for at in usr bin sbin lib lib64; do
      if [ -L /$at ]; then cp -P /$at "$root/$at"; elif [ -d /$at ]; then mkdir "$root/$at"; mount --rbind /$at "$root/$at"; fi
    done
    for at in proc dev "$out" "$@"; do mkdir -p "$root/$at"; mount --rbind "/$at" "$root/$at"; done
    mkdir -p "$root/etc" "$root/store/data" "$root/tmp"
    echo host >"$root/etc/file"
    echo secret >"$root/store/data/secret"
    exec chroot "$root" "$NODE" "$SCRIPT" host: "$out/tree" dir`;
  const modules = realpathSync(join(checkout, "node_modules"));
  const mounted = [...new Set([checkout, modules, dirname(realpathSync(process.execPath))])];
  await capture("unshare", ["--mount", "--propagation=private", "sh", "-c", script, "sh", root, out, ...mounted], {
    env: {
      NODE: realpathSync(process.execPath),
      SCRIPT: join(import.meta.dirname, "../support/image-import.ts"),
      IMAGE_TEST_DIRECTORY: "/store",
      HOME: "/",
    },
  });
  assert.equal(readFileSync(join(out, "tree/etc/file"), "utf8"), "host\n");
  assert.deepEqual(readdirSync(join(out, "tree/usr")), []);
  assert.deepEqual(readdirSync(join(out, "tree/store")), []);
});

test("squashfs: a round trip keeps the file; what is planted in one stays inside; ordinary users can read one", async (t) => {
  const { directory, context, layout, expected, warnings } = await prepared(t);
  const at = (name: string) => join(directory, name);
  await importToFile(context, layout, `oci:${directory}/layout`, { output: at("a.sqsh"), format: "squashfs" });
  for (const comp of ["zstd:3", "gzip:1", "lzo", "lz4", "xz"]) {
    await importToFile(context, layout, at("a.sqsh"), { output: at("b.sqsh"), format: "squashfs", comp, force: true });
    const image = await importImage(context, layout, at("b.sqsh"), { name: "b" });
    assert.deepEqual(await describeTree(image.tree), expected, comp);
    assert.deepEqual(image.run, config);
  }
  assert.deepEqual(warnings, []);

  const cut = readFileSync(at("a.sqsh"));
  writeFileSync(at("cut.sqsh"), cut.subarray(0, 300));
  await assert.rejects(
    importToFile(context, layout, at("cut.sqsh"), { output: at("cut"), format: "dir" }),
    failsWith("E_LAYER"),
  );
  assert.deepEqual(
    readdirSync(directory).filter((name) => /^(rootling\.|cut\.[^s])/.test(name)),
    [],
  );

  await capture("truncate", ["-s", "1200M", at("zeros")]);
  await capture("mksquashfs", [at("zeros"), at("bomb.sqsh"), "-quiet", "-no-progress"]);
  await assert.rejects(
    importToFile(context, layout, at("bomb.sqsh"), { output: at("bomb"), format: "dir" }),
    failsWith("E_LIMIT", /squashfs/),
  );

  const own = at("own");
  mkdirSync(own);
  chownSync(own, 65534, 65534);
  chmodSync(directory, 0o755);
  chmodSync(at("a.sqsh"), 0o644);
  const script = join(import.meta.dirname, "../support/image-import.ts");
  const env = { HOME: own, IMAGE_TEST_DIRECTORY: own };
  const asNobody = (source: string, output: string, format: string) =>
    capture(
      "setpriv",
      ["--reuid=65534", "--regid=65534", "--clear-groups", process.execPath, script, source, output, format],
      { env },
    );
  await asNobody(at("a.sqsh"), join(own, "b.tar"), "tar");
  const found = readTar(gunzipIfNeeded(readFileSync(join(own, "b.tar")))).map(
    ({ path, mode, uid, gid }) => `${path} ${mode} ${uid}:${gid}`,
  );
  assert.ok(found.includes(`etc/file ${0o4755} 1000:70`), found.join("\n"));
  assert.ok(found.includes('name \\ "x 420 0:0'), found.join("\n"));
  assert.ok(!found.some((line) => line.startsWith(".rootling")));
  await asNobody(at("a.sqsh"), join(own, "tree"), "dir");
  assert.equal(statSync(join(own, "tree/etc/link")).nlink, 2);
});

/** Patches names in a squashfs whose tables are not compressed, as no mksquashfs would write them. */
async function plantedSquashfs(directory: string, name: string, patches: [string, string][], pseudo: string[]) {
  const file = join(directory, name);
  mkdirSync(`${file}.tree`);
  const words = ["-quiet", "-no-progress", "-noI", "-noD", "-noF", "-noX", ...pseudo.flatMap((line) => ["-p", line])];
  await capture("mksquashfs", [`${file}.tree`, file, ...words]);
  let content = readFileSync(file).toString("latin1");
  for (const [from, to] of patches) {
    assert.ok(content.includes(from), from);
    content = content.replaceAll(from, to);
  }
  writeFileSync(file, content, "latin1");
  return file;
}

test("squashfs: names that lead out, and a symlink with the name of a directory, as root and as an ordinary user", async (t) => {
  const directory = scratch(t);
  chmodSync(directory, 0o755);
  const outside = join(directory, "outside");
  const own = join(directory, "own");
  for (const made of [outside, own]) {
    mkdirSync(made);
    chownSync(made, 65534, 65534);
  }
  writeFileSync(join(outside, "canary"), "alive");
  const { context, layout } = testContext(directory, { ROOTLING_TEMP_PATH: own });
  const script = join(import.meta.dirname, "../support/image-import.ts");
  const canary = "f 644 0 0 echo dead";
  const planted = [
    // CVE-2021-41072, CVE-2021-40153.
    await plantedSquashfs(
      directory,
      "twice",
      [["evilB", "evilA"]],
      [`evilA s 777 0 0 ${outside}`, "evilB d 755 0 0", `evilB/canary ${canary}`],
    ),
    await plantedSquashfs(
      directory,
      "dots",
      [["dotdotslash", "../outside/"]],
      ["d d 755 0 0", `d/dotdotslashcanary ${canary}`],
    ),
    await plantedSquashfs(directory, "parent", [["PP", ".."]], ["PP d 755 0 0", `PP/canary ${canary}`]),
  ];
  for (const file of planted) {
    const before = await describeTree(outside, { rootTime: true });
    const output = join(directory, "out");
    await importToFile(context, layout, file, { output, format: "dir", force: true }).catch((error: unknown) => {
      assert.match(String((error as { code?: string }).code), /^E_(LAYER|LIMIT|PROGRAM)$/);
    });
    const words = [process.execPath, script, file, join(own, "out.tar"), "tar"];
    await capture("setpriv", ["--reuid=65534", "--regid=65534", "--clear-groups", ...words], {
      env: { HOME: own, IMAGE_TEST_DIRECTORY: own, ROOTLING_TEMP_PATH: own },
    }).catch((error: unknown) => assert.match(String(error), /E_(LAYER|LIMIT|PROGRAM|EXISTS)/));
    assert.deepEqual(await describeTree(outside, { rootTime: true }), before, file);
    assert.deepEqual(
      readdirSync(own).filter((name) => name.startsWith("rootling.")),
      [],
    );
  }
});

const gunzipIfNeeded = (content: Buffer): Buffer => (content[0] === 0x1f ? gunzipSync(content) : content);

test("a generated tree goes through every sink and back unchanged", async (t) => {
  const directory = scratch(t);
  const { context, layout } = testContext(directory);
  for (const seed of [21, 22, 23]) {
    const at = (name: string) => join(directory, `${seed}-${name}`);
    writeLayout(
      at("layout"),
      generateStack(seed, 4).map((layer) => tarOf(layer)),
    );
    let source = `oci:${at("layout")}`;
    let expected: string[] | undefined;
    for (const [i, format] of (["dir", "squashfs", "tar", "oci", "dir", "oci", "squashfs", "dir"] as const).entries()) {
      const output = at(`${i}-${format}`);
      await importToFile(context, layout, source, { output, format });
      source = { dir: `dir:${output}`, oci: `oci:${output}`, tar: output, squashfs: output }[format];
      if (format !== "dir") continue;
      expected ??= await describeTree(output);
      assert.deepEqual(await describeTree(output), expected);
    }
  }
});

test("texts of local sources", () => {
  assert.deepEqual(parseSource("-"), { kind: "stdin" });
  assert.deepEqual(parseSource("dir:/a:b"), { kind: "directory", directory: "/a:b" });
  assert.deepEqual(parseSource("oci-archive:/a:b/c.tar:d"), {
    kind: "oci-archive",
    file: "/a:b/c.tar",
    reference: "d",
  });
  assert.deepEqual(parseSource("docker-archive:a.tar:host:5000/b:c"), {
    kind: "docker-archive",
    file: "a.tar",
    reference: "host:5000/b:c",
  });
  assert.deepEqual(parseSource("docker-archive:a.tar"), {
    kind: "docker-archive",
    file: "a.tar",
    reference: undefined,
  });
  for (const text of ["dir:", "oci-archive:", "docker-archive:", "oci-archive::x", "dir:a\0b"]) {
    assert.throws(() => parseSource(text), failsWith("E_SOURCE"), text);
  }
});
