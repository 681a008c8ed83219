/** What programs may count on: all or nothing, failures with codes, an end when they ask for it, and no more memory. */
import assert from "node:assert/strict";
import {
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import {
  type BootstrapOptions,
  bootstrap,
  commitImage,
  Failure,
  imageDigest,
  importImage,
  importToFile,
  listImages,
  pushImage,
  removeImage,
} from "../../src/index.ts";
import { emptyBox } from "../support/boxes.ts";
import { packageDirectory } from "../support/cli.ts";
import { command } from "../support/command.ts";
import { FakeRegistry, PASSWORD, USER } from "../support/fake-registry.ts";
import { failsWith, scratch, tarOf, writeLayout } from "../support/image-support.ts";
import { ubuntuLayers } from "../support/public-images.ts";
import { startRegistry } from "../support/registry.ts";
import { userKinds } from "../support/users.ts";

type Suite = Parameters<typeof scratch>[0];

/** A program's directory: an image in a layout, and an environment with places of its own. */
function program(t: Suite, layers = ubuntuLayers.map((layer) => tarOf(layer))) {
  const directory = scratch(t);
  const digest = writeLayout(join(directory, "layout"), layers);
  const [cache, temporary] = [join(directory, "cache"), join(directory, "temporary")];
  const env = {
    PATH: process.env.PATH,
    HOME: directory,
    CONTAINERS_REGISTRIES_CONF: "/dev/null",
    ROOTLING_DATA_PATH: join(directory, "data"),
    ROOTLING_RUNTIME_PATH: join(directory, "runtime"),
    ROOTLING_CACHE_PATH: cache,
    ROOTLING_TEMP_PATH: temporary,
    ROOTLING_RETRY_WAIT: "0.02",
  };
  return {
    directory,
    cache,
    temporary,
    digest,
    env,
    source: `oci:${directory}/layout`,
    dest: join(directory, "new/place/root"),
  };
}

test("importImage, listImages, imageDigest, importToFile and removeImage", async (t) => {
  const { directory, digest, env, source } = program(t);
  assert.equal(await imageDigest(source, { env }), digest);
  assert.deepEqual(listImages({ env }), []);
  const work = importImage(source, { env, name: "mine:1" });
  const statuses: string[] = [];
  for await (const { status } of work) statuses.push(status);
  assert.equal(statuses.at(-1), "Extraction completed successfully!");
  const image = await work;
  assert.deepEqual([image.names, image.digest], [["mine:1"], digest]);
  assert.equal(readFileSync(join(image.tree, "etc/os-release"), "utf8"), "ID=ubuntu\n");
  assert.deepEqual(listImages({ env }), [image]);
  const output = join(directory, "root.tar");
  const written = await importToFile(source, output, { env, format: "tar" });
  assert.deepEqual([written.output, written.digest], [output, digest]);
  await assert.rejects(importToFile(source, output, { env, format: "tar" }), failsWith("E_EXISTS"));
  await importToFile(source, output, { env, format: "tar", force: true });
  await assert.rejects(importToFile(source, output, { env, format: "zip" as never }), failsWith("E_USAGE"));
  await assert.rejects(importImage(source, { env, insecure: true, plainHttp: true }), failsWith("E_USAGE"));
  await assert.rejects(importImage(source, { env, username: "a:b" }), failsWith("E_USAGE"));
  await assert.rejects(importImage("nothing:", { env }), failsWith("E_SOURCE"));
  await removeImage("mine:1", { env });
  assert.deepEqual([listImages({ env }), existsSync(image.tree)], [[], false]);
  await assert.rejects(removeImage("mine:1", { env }), failsWith("E_NOT_FOUND"));
});

test("a URI is read as virt-bootstrap reads it", async (t) => {
  const { directory, env } = program(t);
  const file = join(directory, "root.tar");
  writeFileSync(file, tarOf([{ path: "file", content: "tarred" }]));
  const image = `${(await new FakeRegistry().start(t)).host}/team/app:1`;
  for (const [index, uri] of [file, `file://${file}`, `docker://${image}/`, `docker:///${image}`].entries()) {
    const dest = join(directory, `dest-${index}`);
    await bootstrap({ uri, dest, env });
    assert.ok(existsSync(join(dest, "file")), uri);
  }
});

describe("a destination", () => {
  test("that is empty is taken, through symlinks; one with files needs force; others are refused", async (t) => {
    const { directory, env, source, dest } = program(t);
    const at = (name: string) => join(directory, name);
    for (const name of ["empty", "full"]) mkdirSync(at(name));
    for (const name of ["full/canary", "file"]) writeFileSync(at(name), "canary");
    symlinkSync("empty", at("link"));
    const make = (options: Partial<BootstrapOptions>) => bootstrap({ uri: source, dest, env, ...options });
    assert.equal((await make({ dest: at("link") })).dest, at("empty"));
    assert.ok(existsSync(at("empty/etc/os-release")));
    await assert.rejects(make({ dest: at("full") }), failsWith("E_EXISTS"));
    assert.equal(readFileSync(at("full/canary"), "utf8"), "canary");
    await make({ dest: at("full"), force: true });
    assert.ok(!existsSync(at("full/canary")));
    for (const place of ["/", "//", "/..", `${directory}/../..${"/..".repeat(9)}`]) {
      await assert.rejects(make({ dest: place, force: true }), failsWith("E_NAME", /\//), place);
    }
    await assert.rejects(make({ dest: at("file"), force: true }), failsWith("E_EXISTS"));
    for (const place of ["file/below", "file/far/below"]) {
      await assert.rejects(make({ dest: at(place) }), failsWith("E_NOT_FOUND", /no directory/), place);
    }
    // What no type prevents in JavaScript.
    for (const [wrong, said] of [
      [{ dest: "" }, /no destination/],
      [{ dest: undefined }, /no destination/],
      [{ uri: undefined }, /no source/],
      [{ uidMap: [0, 1000, 10] }, /not a list of ranges/],
      [{ gidMap: "0:1000:10" }, /not a list of ranges/],
    ] as const) {
      await assert.rejects(make(wrong as never), failsWith("E_USAGE", said));
    }
    await assert.rejects(make({ format: "zip" as never }), failsWith("E_USAGE", /dir or qcow2/));
    assert.deepEqual(
      readdirSync(directory).filter((name) => name.endsWith(".tmp")),
      [],
    );
  });

  test("is not there after a failure, nor what was missing above it", async (t) => {
    const { directory, env, dest } = program(t, [tarOf([{ path: "only", content: "this" }])]);
    for (const [uri, options] of [
      [`oci:${directory}/layout`, { rootPassword: "secret" }],
      [`oci:${directory}/layout`, { rootPassword: { file: join(directory, "missing") } }],
      [`oci:${directory}/layout`, { rootPassword: "" }],
      [
        `oci:${directory}/layout`,
        {
          uidMap: [
            [0, 1, 2],
            [1, 7, 1],
          ] as const,
        },
      ],
      [join(directory, "missing.tar"), {}],
    ] as const) {
      await assert.rejects(bootstrap({ uri, dest, env, ...options }), Failure);
      assert.ok(!existsSync(join(directory, "new")), JSON.stringify(options));
    }
    await bootstrap({ uri: `oci:${directory}/layout`, dest, env });
    assert.deepEqual(readdirSync(dest), ["only"]);
  });
});

test("several at once in one process do not stand in each other's way", async (t) => {
  const { directory, env, source } = program(t);
  const uri = `docker://${(await new FakeRegistry().start(t)).host}/team/app:1`;
  const made = await Promise.all([
    ...[1, 2, 3].map((n) => bootstrap({ uri, dest: join(directory, "new", `place-${n}`), env })),
    ...[4, 5].map((n) => bootstrap({ uri, dest: join(directory, "new", `place-${n}`), env, noCache: true })),
  ]);
  for (const { dest } of made) assert.equal(readFileSync(join(dest, "file"), "utf8"), "right");
  const images = await Promise.all([1, 2, 3].map((n) => importImage(source, { env, name: `name-${n}` })));
  assert.equal(new Set(images.map(({ tree }) => tree)).size, 1);
  const places = [1, 2].map(() => bootstrap({ uri: source, dest: join(directory, "same"), env }));
  const outcomes = await Promise.allSettled(places);
  assert.deepEqual(outcomes.map(({ status }) => status).sort(), ["fulfilled", "rejected"]);
  assert.ok(existsSync(join(directory, "same/etc/os-release")));
});

test("an empty directory of one's own is filled where nothing can be made beside it", async (t) => {
  const box = await emptyBox(userKinds.includes("plain") ? "plain" : "root");
  t.after(() => box.remove());
  const { user, scratch: above } = box;
  const dest = join(above, "mine");
  mkdirSync(dest);
  if (userKinds.includes("plain") && process.getuid?.() === 0) chownSync(dest, user.uid, user.gid);
  writeLayout(
    join(above, "layout"),
    ubuntuLayers.map((layer) => tarOf(layer)),
  );
  const words = (source: string) => [join(packageDirectory(), "bin/virt-bootstrap"), "-q", source, dest];
  const failed = await user.run(words("oci:/none"));
  assert.equal(failed.status, 1);
  assert.deepEqual(readdirSync(dest), []);
  const { status, stderr } = await user.run(words(`oci:${above}/layout`));
  assert.equal(status, 0, stderr);
  assert.equal(readFileSync(join(dest, "etc/os-release"), "utf8"), "ID=ubuntu\n");
  assert.deepEqual(readdirSync(above).sort(), ["layout", "mine"]);
});

test("an aborted signal ends the work, and nothing is left", async (t) => {
  const { directory, temporary, env, dest } = program(t);
  const registry = await new FakeRegistry().start(t);
  const uri = `docker://${registry.host}/team/app:1`;
  const stop = new AbortController();
  registry.faults.layer = (asked) => {
    // Only a part of it, and then silence.
    asked.response.writeHead(200, { "content-length": asked.content.length });
    asked.response.write(asked.content.subarray(0, asked.content.length >> 1));
    setTimeout(() => stop.abort(), 50);
    return true;
  };
  const work = bootstrap({ uri, dest, env, signal: stop.signal, noCache: true });
  await assert.rejects(
    (async () => {
      for await (const _ of work);
    })(),
    failsWith("E_INTERRUPTED"),
  );
  await assert.rejects(work, failsWith("E_INTERRUPTED"));
  await assert.rejects(bootstrap({ uri, dest, env, signal: AbortSignal.abort() }), failsWith("E_INTERRUPTED"));
  assert.ok(!existsSync(join(directory, "new")));
  assert.deepEqual(readdirSync(temporary), [], "what --no-cache downloads goes as well");
});

test("what is downloaded stays for the next time, unless it is not wanted", async (t) => {
  const { directory, cache, temporary, env } = program(t);
  const registry = await new FakeRegistry().start(t);
  const { host } = registry;
  const make = (name: string, options: Partial<BootstrapOptions> = {}) =>
    bootstrap({ uri: `docker://${host}/team/app:1`, dest: join(directory, name), env, ...options });
  await make("passing", { noCache: true });
  assert.ok(!existsSync(cache));
  assert.deepEqual(readdirSync(temporary), []);
  const { digest } = await make("first");
  const asked = registry.asked("layer").length;
  await make("second");
  assert.equal(registry.asked("layer").length, asked);
  registry.stop();
  await make("offline", { uri: `docker://${host}/team/app@${digest}` });
  assert.equal(readFileSync(join(directory, "offline/file"), "utf8"), "right");
});

test("logins: asked for once, or as files have them", async (t) => {
  const { directory, env, dest } = program(t);
  const registry = await new FakeRegistry({ auth: "bearer" }).start(t);
  const uri = `docker://${registry.host}/team/app:1`;
  const asked: string[] = [];
  const password = async (user: string, host: string) => {
    asked.push(`${user} ${host}`);
    return PASSWORD;
  };
  await bootstrap({ uri, dest, env, username: USER, password });
  assert.deepEqual(asked, [`${USER} ${registry.host}`]);
  await assert.rejects(importImage(uri, { env, username: USER }), failsWith("E_USAGE", /wants the password of/));
  await assert.rejects(imageDigest(uri, { env }), failsWith("E_DENIED"));
  const place = join(directory, "config");
  mkdirSync(place);
  writeFileSync(join(place, ".credentials"), `machine 127.0.0.1 login ${USER} password ${PASSWORD}\n`);
  const { digest } = await importImage(uri, { env: { ...env, ROOTLING_CONFIG_PATH: place } });
  assert.equal(await imageDigest(uri, { env, username: USER, password: PASSWORD }), digest);
});

test("notSecure takes plain HTTP where there is no TLS; the value never goes back, whatever is tried again", async (t) => {
  const { env, dest } = program(t);
  const registry = await new FakeRegistry().start(t);
  registry.faults.layer = (asked) => {
    if (asked.times > 2) return false;
    asked.response.writeHead(200, { "content-length": asked.content.length });
    asked.response.write(asked.content.subarray(0, asked.content.length >> 1), () => asked.response.destroy());
    return true;
  };
  let last = 0;
  const onProgress = ({ value }: { value: number }) => {
    assert.ok(value >= last && value <= 100, `${value} after ${last}`);
    last = value;
  };
  await bootstrap({ uri: `docker://${registry.host}/team/app:1`, dest, env, notSecure: true, onProgress });
  assert.equal(last, 100);
});

test("what a callback throws ends the work, and nothing is left", async (t) => {
  const { directory, env, source, dest } = program(t);
  const thrown = new Error("enough");
  for (const when of ["Extracting", "Extraction"]) {
    const onProgress = ({ status }: { status: string }) => {
      if (status.startsWith(when)) throw thrown;
    };
    await assert.rejects(bootstrap({ uri: source, dest, env, onProgress }), thrown);
    if (when === "Extracting") assert.ok(!existsSync(join(directory, "new")));
  }
});

test("pushImage and commitImage", async (t) => {
  const { directory, digest, env, source, temporary } = program(t);
  mkdirSync(temporary);
  const registry = await startRegistry();
  t.after(registry.stop);
  await importImage(source, { env, name: "mine:1" });
  const place = `docker://${registry.address}/team/app`;
  const work = pushImage("mine:1", `${place}:1`, { env });
  const values: number[] = [];
  for await (const { value } of work) values.push(value);
  const pushed = await work;
  assert.deepEqual([pushed.digest, pushed.destination], [digest, `${place}:1`]);
  assert.ok(values.every((value, i) => value >= (values[i - 1] ?? 0)) && values.at(-1) === 100, values.join());
  mkdirSync(join(directory, "files/srv"), { recursive: true });
  writeFileSync(join(directory, "files/srv/new"), "new");
  const what = { directory: join(directory, "files"), onto: "mine:1" };
  const image = await commitImage(what, "mine:2", { env, changes: ["ENV A=b"] });
  assert.deepEqual([image.names, image.run.Env], [["mine:2"], ["A=b"]]);
  assert.equal(readFileSync(join(image.tree, "srv/new"), "utf8"), "new");
  const second = await pushImage("mine:2", `${place}:2`, { env });
  assert.deepEqual(
    [second.digest, second.blobs.map(({ how }) => how)],
    [image.digest, ["there", "there", "send", "send"]],
  );
  assert.equal(await imageDigest(`${place}:2`, { env }), image.digest);
  await assert.rejects(commitImage({ container: "none" }, "x", { env }), failsWith("E_NOT_FOUND"));
  await assert.rejects(pushImage("mine:2", "mine:2", { env }), failsWith("E_SOURCE"));
  const output = join(directory, "kept");
  assert.equal((await importToFile(`${place}:2`, output, { env, format: "oci", layers: "keep" })).digest, image.digest);
  assert.deepEqual(readdirSync(temporary), []);
});

/** The library as it is installed, in a process of its own. */
const script = `
import { readFileSync } from "node:fs";
const [, , index, uri, dest] = process.argv;
const { bootstrap } = await import(index);
const listeners = () => ["SIGINT", "SIGTERM", "SIGHUP", "SIGCONT"].map((name) => process.listenerCount(name)).join();
const [before, env] = [listeners(), JSON.stringify(process.env)];
let steps = 0;
for await (const _ of bootstrap({ uri, dest })) steps++;
if (before !== listeners() || env !== JSON.stringify(process.env)) throw new Error("it touches what is not its own");
// Not getrusage(2), which counts what our parent had before execve.
const peak = Number(/VmHWM:\\s+([0-9]+) kB/.exec(readFileSync("/proc/self/status", "utf8"))[1]);
process.stdout.write(JSON.stringify({ steps, peak }));
`;

test("from a package as an ordinary user, 400 MB take less than 256 MB of memory, and nothing is printed", async (t) => {
  const box = await emptyBox(userKinds.includes("plain") ? "plain" : "root");
  t.after(() => box.remove());
  const file = join(box.user.home, "program.mjs");
  writeFileSync(file, script);
  const piece = Buffer.alloc(50 << 20, "rootling");
  const layer = (name: string) => tarOf([0, 1, 2, 3].map((n) => ({ path: `${name}-${n}`, content: piece })));
  writeLayout(join(box.scratch, "layout"), [layer("a"), layer("b")]);
  const dest = join(box.user.home, "root");
  const index = join(packageDirectory(), "dist/index.js");
  const run = [process.execPath, file, index, `oci:${box.scratch}/layout`, dest];
  const { status, stdout, stderr } = await box.user.run(run);
  assert.deepEqual([status, stderr], [0, ""]);
  const { steps, peak } = JSON.parse(stdout);
  t.diagnostic(`peak ${Math.round(peak / 1024)} MB`);
  assert.ok(steps >= 4 && peak < 256 * 1024, stdout);
  assert.equal(statSync(join(dest, "b-3")).size, piece.length);
  assert.equal(statSync(join(dest, "b-3")).uid, box.user.uid);
  const bad = await command(box.user.words([process.execPath, file, index, "oci:/none", dest]), {
    env: { ...box.user.env },
  });
  assert.equal(bad.status, 1);
  assert.match(bad.stderr, /Failure: the output exists already/);
});
