/** Sources of this machine: what each promises, beyond the contract that all sources keep. */
import assert from "node:assert/strict";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { capture } from "../../src/base/process.ts";
import { silentProgress } from "../../src/base/progress.ts";
import { importImage, importToFile } from "../../src/commands/import-image.ts";
import { parseSource } from "../../src/image/sources/reference.ts";
import {
  configOfAll,
  dockerOfToday,
  imageOfAll,
  importScript,
  importWords,
  startImport,
} from "../support/image-cases.ts";
import { generateStack } from "../support/image-stacks.ts";
import { describeTree, failsWith, scratch, tarOf, testContext, writeLayout } from "../support/image-support.ts";
import { needsRoot } from "../support/users.ts";

test(
  "every local source gives the tree, the configuration where it has one, and leaves no temporary file",
  needsRoot("owners"),
  async (t) => {
    const { directory, context, layout, expected, tree } = await imageOfAll(t);
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
      assert.deepEqual(image.run, what in configured ? configOfAll : {}, what);
      const again = await importImage(context, layout, source, { name: "again" });
      assert.equal(again.digest, image.digest, what);
    }
    assert.deepEqual(
      readdirSync(directory).filter((name) => !before.includes(name) && name !== "data"),
      [],
    );
    assert.equal(existsSync("/canary"), false);
  },
);

test("standard input: as a file, as a pipe, into a file without spooling, into the store with it", async (t) => {
  const owners =
    "warning: all files are yours, also those of 1000:70 and others: user.rootlesscontainers says whose they were";
  const said = process.getuid?.() === 0 ? "" : `${owners}\n`;
  const { directory, context, layout, expected } = await imageOfAll(t);
  const flat = join(directory, "flat.tar");
  await importToFile(context, layout, `oci:${directory}/layout`, { output: flat, format: "tar" });
  const redirected = startImport(directory, importWords("-", join(directory, "a"), "dir"), openSync(flat, "r"));
  assert.deepEqual(await redirected.ended, { status: 0, said });
  assert.deepEqual(await describeTree(join(directory, "a")), expected);

  // Nothing of it may be on disk while it waits.
  const piped = startImport(directory, importWords("-", join(directory, "b"), "dir"), "pipe");
  const archive = readFileSync(flat);
  piped.child.stdin?.write(archive.subarray(0, archive.length - 600));
  await new Promise((resolve) => setTimeout(resolve, 500));
  assert.deepEqual(
    readdirSync(directory).filter((name) => name.startsWith("rootling.")),
    [],
  );
  piped.child.stdin?.end(archive.subarray(archive.length - 600));
  assert.deepEqual(await piped.ended, { status: 0, said });
  assert.deepEqual(await describeTree(join(directory, "b")), expected);

  const stored = startImport(directory, importWords("-", "", "store"), "pipe");
  stored.child.stdin?.end(archive);
  assert.deepEqual(await stored.ended, { status: 0, said: "" });

  const twice = startImport(directory, importWords("-", join(directory, "c"), "dir"), "pipe");
  twice.child.stdin?.end(Buffer.concat([tarOf([{ path: "a" }, { path: "a" }])]));
  const outcome = await twice.ended;
  assert.match(outcome.said, /E_SOURCE/);
  assert.equal(existsSync(join(directory, "c")), false);
});

test(
  "a directory: not what is mounted in it, nor the store, nor the output; a change is noticed",
  needsRoot("a mount"),
  async (t) => {
    const { directory, context, layout, tree } = await imageOfAll(t);
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
  },
);

test(
  "host: the root that a process has, without what is mounted in it and without the store",
  needsRoot("a root of its own"),
  async (t) => {
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
      env: { NODE: realpathSync(process.execPath), SCRIPT: importScript, IMAGE_TEST_DIRECTORY: "/store", HOME: "/" },
    });
    assert.equal(readFileSync(join(out, "tree/etc/file"), "utf8"), "host\n");
    assert.deepEqual(readdirSync(join(out, "tree/usr")), []);
    assert.deepEqual(readdirSync(join(out, "tree/store")), []);
  },
);

test("a generated tree goes through every sink and back unchanged", needsRoot("owners"), async (t) => {
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
