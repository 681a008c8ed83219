/** Images into registries: what is sent, what is not, and what becomes of connections that break. */
import assert from "node:assert/strict";
import { appendFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { capture } from "../../src/base/process.ts";
import { openImage } from "../../src/commands/import-image.ts";
import { artifactOf } from "../../src/image/artifact.ts";
import { planPush } from "../../src/image/push.ts";
import type { RegistryOptions } from "../../src/image/sources/environment.ts";
import { rootlingWords } from "../support/cli.ts";
import { command } from "../support/command.ts";
import { BASIC } from "../support/fake-registry.ts";
import {
  describeTree,
  failsWith,
  type Given,
  scratch,
  tarOf,
  testContext,
  writeLayout,
} from "../support/image-support.ts";
import { type PushFaults, PushRegistry } from "../support/push-registry.ts";
import { type Registry, startRegistry } from "../support/registry.ts";

const noise = Buffer.alloc(400_000);
for (let i = 0, x = 7; i < noise.length; i++) noise[i] = (x = (x * 1103515245 + 12345) & 0x7fffffff) >> 16;

const layers: Given[][] = [
  [
    { path: "etc", kind: "directory" },
    { path: "etc/gone", content: "x" },
    { path: "noise", content: noise, uid: 7, gid: 8, mode: 0o4755 },
  ],
  [{ path: "etc/.wh.gone" }, { path: "link", kind: "link", target: "noise" }],
];
const config = { Env: ["A=b"], Cmd: ["tool"] };
const CHUNK = 100_000;

/** A layout with the image, and a push of it. */
function prepared(t: TestContext, options: { compression?: "none" | "gzip" } = {}) {
  const directory = scratch(t);
  const layout = join(directory, "layout");
  const digest = writeLayout(
    layout,
    layers.map((layer) => tarOf(layer)),
    { config, compression: "none", ...options },
  );
  const fast = { ROOTLING_RETRY_WAIT: "0.02", ROOTLING_TRANSFER_RETRIES: "3", ROOTLING_TEMP_PATH: directory };
  const { context, layout: store, stop } = testContext(directory, fast);
  const registry: RegistryOptions = { env: { HOME: directory, CONTAINERS_REGISTRIES_CONF: "/dev/null" }, uid: 1000 };
  const push = async (destination: string, more: { chunkBytes?: number; from?: string } = {}) => {
    const image = await openImage(context, store, `oci:${layout}`, { registry });
    const never = async () => assert.fail("nothing has to be compressed");
    const how = { comp: undefined, oci: false, scratch: never, sourceDateEpoch: undefined };
    const artifact = await artifactOf(image, how, context);
    const { chunkBytes = CHUNK, from } = more;
    const pushed = await planPush(
      artifact,
      { destination: `docker://${destination}`, registry, chunkBytes, mountFrom: () => from },
      context,
    );
    try {
      await pushed.run();
    } finally {
      pushed.close();
    }
    return pushed.blobs.map(({ way }) => way.how);
  };
  return { directory, layout, digest, push, context, store, stop };
}

const start = (t: TestContext, faults: PushFaults = {}) => new PushRegistry(faults).start(t);

/** Whether a registry has exactly the image. */
function assertArrived(registry: PushRegistry, layout: string, digest: string): void {
  const blobs = join(layout, "blobs/sha256");
  const name = digest.slice("sha256:".length);
  for (const file of readdirSync(blobs).filter((file) => file !== name)) {
    assert.deepEqual(registry.blobs.get(`sha256:${file}`), readFileSync(join(blobs, file)));
  }
  assert.deepEqual(registry.manifests.get("1"), readFileSync(join(blobs, name)));
}

/** The digest that skopeo finds under a name. */
async function digestAt({ address, logins }: Registry, name: string): Promise<string> {
  const words = ["inspect", "--authfile", logins, "--tls-verify=false", "--format", "{{.Digest}}"];
  return (await capture("skopeo", [...words, `docker://${address}/${name}`])).trim();
}

test("a registry gets the image as it is: others find it there, and nothing is sent twice", async (t) => {
  const { directory, digest, push, layout } = prepared(t, { compression: "gzip" });
  const registry = await startRegistry();
  t.after(registry.stop);
  assert.deepEqual(await push(`${registry.address}/team/app:1`), ["send", "send", "send"]);
  assert.deepEqual(await push(`${registry.address}/team/app:2`), ["there", "there", "there"]);
  assert.deepEqual(await push(`${registry.address}/other/app:1`, { from: "team/app" }), ["mount", "mount", "mount"]);
  // What cannot be mounted is sent.
  assert.deepEqual(await push(`${registry.address}/third/app:1`, { from: "no/such" }), ["send", "send", "send"]);
  for (const name of ["team/app:1", "team/app:2", "other/app:1", "third/app:1"]) {
    assert.equal(await digestAt(registry, name), digest);
  }
  const copy = join(directory, "copy");
  const from = `docker://${registry.address}/other/app:1`;
  await capture("skopeo", [
    "copy",
    "--authfile",
    registry.logins,
    "--insecure-policy",
    "--src-tls-verify=false",
    from,
    `oci:${copy}:latest`,
  ]);
  const unpacked = [];
  for (const [index, image] of [layout, copy].entries()) {
    const bundle = join(directory, `bundle${index}`);
    await capture("umoci", ["unpack", "--image", `${image}:latest`, bundle]);
    unpacked.push(await describeTree(join(bundle, "rootfs")));
  }
  assert.deepEqual(unpacked[0], unpacked[1]);
});

test("a request that breaks off goes on where the registry has it", async (t) => {
  const { layout, digest, push } = prepared(t);
  const registry = await start(t, { cut: { request: 2, after: 60_000 }, broken: "kept" });
  await push(`${registry.host}/team/app:1`);
  assertArrived(registry, layout, digest);
  const resumed = registry.seen.filter(({ range }) => range?.startsWith("0-") === false);
  assert.ok(resumed.length > 0);
  const sent = registry.seen.reduce((sum, { bytes }) => sum + bytes, 0);
  const size = [...registry.blobs.values(), ...registry.manifests.values()].reduce((sum, b) => sum + b.length, 0);
  assert.equal(sent, size, "no byte that had arrived was sent again");
});

test("what a registry has forgotten is sent from the beginning", async (t) => {
  const { layout, digest, push } = prepared(t);
  const registry = await start(t, { cut: { request: 3, after: 60_000 }, broken: "forgotten" });
  await push(`${registry.host}/team/app:1`);
  assertArrived(registry, layout, digest);
});

test("a registry that knows no parts gets a blob in one request", async (t) => {
  const { layout, digest, push } = prepared(t);
  const registry = await start(t, { chunks: "refused" });
  await push(`${registry.host}/team/app:1`);
  assertArrived(registry, layout, digest);
});

test("Docker's registry behind a line that breaks gets it all", async (t) => {
  const { digest, push } = prepared(t);
  const registry = await startRegistry();
  t.after(registry.stop);
  let passed = 0;
  let cuts = 0;
  const proxy = createServer((socket: Socket) => {
    const onward = connect(registry.port, "127.0.0.1");
    for (const end of [socket, onward]) end.on("error", () => {});
    onward.pipe(socket);
    socket.on("data", (chunk: Buffer) => {
      passed += chunk.length;
      onward.write(chunk);
      if (passed < 250_000 * (cuts + 1) || cuts === 1) return;
      cuts++;
      socket.destroy();
      onward.end();
    });
    socket.on("end", () => onward.end());
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  t.after(() => proxy.close());
  const { port } = proxy.address() as { port: number };
  await push(`127.0.0.1:${port}/team/app:1`);
  assert.equal(cuts, 1);
  assert.equal(await digestAt(registry, "team/app:1"), digest);
});

test("a token is asked for pushing, and goes nowhere else", async (t) => {
  const { directory, push, layout, digest } = prepared(t);
  const elsewhere = await start(t);
  const registry = await start(t, { auth: "bearer", elsewhere: `http://${elsewhere.host}` });
  mkdirSync(join(directory, ".docker"));
  const auths = { [registry.host]: { auth: BASIC } };
  writeFileSync(join(directory, ".docker/config.json"), JSON.stringify({ auths }));
  // Where the other host has no such upload, the push fails; nothing secret has come to it.
  await assert.rejects(push(`${registry.host}/team/app:1`, { from: "base/app" }), failsWith("E_NOT_FOUND"));
  assert.deepEqual(registry.scopes[0], ["repository:team/app:pull,push", "repository:base/app:pull"]);
  assert.ok(elsewhere.seen.length > 0);
  assert.deepEqual(
    elsewhere.seen.filter(({ authorization }) => authorization !== undefined),
    [],
  );
  assert.equal(registry.manifests.size, 0);
  const right = await start(t, { auth: "bearer" });
  await push(`${right.host}/team/app:1`);
  assertArrived(right, layout, digest);
});

test("refusals are told as what they are, and passing faults pass", async (t) => {
  const { push, layout, digest } = prepared(t);
  const closed = await start(t, { auth: "readonly" });
  await assert.rejects(push(`${closed.host}/team/app:1`), failsWith("E_DENIED"));
  const busy = await start(t, { first: 503 });
  await push(`${busy.host}/team/app:1`);
  assertArrived(busy, layout, digest);
  const liar = await start(t, { digest: `sha256:${"0".repeat(64)}` });
  await assert.rejects(push(`${liar.host}/team/app:1`), failsWith("E_REGISTRY", /another manifest/));
  for (const wrong of [`${busy.host}/team/app@${digest}`, `${busy.host}/TEAM`]) {
    await assert.rejects(push(wrong), failsWith("E_SOURCE"));
  }
});

test("a damaged layer is sent nowhere under a name", async (t) => {
  const { layout, push } = prepared(t);
  const blobs = join(layout, "blobs/sha256");
  for (const file of readdirSync(blobs)) {
    const bytes = readFileSync(join(blobs, file));
    if (bytes.length < 10_000) continue;
    bytes[5000] = (bytes[5000] ?? 0) ^ 1;
    writeFileSync(join(blobs, file), bytes);
    const registry = await start(t);
    await assert.rejects(push(`${registry.host}/team/app:1`), failsWith("E_DIGEST"));
    assert.equal(registry.manifests.size, 0);
    writeFileSync(join(blobs, file), bytes.subarray(0, 300_000));
    await assert.rejects(push(`${registry.host}/team/app:1`), failsWith("E_DIGEST"));
    appendFileSync(join(blobs, file), "x");
  }
});

test("Ctrl-C ends it, while a layer is compressed and while it is sent", async (t) => {
  const { directory, layout, push, context, store, stop } = prepared(t);
  const silent = createServer();
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  t.after(() => silent.close());
  const { port } = silent.address() as { port: number };
  const registry = { env: {}, uid: 1000 };
  const image = await openImage(context, store, `oci:${layout}`, { registry });
  const how = {
    comp: "gzip:9",
    oci: false,
    scratch: async () => mkdtempSync(join(directory, "scratch-")),
    sourceDateEpoch: undefined,
  };
  const compressing = artifactOf(image, how, context);
  const sending = push(`127.0.0.1:${port}/team/app:1`);
  silent.once("connection", () => stop.abort(130));
  await assert.rejects(sending, failsWith("E_INTERRUPTED"));
  await assert.rejects(
    compressing.then(() => artifactOf(image, how, context)),
    failsWith("E_INTERRUPTED"),
  );
});

test("the command pushes stored images, files and images of registries", async (t) => {
  const { directory, layout, digest } = prepared(t);
  const registry = await startRegistry();
  t.after(registry.stop);
  const env = {
    HOME: directory,
    ROOTLING_DATA_PATH: join(directory, "data"),
    ROOTLING_CACHE_PATH: join(directory, "cache"),
    ROOTLING_TEMP_PATH: directory,
  };
  const run = async (...words: string[]) => {
    const outcome = await command(rootlingWords(...words, "--progress", "none"), { env, cwd: directory });
    assert.equal(outcome.status, 0, outcome.stderr);
    return outcome.stdout;
  };
  const place = `${registry.address}/team/app`;
  await run("import", `oci:${layout}`, "--name", `${place}:1`);
  assert.match(await run("push", `${place}:1`, "--dry-run"), /send layer 1 of 2 .*\n.*send layer 2.*\n.*\n.* manifest/);
  assert.match(await run("push", `${place}:1`), new RegExp(`${digest}  40.*kB sent`));
  const again = JSON.parse(await run("push", `oci:${layout}`, `docker://${place}:2`, "--json"));
  assert.deepEqual([again.digest, again.sent], [digest, 0]);
  const copied = JSON.parse(await run("push", `docker://${place}:1`, `docker://${place}-copy`, "--json"));
  assert.deepEqual(
    copied.blobs.map(({ how }: { how: string }) => how),
    ["mount", "mount", "send"],
  );
  // A tarball has no layers: it becomes one.
  writeFileSync(join(directory, "root.tar"), tarOf(layers[0] ?? []));
  const packed = JSON.parse(await run("push", join(directory, "root.tar"), `docker://${place}:tar`, "--json"));
  assert.equal(packed.blobs.length, 2);
  // What is made on the way is no image that a policy has a say in.
  mkdirSync(join(directory, ".config/containers"), { recursive: true });
  const transports = { oci: { [layout]: [{ type: "insecureAcceptAnything" }] } };
  const policy = { default: [{ type: "reject" }], transports };
  writeFileSync(join(directory, ".config/containers/policy.json"), JSON.stringify(policy));
  const flat = JSON.parse(await run("push", `${place}:1`, `docker://${place}:flat`, "--layers", "one", "--json"));
  assert.equal(flat.blobs.length, 2);
  assert.notEqual(flat.digest, digest);
});
