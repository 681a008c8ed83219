/**
 * policy.json: which images are accepted, with skopeo beside us, and signatures of GnuPG and of cosign. The latter skopeo
 * cannot verify here: Debian builds it without sigstore.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before, describe, type TestContext, test } from "node:test";
import { importImage } from "../../src/commands/import-image.ts";
import { digestOf } from "../../src/image/digest.ts";
import { parsePolicy, ruling } from "../../src/image/sources/policy.ts";
import type { Digest } from "../../src/image/types.ts";
import { command, must } from "../support/command.ts";
import { failsWith, scratch, tarOf, testContext, writeLayout } from "../support/image-support.ts";
import { type Registry, startRegistry } from "../support/registry.ts";
import { makeTemp } from "../support/temp.ts";

const temp = makeTemp();
const layer = tarOf([
  { path: "./", kind: "directory" },
  { path: "file", content: "signed" },
]);
let registry: Registry;
let manifest: Digest;
before(async () => {
  registry = await startRegistry();
  manifest = writeLayout(join(temp.path, "layout"), [layer]);
  for (const name of ["good", "other"])
    await makeKey(name, ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
  await makeKey("rsa", ["-algorithm", "RSA"]);
  await makeKey("ed", ["-algorithm", "ED25519"]);
});
after(async () => {
  await registry.stop();
  await temp.remove();
});

const keyFile = (name: string, part: "key" | "pub") => join(temp.path, `${name}.${part}`);

async function makeKey(name: string, how: readonly string[]): Promise<void> {
  await must(["openssl", "genpkey", ...how, "-out", keyFile(name, "key")]);
  await must(["openssl", "pkey", "-in", keyFile(name, "key"), "-pubout", "-out", keyFile(name, "pub")]);
}

/** Puts bytes into a repository of the registry. */
async function pushBlob(repository: string, bytes: Buffer) {
  const start = await fetch(`http://${registry.address}/v2/${repository}/blobs/uploads/`, { method: "POST" });
  const place = new URL(start.headers.get("location") ?? "", start.url);
  place.searchParams.set("digest", digestOf(bytes));
  const done = await fetch(place, { method: "PUT", body: new Uint8Array(bytes) });
  assert.equal(done.status, 201);
  return { digest: digestOf(bytes), size: bytes.length };
}

async function pushManifest(repository: string, tag: string, type: string, json: object): Promise<Digest> {
  const body = JSON.stringify(json);
  const url = `http://${registry.address}/v2/${repository}/manifests/${tag}`;
  const done = await fetch(url, { method: "PUT", body, headers: { "content-type": type } });
  assert.equal(done.status, 201, await done.text());
  return digestOf(body);
}

interface Signing {
  key?: string;
  /** What the signature says that it is for. */
  digest?: Digest;
  reference?: string;
  payload?: object;
}

const OCI = "application/vnd.oci.image";

/** Lays signatures beside `of`, as cosign does. */
async function sign(repository: string, of: Digest, signings: readonly Signing[]): Promise<void> {
  const layers = [];
  for (const [index, { key = "good", digest = of, reference, payload }] of signings.entries()) {
    const words = payload ?? {
      critical: {
        identity: { "docker-reference": reference ?? `${registry.address}/${repository}` },
        image: { "docker-manifest-digest": digest },
        type: "cosign container image signature",
      },
      optional: null,
    };
    const file = join(temp.path, `payload-${index}`);
    writeFileSync(file, JSON.stringify(words));
    const how = key === "ed" ? ["-rawin"] : ["-rawin", "-digest", "sha256"];
    const out = `${file}.sig`;
    await must(["openssl", "pkeyutl", "-sign", "-inkey", keyFile(key, "key"), ...how, "-in", file, "-out", out]);
    const annotations = { "dev.cosignproject.cosign/signature": readFileSync(out).toString("base64") };
    const mediaType = "application/vnd.dev.cosign.simplesigning.v1+json";
    layers.push({ mediaType, ...(await pushBlob(repository, readFileSync(file))), annotations });
  }
  const config = await pushBlob(repository, Buffer.from("{}"));
  const type = `${OCI}.manifest.v1+json`;
  await pushManifest(repository, `sha256-${of.slice("sha256:".length)}.sig`, type, {
    schemaVersion: 2,
    mediaType: type,
    config: { mediaType: `${OCI}.config.v1+json`, ...config },
    layers,
  });
}

/** A home with this policy, and what rootling and skopeo make of an image under it. */
async function under(t: TestContext, policy: object, registriesD?: string) {
  const home = scratch(t);
  const containers = join(home, ".config/containers");
  await mkdir(join(containers, "registries.d"), { recursive: true });
  writeFileSync(join(containers, "policy.json"), JSON.stringify(policy));
  writeFileSync(
    join(containers, "registries.d/default.yaml"),
    registriesD ?? "default-docker:\n  use-sigstore-attachments: true\n",
  );
  // Nobody's logins: without a session skopeo looks into /run/containers, which may be root's.
  writeFileSync(join(containers, "auth.json"), "{}");
  const logins = ["--authfile", join(containers, "auth.json")];
  let stores = 0;
  return {
    home,
    ours: async (source: string) => {
      const { context, layout } = testContext(join(home, `store-${stores++}`));
      return importImage(context, layout, source, { registry: { env: { HOME: home }, uid: 1000 } });
    },
    /** Why it refuses the image; empty where it does not. */
    skopeo: async (source: string): Promise<string> => {
      const copy = ["skopeo", "--policy", join(containers, "policy.json"), "--registries.d"].concat(
        join(containers, "registries.d"),
        ...[
          "copy",
          "-q",
          ...logins,
          "--src-tls-verify=false",
          "--remove-signatures",
          source,
          `dir:${home}/copy-${stores++}`,
        ],
      );
      const { status, stderr } = await command(copy);
      return status === 0 ? "" : stderr;
    },
  };
}

const signed = (key: string, more: object = {}) => ({ type: "sigstoreSigned", keyPath: keyFile(key, "pub"), ...more });
const anyTag = { signedIdentity: { type: "matchRepository" } };

describe("signatures", () => {
  /** Each: how it is signed, what is asked for, and whether it is accepted; `source` is what follows the repository. */
  const cases: Record<
    string,
    { signings: Signing[]; requirement: () => object; accepted: boolean; source?: () => string; why?: RegExp }
  > = {
    "by the key of the policy": { signings: [{}], requirement: () => signed("good", anyTag), accepted: true },
    "by another key": {
      signings: [{ key: "other" }],
      requirement: () => signed("good", anyTag),
      accepted: false,
      why: /not signed by the key/,
    },
    "by both, the right one last": {
      signings: [{ key: "other" }, {}],
      requirement: () => signed("good", anyTag),
      accepted: true,
    },
    none: { signings: [], requirement: () => signed("good", anyTag), accepted: false, why: /it has none/ },
    "a key in the policy itself": {
      signings: [{}],
      requirement: () => ({
        type: "sigstoreSigned",
        keyData: readFileSync(keyFile("good", "pub")).toString("base64"),
        ...anyTag,
      }),
      accepted: true,
    },
    RSA: { signings: [{ key: "rsa" }], requirement: () => signed("rsa", anyTag), accepted: true },
    Ed25519: { signings: [{ key: "ed" }], requirement: () => signed("ed", anyTag), accepted: true },
    "of another image": {
      signings: [{ digest: digestOf("another") }],
      requirement: () => signed("good", anyTag),
      accepted: false,
      why: /another image/,
    },
    "of another repository": {
      signings: [{ reference: "other.example/app" }],
      requirement: () => signed("good", anyTag),
      accepted: false,
      why: /signed as other\.example\/app/,
    },
    "without tag, where the tag has to be signed": {
      signings: [{}],
      requirement: () => signed("good"),
      accepted: false,
      why: /signed as/,
    },
    "without tag, for an image named by its digest": {
      signings: [{}],
      requirement: () => signed("good"),
      accepted: true,
      source: () => `@${manifest}`,
    },
    "of a name that the policy says": {
      signings: [{ reference: "public.example/app" }],
      requirement: () =>
        signed("good", { signedIdentity: { type: "exactRepository", dockerRepository: "public.example/app" } }),
      accepted: true,
    },
    "words that are more than those of a signature": {
      signings: [{ payload: { critical: {}, optional: null, more: true } }],
      requirement: () => signed("good", anyTag),
      accepted: false,
      why: /no signature of an image/,
    },
  };

  for (const [name, { signings, requirement, accepted, source = () => ":1", why }] of Object.entries(cases)) {
    test(`${name}: ${accepted ? "accepted" : "refused"}`, async (t) => {
      const repository = name.toLowerCase().replace(/[^a-z0-9]+/g, "-");
      await registry.push(`${temp.path}/layout:latest`, `${repository}:1`);
      if (signings.length > 0) await sign(repository, manifest, signings);
      const policy = { default: [{ type: "reject" }], transports: { docker: { [registry.address]: [requirement()] } } };
      const { ours } = await under(t, policy);
      const image = `docker://${registry.address}/${repository}${source()}`;
      if (accepted) assert.equal((await ours(image)).digest, manifest);
      else await assert.rejects(ours(image), failsWith("E_POLICY", why));
    });
  }

  test("two requirements hold at once", async (t) => {
    await registry.push(`${temp.path}/layout:latest`, "twice:1");
    await sign("twice", manifest, [{}]);
    const both = await under(t, { default: [signed("good", anyTag), signed("other", anyTag)] });
    const image = `docker://${registry.address}/twice:1`;
    await assert.rejects(both.ours(image), failsWith("E_POLICY", /not signed by the key/));
    await sign("twice", manifest, [{}, { key: "other" }]);
    await both.ours(image);
  });

  test("what is signed is the index: its images are accepted by way of it", async (t) => {
    await registry.push(`${temp.path}/layout:latest`, "many:one");
    const type = `${OCI}.index.v1+json`;
    const architecture = process.arch === "arm64" ? "arm64" : "amd64";
    const size = readFileSync(join(temp.path, "layout/blobs/sha256", manifest.slice(7))).length;
    const index = await pushManifest("many", "1", type, {
      schemaVersion: 2,
      mediaType: type,
      manifests: [
        { mediaType: `${OCI}.manifest.v1+json`, digest: manifest, size, platform: { os: "linux", architecture } },
      ],
    });
    await sign("many", index, [{}]);
    const { ours } = await under(t, { default: [signed("good", anyTag)] });
    await ours(`docker://${registry.address}/many:1`);
    // The same manifest without the index has no signature.
    await assert.rejects(ours(`docker://${registry.address}/many:one`), failsWith("E_POLICY", /none/));
  });

  test("registries.d: signatures are not looked for where it says so", async (t) => {
    await registry.push(`${temp.path}/layout:latest`, "hidden:1");
    await sign("hidden", manifest, [{}]);
    const image = `docker://${registry.address}/hidden:1`;
    const policy = { default: [signed("good", anyTag)] };
    const off = await under(t, policy, "default-docker:\n  use-sigstore-attachments: false\n");
    await assert.rejects(off.ours(image), failsWith("E_POLICY", /none/));
    const narrower = `docker:\n  ${registry.address}/hidden:\n    use-sigstore-attachments: true\n`;
    await (await under(t, policy, `${narrower}default-docker:\n  use-sigstore-attachments: false\n`)).ours(image);
    await (await under(t, policy, "docker: {}\n")).ours(image);
    await assert.rejects((await under(t, policy, "docker: [\n")).ours(image), failsWith("E_SETTING", /YAML/));
  });

  test("a key that is none is told, not passed over", async (t) => {
    await registry.push(`${temp.path}/layout:latest`, "keys:1");
    await sign("keys", manifest, [{}]);
    const image = `docker://${registry.address}/keys:1`;
    for (const keyPath of [keyFile("good", "key"), join(temp.path, "none"), temp.path, "/dev/zero"]) {
      const requirement = { type: "sigstoreSigned", keyPath, ...anyTag };
      const { ours } = await under(t, { default: [requirement] });
      await assert.rejects(ours(image), failsWith("E_SETTING", /key/));
    }
  });
});

describe("signatures of GnuPG, made by skopeo and read alike", () => {
  const gnupg = join(temp.path, "gnupg");
  const env = { ...process.env, GNUPGHOME: gnupg } as Record<string, string>;
  const gpg = (...words: string[]) => must(["gpg", "--batch", "--quiet", "--passphrase", "", ...words], { env });
  const ring = (name: string) => join(temp.path, `${name}.gpg`);
  before(async () => {
    await mkdir(gnupg, { mode: 0o700 });
    for (const name of ["maker", "stranger"]) {
      await gpg("--quick-gen-key", `${name}@t.example`, "ed25519", "sign", "never");
      await gpg("--output", ring(name), "--export", `${name}@t.example`);
      await gpg("--armor", "--output", `${ring(name)}.asc`, "--export", `${name}@t.example`);
    }
  });
  after(() => must(["gpgconf", "--kill", "all"], { env }));

  const by = (keys: object, more: object = {}) => ({ type: "signedBy", keyType: "GPGKeys", ...keys, ...more });

  test("by the keys of the policy, binary, in ASCII armour or in the policy; for another name, or none at all", async (t) => {
    const lookaside = scratch(t);
    const served = `default-docker:\n  lookaside: file://${lookaside}\n`;
    const signer = await under(t, { default: [{ type: "insecureAcceptAnything" }] }, served);
    const target = `docker://${registry.address}/gpg/app:1`;
    const flags = ["--registries.d", join(signer.home, ".config/containers/registries.d"), "--dest-tls-verify=false"];
    const copy = [
      "skopeo",
      "--insecure-policy",
      "copy",
      "-q",
      "--authfile",
      registry.logins,
      ...flags,
      "--format",
      "oci",
    ];
    await must([...copy, "--sign-by", "maker@t.example", `oci:${temp.path}/layout:latest`, target], { env });
    const image = `${target.slice(0, -2)}@${manifest}`;
    const [maker, armoured, stranger] = [ring("maker"), `${ring("maker")}.asc`, ring("stranger")];
    const remap = { type: "remapIdentity", prefix: registry.address, signedPrefix: "vendor.example" };
    for (const [requirement, source, accepted, why] of [
      [by({ keyPath: maker }), target, true],
      [by({ keyPath: maker }), image, true],
      [by({ keyPath: armoured }), target, true],
      [by({ keyPaths: [stranger, maker] }), target, true],
      [by({ keyData: readFileSync(maker).toString("base64") }), target, true],
      [by({ keyPath: stranger }), target, false, /not signed by the key/],
      [by({ keyPath: maker }, { signedIdentity: { type: "matchExact" } }), image, false, /signed as/],
      [by({ keyPath: maker }, { signedIdentity: remap }), target, false, /signed as .*gpg\/app:1/],
    ] as const) {
      const { ours, skopeo } = await under(t, { default: [requirement] }, served);
      if (accepted) assert.equal((await ours(source)).digest, manifest);
      else await assert.rejects(ours(source), failsWith("E_POLICY", why));
      const refused = await skopeo(source);
      assert.equal(refused === "", accepted, `${JSON.stringify(requirement)}: ${refused}`);
    }

    // What others put there: bytes that are no message, and a part of one.
    const policy = { default: [by({ keyPath: maker })] };
    const place = join(lookaside, "gpg", readdirSync(join(lookaside, "gpg"))[0] ?? "", "signature-1");
    const good = readFileSync(place);
    for (const bytes of [Buffer.from("no message"), good.subarray(0, -20)]) {
      writeFileSync(place, bytes);
      const { ours } = await under(t, policy, served);
      await assert.rejects(ours(target), failsWith("E_POLICY", /not signed by the key/));
    }
    await rm(place);
    await assert.rejects((await under(t, policy, served)).ours(target), failsWith("E_POLICY", /it has none/));
    const nowhere = await under(t, policy, "default-docker:\n  lookaside-staging: file:///x\n");
    await assert.rejects(nowhere.ours(target), failsWith("E_POLICY", /it has none/));
  });

  test("a storage that is a web server, the second signature being the right one", async (t) => {
    await registry.push(`${temp.path}/layout:latest`, "web/app:1");
    const words = (reference: string) =>
      JSON.stringify({
        critical: {
          identity: { "docker-reference": reference },
          image: { "docker-manifest-digest": manifest },
          type: "atomic container signature",
        },
        optional: {},
      });
    const name = `${registry.address}/web/app:1`;
    const signatures: Buffer[] = [];
    for (const reference of ["other.example/web/app:1", name]) {
      const file = join(scratch(t), "words");
      writeFileSync(file, words(reference));
      await gpg("--local-user", "maker@t.example", "--output", `${file}.sig`, "--sign", file);
      signatures.push(readFileSync(`${file}.sig`));
    }
    let failing = 0;
    const server = createServer((request, response) => {
      const base = `/kept/web/app@sha256=${manifest.slice(7)}/signature-`;
      const found = request.url?.startsWith(base) ? signatures[Number(request.url.slice(base.length)) - 1] : undefined;
      response.writeHead(failing || (found === undefined ? 404 : 200)).end(found);
    }).listen(0, "127.0.0.1");
    t.after(() => server.close());
    await new Promise((ready) => server.once("listening", ready));
    const { port } = server.address() as AddressInfo;
    const served = `docker:\n  ${registry.address}/web:\n    lookaside: http://127.0.0.1:${port}/kept/\n`;
    const policy = { default: [by({ keyPath: ring("maker") })] };
    const { ours } = await under(t, policy, served);
    await ours(`docker://${name}`);
    failing = 403;
    await assert.rejects(ours(`docker://${name}`), failsWith("E_REGISTRY", /answered 403/));
  });
});

test("rejected before anything is asked of anybody; other sources by their transports", async (t) => {
  const oci = `oci:${temp.path}/layout`;
  const tarball = join(temp.path, "root.tar");
  writeFileSync(tarball, layer);
  const rejecting = await under(t, { default: [{ type: "reject" }] });
  // Nobody answers at this address: a request would fail otherwise.
  for (const source of ["docker://127.0.0.1:1/app", oci, tarball, "dockerd://app", "podman://app"]) {
    await assert.rejects(rejecting.ours(source), failsWith("E_POLICY", /rejects this image/), source);
  }
  const anything = [{ type: "insecureAcceptAnything" }];
  const transports = { oci: { [temp.path]: anything }, tarball: { "": anything } };
  const some = await under(t, { default: [{ type: "reject" }], transports });
  await some.ours(oci);
  await some.ours(tarball);
  const asking = await under(t, { default: [signed("good")] });
  await assert.rejects(asking.ours(oci), failsWith("E_POLICY", /only images of registries/));
  const gpg = { type: "signedBy", keyType: "X509Certificates", keyPath: "/k" };
  const fulcio = { type: "sigstoreSigned", fulcio: {}, rekorPublicKeyPath: "/k" };
  for (const requirement of [gpg, fulcio]) {
    const { ours } = await under(t, { default: [requirement] });
    await assert.rejects(ours("docker://127.0.0.1:1/app"), failsWith("E_POLICY", /not supported/));
  }
});

test("a policy that is not understood makes every import fail", () => {
  const good = { default: [{ type: "reject" }] };
  const wrong: unknown[] = [
    [],
    {},
    { ...good, more: 1 },
    { default: [] },
    { default: [{ type: "unknown" }] },
    { default: [{}] },
    { default: [{ type: "reject", more: 1 }] },
    { ...good, transports: [] },
    { ...good, transports: { docker: [] } },
    { ...good, transports: { docker: { "": [{ type: "new" }] } } },
    { default: [{ type: "sigstoreSigned" }] },
    { default: [{ type: "sigstoreSigned", keyPath: "/a", keyData: "YQ==" }] },
    { default: [{ type: "sigstoreSigned", keyData: "*" }] },
    { default: [{ type: "sigstoreSigned", keyPath: "/a", more: 1 }] },
    { default: [{ type: "sigstoreSigned", keyPath: "/a", signedIdentity: { type: "any" } }] },
    { default: [{ type: "signedBy", keyType: "GPGKeys", keyPath: "/a", keyDatas: ["YQ=="] }] },
    { default: [{ type: "signedBy", keyType: "GPGKeys" }] },
    { default: [{ type: "sigstoreSigned", keyPath: "/a", signedIdentity: { type: "exactRepository" } }] },
  ];
  const parse = (text: string) => parsePolicy(Buffer.from(text), "policy.json");
  for (const policy of wrong) {
    assert.throws(() => parse(JSON.stringify(policy)), failsWith("E_SETTING"), JSON.stringify(policy));
  }
  const twice = '{"default":[{"type":"reject"}],"default":[{"type":"insecureAcceptAnything"}]}';
  assert.throws(() => parse(twice), failsWith("E_SETTING", /twice/));
  assert.deepEqual(ruling(parse(JSON.stringify(good)), "docker", []).requirements, good.default);
});

test("the narrowest scope decides, as it does for skopeo", async (t) => {
  await registry.push(`${temp.path}/layout:latest`, "a/b/app:1");
  const accept = [{ type: "insecureAcceptAnything" }];
  const reject = [{ type: "reject" }];
  const { address } = registry;
  const image = `docker://${address}/a/b/app:1`;
  const oci = `oci:${temp.path}/layout:latest`;
  for (const [source, transports, accepted] of [
    [image, { docker: { "": accept } }, true],
    [image, { docker: { "": accept, [address]: reject } }, false],
    [image, { docker: { [address]: reject, [`${address}/a`]: accept } }, true],
    [image, { docker: { [`${address}/a`]: accept, [`${address}/a/b`]: reject } }, false],
    [image, { docker: { [`${address}/a/b`]: reject, [`${address}/a/b/app`]: accept } }, true],
    [image, { docker: { [`${address}/a/b/app`]: accept, [`${address}/a/b/app:1`]: reject } }, false],
    [image, { docker: { [`${address}/a/b/ap`]: accept, [`${address}/a/b/app:2`]: accept } }, false],
    [image, { docker: { "*.0.0.1": accept } }, true],
    [image, { docker: { "127.0.0.1": accept } }, false],
    [image, { oci: { "": accept } }, false],
    [oci, { oci: { [temp.path]: accept } }, true],
    [oci, { oci: { [temp.path]: accept, [`${temp.path}/layout`]: reject } }, false],
    [oci, { oci: { [`${temp.path}/layout`]: accept, [`${temp.path}/layout:latest`]: reject } }, true],
    [oci, { oci: { [`${temp.path}/lay`]: accept } }, false],
    [oci, { dir: { "": accept } }, false],
  ] as const) {
    const { ours, skopeo } = await under(t, { default: reject, transports });
    const said = JSON.stringify([source, transports]);
    if (accepted) await ours(source);
    else await assert.rejects(ours(source), failsWith("E_POLICY", /rejects/), said);
    const refused = await skopeo(source);
    assert.equal(refused === "", accepted, `${said}: ${refused}`);
  }
});
