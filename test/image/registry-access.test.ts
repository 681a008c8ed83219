/** TLS, proxies, mirrors and logins: who is trusted, and who is told what. */
import assert from "node:assert/strict";
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { capture, requireProgram, run } from "../../src/base/process.ts";
import { type Progress, silentProgress } from "../../src/base/progress.ts";
import { importImage } from "../../src/commands/import-image.ts";
import type { RegistryOptions } from "../../src/image/sources/environment.ts";
import { BASIC, type FakeOptions, FakeRegistry, layers, PASSWORD, secretsIn, USER } from "../support/fake-registry.ts";
import { failsWith, scratch, tarOf, testContext, writeLayout } from "../support/image-support.ts";
import { freePort } from "../support/registry.ts";

/** A CA of the test's own, and a certificate of it for 127.0.0.1 and registry.test. */
async function makeCertificates(directory: string): Promise<{ ca: string; cert: Buffer; key: Buffer }> {
  const file = (name: string) => join(directory, name);
  const make = (...words: string[]) =>
    capture(
      "openssl",
      ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"].concat(words),
    );
  await make("-subj", "/CN=ca", "-keyout", file("ca.key"), "-out", file("ca.crt"));
  await make(
    ...["-subj", "/CN=registry", "-CA", file("ca.crt"), "-CAkey", file("ca.key")],
    ...["-addext", "subjectAltName=IP:127.0.0.1,DNS:registry.test", "-addext", "basicConstraints=critical,CA:FALSE"],
    ...["-keyout", file("server.key"), "-out", file("server.crt")],
  );
  return { ca: file("ca.crt"), cert: readFileSync(file("server.crt")), key: readFileSync(file("server.key")) };
}

/** A home with docker's config.json, and a way to pull. */
function client(directory: string, auths: Record<string, object> = {}) {
  mkdirSync(join(directory, ".docker"), { recursive: true });
  writeFileSync(join(directory, ".docker/config.json"), JSON.stringify({ auths }));
  const fast = { ROOTLING_RETRY_WAIT: "0.02", ROOTLING_TRANSFER_RETRIES: "1" };
  const { context, layout, warnings } = testContext(directory, fast);
  const basic = { HOME: directory, PATH: process.env.PATH, CONTAINERS_REGISTRIES_CONF: "/dev/null" };
  const pull = (image: string, env: Record<string, string> = {}, options: Partial<RegistryOptions> = {}) =>
    importImage(context, layout, `docker://${image}`, {
      registry: { env: { ...basic, ...env }, uid: 1000, ...options },
    });
  return { pull, layout, warnings };
}

const start = (t: TestContext, options: FakeOptions = {}) => new FakeRegistry(options).start(t);

const APP = "team/app:1";

test("certificates: unknown ones are refused, and known by certs.d, SSL_CERT_FILE or --insecure", async (t) => {
  const directory = scratch(t);
  const { ca, ...tls } = await makeCertificates(directory);
  const registry = await start(t, { tls, auth: "basic" });
  const auths = { [registry.host]: { auth: BASIC } };
  const image = `${registry.host}/${APP}`;
  const fresh = (name: string) => client(join(directory, name), auths);
  await assert.rejects(fresh("unknown").pull(image), failsWith("E_CERTIFICATE", /certs\.d/));
  await assert.rejects(fresh("plain").pull(image, {}, { plainHttp: true }), failsWith("E_NETWORK"));
  assert.deepEqual(secretsIn(registry.seen), []);
  await fresh("file").pull(image, { SSL_CERT_FILE: ca });
  await fresh("insecure").pull(image, {}, { insecure: true });
  const known = fresh("directory");
  const certs = join(directory, "directory/.config/containers/certs.d", registry.host);
  mkdirSync(certs, { recursive: true });
  copyFileSync(ca, join(certs, "ca.crt"));
  await known.pull(image);
});

test("a token server elsewhere gets a login only if the registry said so over TLS that was verified", async (t) => {
  const directory = scratch(t);
  const { ca, ...tls } = await makeCertificates(directory);
  const realm = await start(t, { tls });
  const plainRealm = await start(t);
  const pull = async (name: string, options: FakeOptions, env: object, flags: Partial<RegistryOptions> = {}) => {
    const registry = await start(t, { auth: "bearer", ...options });
    const { pull } = client(join(directory, name), { [registry.host]: { auth: BASIC } });
    return pull(`${registry.host}/${APP}`, { SSL_CERT_FILE: ca, ...env }, flags);
  };
  const elsewhere = `${realm.origin}/token`;
  await pull("verified", { tls, realm: elsewhere }, {});
  assert.equal(realm.asked("token").at(-1)?.headers.authorization, `Basic ${BASIC}`);
  realm.seen.length = 0;
  await assert.rejects(pull("insecure", { tls, realm: elsewhere }, {}, { insecure: true }), failsWith("E_DENIED"));
  await assert.rejects(pull("plain", { realm: elsewhere }, {}), failsWith("E_DENIED"));
  assert.ok(realm.asked("token").length > 0);
  assert.deepEqual(secretsIn(realm.seen), []);
  await assert.rejects(pull("down", { tls, realm: `${plainRealm.origin}/token` }, {}), failsWith("E_REGISTRY"));
  assert.equal(plainRealm.seen.length, 0);
  // What was configured for the token server by its own name is meant for it.
  const netrc = join(directory, "logins");
  writeFileSync(netrc, `machine 127.0.0.1:${realm.port}\n  login ${USER}\n  password ${PASSWORD}\n`);
  await pull("netrc", { realm: elsewhere }, { NETRC: netrc });
});

test("TLS does not become plain HTTP by a redirect", async (t) => {
  const directory = scratch(t);
  const { ca, ...tls } = await makeCertificates(directory);
  const elsewhere = await start(t);
  const registry = await start(t, { tls });
  registry.faults.layer = ({ request, response }) => {
    response.writeHead(307, { location: `${elsewhere.origin}${request.url}` }).end();
    return true;
  };
  const { pull } = client(join(directory, "home"));
  await assert.rejects(pull(`${registry.host}/${APP}`, { SSL_CERT_FILE: ca }), failsWith("E_REGISTRY", /redirect/));
  assert.equal(elsewhere.seen.length, 0);
});

test("an identity token is sent as OAuth 2 has it, in a body", async (t) => {
  const registry = await start(t, { auth: "bearer" });
  const { pull } = client(scratch(t), { [registry.host]: { auth: "", identitytoken: "ident1ty" } });
  await pull(`${registry.host}/${APP}`);
  const [asked] = registry.asked("token");
  assert.equal(asked?.method, "POST");
  assert.match(asked?.body ?? "", /grant_type=refresh_token/);
  assert.ok(registry.seen.every(({ url }) => secretsIn(url).length === 0));
});

test("proxies: for HTTP, by CONNECT for TLS, not for hosts of NO_PROXY and of this machine", async (t) => {
  const directory = scratch(t);
  const { ca, ...tls } = await makeCertificates(directory);
  const proxy = await start(t);
  const registry = await start(t, { tls, auth: "basic" });
  proxy.tunnelTo(registry.port);
  const fresh = (name: string) => client(join(directory, name), { "registry.test": { auth: BASIC } });
  const plain = { HTTP_PROXY: `http://me:pr0xy@${proxy.host}` };
  await fresh("http").pull(`registry.test/${APP}`, plain, { plainHttp: true });
  assert.ok(proxy.seen.length > 3 && proxy.seen.every(({ url }) => url.startsWith("http://registry.test/v2/")));
  proxy.seen.length = 0;
  await fresh("https").pull(`registry.test/${APP}`, { https_proxy: proxy.origin, SSL_CERT_FILE: ca });
  assert.ok(proxy.seen.length > 0 && proxy.seen.every(({ method }) => method === "CONNECT"));
  assert.deepEqual(secretsIn(proxy.seen), []);
  proxy.seen.length = 0;
  const never = { ...plain, NO_PROXY: "registry.test" };
  await assert.rejects(fresh("no").pull(`registry.test/${APP}`, never, { plainHttp: true }), failsWith("E_NETWORK"));
  const open = await start(t);
  await fresh("loopback").pull(`${open.host}/${APP}`, plain);
  assert.equal(proxy.seen.length, 0);
  await assert.rejects(
    fresh("bad").pull(`registry.test/${APP}`, { HTTP_PROXY: "http://me:s3cret-pässword@[" }, { plainHttp: true }),
    (error: Error) => failsWith("E_SETTING")(error) && secretsIn(String(error)).length === 0,
  );
});

test("mirrors come first, get no login of others, and are left out where they fail or lie", async (t) => {
  const directory = scratch(t);
  const registry = await start(t, { auth: "basic" });
  const mirror = await start(t, { auth: "basic" });
  const conf = join(directory, "registries.conf");
  writeFileSync(
    conf,
    `[[registry]]\nprefix = "${registry.host}/team"\n[[registry.mirror]]\nlocation = "${mirror.host}/team"\n` +
      `[[registry]]\nprefix = "${registry.host}/secret"\nblocked = true\n`,
  );
  const env = { CONTAINERS_REGISTRIES_CONF: conf };
  const fresh = (name: string) => client(join(directory, name), { [registry.host]: { auth: BASIC } });
  const denied = fresh("denied");
  await denied.pull(`${registry.host}/${APP}`, env);
  assert.ok(mirror.seen.length > 0);
  assert.deepEqual(secretsIn(mirror.seen), []);
  assert.match(denied.warnings.join("\n"), /the mirror 127\.0\.0\.1:[0-9]+ is left out/);

  mirror.options.auth = "none";
  registry.seen.length = 0;
  const image = await fresh("mirrored").pull(`${registry.host}/${APP}`, env);
  assert.equal(image.refs[0], `${registry.host}/${APP}`);
  assert.equal(registry.seen.length, 0);

  mirror.faults.manifest = ({ response }) => response.end("{}").writableEnded;
  await fresh("lies").pull(`${registry.host}/${APP}`, env);
  mirror.stop();
  await fresh("gone").pull(`${registry.host}/${APP}`, env);
  await assert.rejects(
    fresh("blocked").pull(`${registry.host}/secret/app`, env),
    failsWith("E_BLOCKED", /registries.conf/),
  );
});

test("short names: aliases and lists of registries", async (t) => {
  const directory = scratch(t);
  const [first, second] = [await start(t), await start(t)];
  first.faults.index = ({ response }) => response.writeHead(404).end().writableEnded;
  const conf = join(directory, "registries.conf");
  const write = (mode: string) =>
    writeFileSync(
      conf,
      `unqualified-search-registries = ["${first.host}", "${second.host}"]\nshort-name-mode = "${mode}"\n` +
        `[aliases]\n"app" = "${second.host}/team/app"\n`,
    );
  const env = { CONTAINERS_REGISTRIES_CONF: conf };
  const { pull } = client(directory);
  write("enforcing");
  assert.deepEqual((await pull("app:1", env)).refs, [`${second.host}/${APP}`]);
  assert.equal(first.seen.length, 0);
  await assert.rejects(pull(APP, env), failsWith("E_SOURCE", /name the registry/));
  write("permissive");
  assert.deepEqual((await pull(APP, env)).refs, [`${second.host}/${APP}`]);
  assert.ok(first.seen.length > 0);
});

test("what has arrived of a layer is kept for the next try, and not believed", async (t) => {
  const directory = scratch(t);
  const registry = await start(t);
  const cut = 200_000;
  const cutLayer: FakeRegistry["faults"]["layer"] = ({ response, content }) => {
    if (content.length < cut) return false;
    response.writeHead(200, { "content-length": content.length });
    response.write(content.subarray(0, cut), () => setTimeout(() => response.destroy(), 50));
    return true;
  };
  const { pull, layout } = client(directory);
  const halves = () => readdirSync(layout.blobs).filter((name) => name.endsWith(".half"));
  for (const damage of [false, true]) {
    registry.faults.layer = (asked) =>
      asked.request.headers.range === undefined ? cutLayer(asked) : asked.response.destroy().destroyed;
    await assert.rejects(pull(`${registry.host}/${APP}`), failsWith("E_NETWORK"));
    const [half = ""] = halves();
    const path = join(layout.blobs, half);
    assert.equal(readFileSync(path).length, cut);
    if (damage) writeFileSync(path, Buffer.alloc(cut));
    registry.faults = {};
    registry.seen.length = 0;
    const image = await pull(`${registry.host}/${APP}`);
    assert.equal(
      registry.asked("layer")[0]?.headers.range ?? registry.asked("layer")[1]?.headers.range,
      `bytes=${cut}-`,
    );
    assert.equal(readFileSync(join(image.tree, "file"), "utf8"), "right");
    assert.deepEqual(halves(), []);
    if (damage) return;
    await capture("rm", ["-rf", layout.images, layout.refs, layout.blobs]);
    mkdirSync(layout.blobs);
  }
});

test("a layer that somebody pruned before its turn comes once more", async (t) => {
  const registry = await start(t);
  const { context, layout } = testContext(scratch(t));
  const lower = Promise.withResolvers<void>();
  registry.faults.layer = async ({ content }) => {
    if (content === layers[1]) await lower.promise;
    return false;
  };
  const ended = (label: string) => {
    if (label.startsWith("download layer 1")) lower.resolve();
    if (label.startsWith("unpack layer 2"))
      for (const name of readdirSync(layout.blobs)) rmSync(join(layout.blobs, name));
  };
  const progress: Progress = {
    ...silentProgress,
    task: (_, label) => ({ advance() {}, setTotal() {}, done: () => ended(label) }),
  };
  const image = await importImage({ ...context, progress }, layout, `docker://${registry.host}/${APP}`, {
    registry: { env: { CONTAINERS_REGISTRIES_CONF: "/dev/null" }, uid: 1000 },
  });
  assert.ok(existsSync(join(image.tree, "noise")));
  assert.equal(registry.asked("layer").length, 3);
});

test("--username: the password comes from who is asked, once, and only for the registry that was named", async (t) => {
  const registry = await start(t, { auth: "bearer" });
  const elsewhere = await start(t, { auth: "basic" });
  registry.faults.layer = ({ request, response }) => {
    response.writeHead(307, { location: `${elsewhere.origin}${request.url}` }).end();
    return true;
  };
  const { pull } = client(scratch(t));
  let asked = 0;
  const askPassword = async (user: string, host: string) => {
    asked++;
    assert.deepEqual([user, host], [USER, registry.host]);
    return PASSWORD;
  };
  await assert.rejects(pull(`${registry.host}/${APP}`, {}, { username: USER, askPassword }), failsWith("E_DENIED"));
  assert.deepEqual(secretsIn(elsewhere.seen), []);
  registry.faults = {};
  await pull(`${USER}@${registry.host}/${APP}`, {}, { askPassword });
  assert.equal(asked, 2);
  await assert.rejects(
    pull(`${registry.host}/${APP}`, {}, { username: USER, askPassword: async () => undefined }),
    failsWith("E_USAGE", /--password-stdin/),
  );
});

test("Debian's docker-registry with TLS and htpasswd", async (t) => {
  const directory = scratch(t);
  const { ca } = await makeCertificates(directory);
  const host = `127.0.0.1:${await freePort()}`;
  // bcrypt, by libxcrypt.
  const hash = await capture("perl", ["-e", "print crypt($ENV{PASSWORD}, q($2y$05$abcdefghijklmnopqrstuu))"], {
    env: { PASSWORD },
  });
  writeFileSync(join(directory, "htpasswd"), `${USER}:${hash}\n`);
  const settings = {
    version: "0.1",
    log: { level: "error", accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: join(directory, "store") } },
    http: { addr: host, tls: { certificate: join(directory, "server.crt"), key: join(directory, "server.key") } },
    auth: { htpasswd: { realm: "it", path: join(directory, "htpasswd") } },
  };
  writeFileSync(join(directory, "registry.json"), JSON.stringify(settings));
  const running = run(requireProgram("docker-registry", "docker-registry"), [
    "serve",
    join(directory, "registry.json"),
  ]);
  t.after(() => running.kill());
  writeLayout(join(directory, "layout"), [tarOf([{ path: "file", content: "real" }])]);
  writeFileSync(join(directory, "auth.json"), JSON.stringify({ auths: { [`${host}/team`]: { auth: BASIC } } }));
  const push = () =>
    capture("skopeo", [
      ...["copy", "-q", "--insecure-policy", "--dest-tls-verify=false", "--authfile", join(directory, "auth.json")],
      ...[`oci:${directory}/layout`, `docker://${host}/${APP}`],
    ]);
  for (let tries = 0; ; tries++) {
    const pushed = await push().then(
      () => true,
      (error: unknown) => {
        if (tries > 40) throw error;
      },
    );
    if (pushed) break;
    await sleep(50);
  }
  const fresh = (name: string) => client(join(directory, name));
  const trusting = { SSL_CERT_FILE: ca };
  await assert.rejects(fresh("nobody").pull(`${host}/${APP}`, trusting), failsWith("E_DENIED", /--username/));
  await assert.rejects(
    fresh("wrong").pull(`${host}/${APP}`, trusting, { username: USER, askPassword: async () => "wrong" }),
    failsWith("E_DENIED", /the credentials of --username/),
  );
  const image = await fresh("right").pull(`${host}/${APP}`, {
    ...trusting,
    REGISTRY_AUTH_FILE: join(directory, "auth.json"),
  });
  assert.equal(readFileSync(join(image.tree, "file"), "utf8"), "real");
  assert.ok(existsSync(join(image.tree, "file")));
});
