/**
 * Registries that lie, stall, truncate, redirect elsewhere and refuse, at every step of a pull (threats 16–20, 22).
 * After each: the failure's code, no wrong byte in store or cache, no secret where it does not belong or in anything
 * that was said; and once the registry is right again, the next try succeeds.
 */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { Failure, type FailureCode } from "../../src/base/errors.ts";
import { importImage } from "../../src/commands/import-image.ts";
import { digestOf } from "../../src/image/digest.ts";
import {
  BASIC,
  config,
  type FakeOptions,
  FakeRegistry,
  type Fault,
  index,
  layers,
  manifest,
  type Step,
  secretsIn,
  sendContent,
} from "../support/fake-registry.ts";
import { scratch, testContext } from "../support/image-support.ts";
import {
  atFirst,
  begin,
  cutThen,
  drip,
  elsewhereOf,
  endless,
  flipped,
  hangUp,
  instead,
  raw,
  redirect,
  redirectAllowed,
  samePath,
  stall,
  status,
} from "../support/registry-faults.ts";

interface Scenario extends FakeOptions {
  faults: Partial<Record<Step, Fault>>;
  /** How it ends; "ok" where the client is to cope. */
  code: FailureCode | "ok";
  /** What the failure says. */
  says?: RegExp;
  env?: Record<string, string>;
  /** Looks at what was asked for. */
  check?: (registry: FakeRegistry, elsewhere: FakeRegistry, warnings: string[]) => void;
}

const edit = (document: Buffer, change: (json: Record<string, unknown>) => void): Buffer => {
  const json = JSON.parse(document.toString());
  change(json);
  return Buffer.from(JSON.stringify(json));
};
const impatient = { ROOTLING_TRANSFER_TIMEOUT: "0.6", ROOTLING_TRANSFER_RETRIES: "1" };

const scenarios: Record<string, Scenario> = {
  "nothing is wrong, anonymous": { faults: {}, code: "ok" },
  "nothing is wrong, bearer": { auth: "bearer", faults: {}, code: "ok", check: (it) => assert.equal(it.tokens, 1) },
  "nothing is wrong, basic": { auth: "basic", faults: {}, code: "ok" },

  "the index is cut once": { faults: { index: atFirst(1, begin(0.2, "cut")) }, code: "ok" },
  "a layer drips": {
    faults: { layer: drip },
    code: "E_NETWORK",
    env: { ...impatient, ROOTLING_TRANSFER_RETRIES: "0" },
  },
  "the registry hangs up once at each step": {
    auth: "bearer",
    faults: Object.fromEntries(
      (["ping", "token", "index", "manifest", "config", "layer"] as const).map((step) => [step, atFirst(1, hangUp)]),
    ),
    code: "ok",
  },

  "a layer is cut once and goes on by range": {
    faults: { layer: cutThen(() => false) },
    code: "ok",
    check: (it) => assert.ok(it.asked("layer").some(({ headers }) => headers.range !== undefined)),
  },
  "a layer is cut and ranges are not known": {
    faults: {
      layer: cutThen((asked) => {
        delete asked.request.headers.range;
        sendContent(asked);
        return true;
      }),
    },
    code: "ok",
  },
  "a layer is cut and another range comes": {
    faults: {
      layer: cutThen(({ response, content }) => {
        const headers = { "content-range": `bytes 7-${content.length - 1}/${content.length}` };
        response.writeHead(206, headers).end(content.subarray(7));
        return true;
      }),
    },
    code: "ok",
  },
  "a layer is cut and the range is of something else": {
    faults: {
      layer: cutThen(({ request, response, content }) => {
        const from = Number(/[0-9]+/.exec(request.headers.range ?? "")?.[0]);
        const headers = { "content-range": `bytes ${from}-${content.length - 1}/${content.length}` };
        response.writeHead(206, headers).end(flipped(content.subarray(from)));
        return true;
      }),
    },
    code: "E_DIGEST",
  },
  "a part is sent where the whole was asked for": {
    faults: { layer: status(206, { "content-range": "bytes 0-3/9" }, "abcd") },
    code: "E_REGISTRY",
  },
  "a flipped byte in the manifest": { faults: { manifest: instead(flipped) }, code: "E_DIGEST" },
  "a flipped byte in the configuration": { faults: { config: instead(flipped) }, code: "E_DIGEST" },
  "a flipped byte in a layer": { faults: { layer: instead(flipped) }, code: "E_DIGEST" },
  "a layer that is too short": { faults: { layer: instead((content) => content.subarray(1)) }, code: "E_DIGEST" },
  "a layer that is too long": {
    faults: { layer: instead((content) => Buffer.concat([content, content])) },
    code: "E_DIGEST",
  },
  "a digest that is not the manifest's": {
    faults: { index: instead((content) => content, { "docker-content-digest": digestOf("other") }) },
    code: "E_DIGEST",
  },
  "an index of 5 MB": { faults: { index: instead(() => Buffer.alloc(5 << 20, " ")) }, code: "E_LIMIT" },
  "a token of 5 MB": {
    auth: "bearer",
    faults: { token: instead(() => Buffer.alloc(5 << 20, " ")) },
    code: "E_LIMIT",
  },
  "headers of 60 kB": {
    faults: { index: raw(`HTTP/1.1 200 OK\r\nx: ${"y".repeat(60_000)}\r\ncontent-length: 0\r\n\r\n`) },
    code: "E_LIMIT",
  },
  "no HTTP at all": { faults: { index: raw("SSH-2.0-OpenSSH_9.2\r\n") }, code: "E_NETWORK" },
  "an index that is no JSON": { faults: { index: instead(() => Buffer.from("<html>")) }, code: "E_MANIFEST" },
  "an index that is a manifest too": {
    faults: { index: instead((content) => edit(content, (json) => (json.layers = []))) },
    code: "E_MANIFEST",
  },
  "an index with a key twice": {
    faults: { index: instead((content) => Buffer.from(content.toString().replace("{", '{"manifests":[],'))) },
    code: "E_MANIFEST",
  },
  "a media type that contradicts": {
    faults: { index: instead((c) => c, { "content-type": "application/vnd.oci.image.manifest.v1+json" }) },
    code: "E_MANIFEST",
  },
  "a manifest of another media type than the index says": {
    faults: { manifest: instead((c) => c, { "content-type": "application/vnd.docker.distribution.manifest.v2+json" }) },
    code: "E_MANIFEST",
  },
  "a digest that leads out of the cache": {
    faults: { index: instead((c) => Buffer.from(c.toString().replaceAll(/sha256:[0-9a-f]{64}/g, "sha256:../../x"))) },
    code: "E_DIGEST",
  },
  "layers that are elsewhere by their URLs": {
    faults: {
      index: ({ response, registry }) => {
        const urls = [`http://${elsewhereOf.get(registry)?.host}/foreign`];
        const foreign = edit(manifest, (json) => {
          const type = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
          json.layers = [{ mediaType: type, digest: digestOf("foreign"), size: 7, urls }, (json.layers as object[])[1]];
        });
        response.end(foreign);
        return true;
      },
    },
    code: "E_NOT_FOUND",
    check: (_, elsewhere) => assert.equal(elsewhere.seen.length, 0),
  },

  "everything is redirected elsewhere": {
    auth: "bearer",
    faults: {
      index: redirectAllowed(),
      manifest: redirectAllowed(),
      config: redirectAllowed(),
      layer: redirectAllowed(),
    },
    code: "ok",
    check: (_, elsewhere) => {
      assert.ok(elsewhere.seen.length >= 4);
      assert.ok(elsewhere.seen.every(({ headers }) => headers.authorization === undefined));
    },
  },
  "the token request is redirected elsewhere": {
    auth: "bearer",
    faults: { token: redirect(samePath) },
    code: "E_DENIED",
    check: (_, elsewhere) => assert.equal(elsewhere.asked("token").length, 1),
  },
  "elsewhere asks for a login": {
    auth: "bearer",
    faults: {
      layer: redirect((host) => `http://${host}/token`),
    },
    code: "E_DENIED",
    check: (_, elsewhere) => {
      const asked = elsewhere.seen.filter(({ url }) => url === "/token");
      assert.ok(asked.length > 0 && asked.every(({ headers }) => headers.authorization === undefined));
    },
  },
  "redirects in a circle": { faults: { index: redirect((_, { request }) => request.url ?? "") }, code: "E_REGISTRY" },
  "a redirect to a file": { faults: { layer: redirect(() => "file:///etc/passwd") }, code: "E_REGISTRY" },
  "a redirect that is no address": { faults: { layer: redirect(() => "http://[") }, code: "E_REGISTRY" },
  "a redirect with a login in it": {
    faults: { layer: redirect((host, { request }) => `http://eve:x@${host}${request.url}`) },
    code: "ok",
    check: (_, elsewhere) => assert.ok(elsewhere.seen.every(({ headers }) => headers.authorization === undefined)),
  },

  "the realm is elsewhere": {
    auth: "bearer",
    realm: "http://ELSEWHERE/token",
    faults: {},
    code: "E_DENIED",
    check: (_, elsewhere) => assert.ok(elsewhere.asked("token").length > 0),
  },
  "the realm is a file": { auth: "bearer", realm: "file:///token", faults: {}, code: "E_REGISTRY" },
  "there is no realm": { auth: "bearer", realm: "", faults: {}, code: "E_REGISTRY" },
  "the realm has a login in it": { auth: "bearer", realm: "http://eve:x@SELF/token", faults: {}, code: "ok" },
  "a token that is two headers": {
    auth: "bearer",
    faults: { token: status(200, {}, '{"token":"a\\r\\nx: y"}') },
    code: "E_REGISTRY",
  },
  "no token": { auth: "bearer", faults: { token: status(200, {}, "{}") }, code: "E_REGISTRY" },
  "tokens that are never enough": {
    auth: "bearer",
    faults: {
      index: (asked) => status(401, { "www-authenticate": `Bearer realm="${asked.registry.origin}/token"` })(asked),
    },
    code: "E_DENIED",
    check: (it) => assert.ok(it.tokens <= 3, String(it.tokens)),
  },
  "a challenge of an unknown kind": {
    faults: { index: status(401, { "www-authenticate": "Negotiate abc" }) },
    code: "E_DENIED",
  },
  "tokens expire in the middle": {
    auth: "bearer",
    faults: {
      config: ({ registry, times }) => {
        if (times === 1) registry.revoked = registry.tokens;
        return false;
      },
      layer: ({ registry, times }) => {
        if (times === 1) registry.revoked = registry.tokens;
        return false;
      },
    },
    code: "ok",
    // One for the beginning, one for the configuration, and one for both layers together.
    check: (it) => assert.equal(it.tokens, 3),
  },
  "a token expires while a layer is on its way, and the layer is cut": {
    auth: "bearer",
    faults: {
      layer: (asked) => {
        if (asked.registry.revoked > 0 || asked.content.length <= 100_000) return false;
        asked.registry.revoked = asked.registry.tokens;
        return begin(0.3, "cut")(asked);
      },
    },
    code: "ok",
    check: (it) => {
      const [first, last] = [it.asked("layer")[0], it.asked("layer").at(-1)];
      assert.notEqual(first?.headers.authorization, last?.headers.authorization);
      assert.equal(it.tokens, 2);
    },
  },
  "tokens live for less than a second": { auth: "bearer", lifetime: 0.001, faults: {}, code: "ok" },

  "429 with a pause that is kept": {
    faults: { index: atFirst(1, status(429, { "retry-after": "1" })) },
    env: { ROOTLING_RETRY_WAIT: "2" },
    code: "ok",
    check: (_it, _elsewhere, warnings) => assert.match(warnings.join("\n"), /429.*next try in 1\.0 s/),
  },
  "429 with a pause until a date": {
    faults: { layer: atFirst(1, status(429, { "retry-after": new Date(Date.now() - 5000).toUTCString() })) },
    code: "ok",
  },
  "429 with a pause of a day": {
    faults: { index: status(429, { "retry-after": "86400" }) },
    code: "E_REGISTRY",
    says: /asks to wait 86400 seconds/,
    check: (it) => assert.equal(it.asked("index").length, 1),
  },
  "500 twice": { faults: { layer: atFirst(2, status(500)) }, code: "ok" },
  "words that steer a terminal": {
    faults: { index: status(418, {}, '{"errors":[{"message":"\\u001b[31m\\u202eevil"}]}') },
    code: "E_REGISTRY",
    says: /\\x1b\[31m\\u202eevil/,
  },
};

const steps: Step[] = ["ping", "token", "index", "manifest", "config", "layer"];
for (const step of steps) {
  for (const code of [401, 403, 404, 429, 500]) {
    const expected = (): FailureCode | "ok" => {
      // Only a look at whether TLS is spoken: any answer but 400 will do.
      if (step === "ping") return "ok";
      if (code === 401 || code === 403) return "E_DENIED";
      return code === 404 && step !== "token" ? "E_NOT_FOUND" : "E_REGISTRY";
    };
    scenarios[`${code} at the ${step}`] = { auth: "bearer", faults: { [step]: status(code) }, code: expected() };
  }
}

for (const step of steps) {
  const once = { ...impatient, ROOTLING_TRANSFER_RETRIES: "0" };
  scenarios[`the ${step} never comes`] = { auth: "bearer", faults: { [step]: stall }, code: "E_NETWORK", env: once };
  scenarios[`the ${step} is always hung up`] = { auth: "bearer", faults: { [step]: hangUp }, code: "E_NETWORK" };
  for (const code of [301, 302, 303, 307, 308]) {
    const early = step === "ping" || step === "token";
    scenarios[`${code} to elsewhere at the ${step}`] = {
      auth: "bearer",
      faults: { [step]: early ? redirect(samePath, code) : redirectAllowed(code) },
      code: step === "token" ? "E_DENIED" : "ok",
      check: (_, elsewhere) => {
        assert.ok(step === "ping" || elsewhere.seen.length > 0);
        assert.ok(elsewhere.seen.every(({ headers, body }) => headers.authorization === undefined && body === ""));
      },
    };
  }
}
for (const step of ["index", "manifest", "config", "layer"] as const) {
  scenarios[`the ${step} is cut in the middle`] = { faults: { [step]: begin(0.5, "cut") }, code: "E_NETWORK" };
  scenarios[`the ${step} stalls in the middle`] = {
    faults: { [step]: begin(0.5, "stall") },
    code: "E_NETWORK",
    env: impatient,
  };
  // A layer has the size that the manifest gives it; documents have limits of their own.
  const code = step === "layer" ? "E_DIGEST" : "E_LIMIT";
  scenarios[`the ${step} is a gigabyte`] = { faults: { [step]: endless(1 << 30) }, code };
  scenarios[`the ${step} never ends`] = { faults: { [step]: endless() }, code };
}

/** Nothing that is not right: no image, no half of one, and every blob has the digest that it is called by. */
function assertClean(layout: ReturnType<typeof testContext>["layout"], images: number): void {
  const names = (path: string): string[] => (existsSync(path) ? readdirSync(path) : []);
  assert.equal(names(layout.images).length, images);
  assert.deepEqual(names(layout.temporary), []);
  for (const name of names(layout.blobs)) {
    if (name.endsWith(".half")) continue;
    assert.equal(digestOf(readFileSync(join(layout.blobs, name))), `sha256:${name}`);
  }
}

async function play(t: TestContext, directory: string, scenario: Scenario): Promise<void> {
  const elsewhere = await new FakeRegistry({ auth: "none" }).start(t);
  const registry = await new FakeRegistry({ ...scenario }).start(t);
  elsewhereOf.set(registry, elsewhere);
  // Elsewhere gives tokens to nobody, and asks for a login where it was told to.
  if (scenario.realm !== undefined) {
    registry.options.realm = scenario.realm.replace("ELSEWHERE", elsewhere.host).replace("SELF", registry.host);
  }
  elsewhere.faults.token = status(401, { "www-authenticate": 'Basic realm="give"' });
  mkdirSync(join(directory, ".docker"), { recursive: true });
  const auths = { [registry.host]: { auth: BASIC } };
  writeFileSync(join(directory, ".docker/config.json"), JSON.stringify({ auths }));
  const { context, layout, warnings } = testContext(directory, {
    ROOTLING_RETRY_WAIT: "0.02",
    ROOTLING_TRANSFER_RETRIES: "2",
    ROOTLING_TRANSFER_TIMEOUT: "20",
    ...scenario.env,
  });
  const env = { HOME: directory, PATH: process.env.PATH, CONTAINERS_REGISTRIES_CONF: "/dev/null" };
  const pull = () =>
    importImage(context, layout, `docker://${registry.host}/team/app:1`, { registry: { env, uid: 1000 } });

  registry.faults = scenario.faults;
  const outcome = await pull().then(
    () => undefined,
    (error: unknown) => error,
  );
  if (scenario.code === "ok") {
    if (outcome !== undefined) throw outcome;
  } else {
    if (!(outcome instanceof Failure)) throw outcome ?? new Error("it succeeded");
    assert.equal(outcome.code, scenario.code, `${outcome.what} (${outcome.where})`);
    assert.ok(outcome.mend, "what can be done is said");
    const said = [outcome.what, outcome.where, outcome.mend].join(" ");
    if (scenario.says) assert.match(said, scenario.says);
    assert.deepEqual(secretsIn(said), []);
  }
  assertClean(layout, scenario.code === "ok" ? 1 : 0);
  scenario.check?.(registry, elsewhere, warnings);
  assert.deepEqual(secretsIn(elsewhere.seen), [], "a secret arrived elsewhere");
  assert.deepEqual(secretsIn(warnings), [], "a secret was said");
  assert.ok(
    registry.seen.every(({ url }) => secretsIn(url).length === 0),
    "a secret stands in an address",
  );

  registry.faults = {};
  delete registry.options.realm;
  const image = await pull();
  assert.equal(readFileSync(join(image.tree, "file"), "utf8"), "right");
  assertClean(layout, 1);
  assert.ok(existsSync(join(image.tree, "noise")));
}

test("registries that misbehave", { concurrency: 8 }, async (t) => {
  assert.ok(Object.keys(scenarios).length >= 40);
  const directory = scratch(t);
  await Promise.all(
    Object.entries(scenarios).map(([name, scenario], number) =>
      t.test(name, (inner) => play(inner, join(directory, String(number)), scenario)),
    ),
  );
});

test("the registry of these tests tells the truth by itself", () => {
  assert.equal(JSON.parse(index.toString()).manifests[0].digest, digestOf(manifest));
  assert.equal(JSON.parse(manifest.toString()).config.digest, digestOf(config));
  assert.equal(JSON.parse(manifest.toString()).layers[0].digest, digestOf(layers[0]));
});
