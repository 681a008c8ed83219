/** Tokens, redirects and indexes, with a registry of the test's own: no secret goes where it does not belong. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { importImage } from "../../src/commands/import-image.ts";
import { digestHex, digestOf } from "../../src/image/digest.ts";
import type { Digest } from "../../src/image/types.ts";
import { failsWith, scratch, tarOf, testContext, writeLayout } from "../support/image-support.ts";

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

async function serve(t: TestContext, handler: Handler): Promise<string> {
  const server = createServer(handler);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `127.0.0.1:${(server.address() as { port: number }).port}`;
}

function layoutOf(t: TestContext) {
  const directory = scratch(t);
  const manifest = writeLayout(join(directory, "layout"), [tarOf([{ path: "file", content: "x" }])]);
  const blob = (digest: Digest) => readFileSync(join(directory, "layout/blobs/sha256", digestHex(digest)));
  return { directory, manifest, blob };
}

const OCI = "application/vnd.oci.image";
const digestIn = (url = "") => decodeURIComponent(url.split("/").at(-1) ?? "") as Digest;

test("a token is fetched once and not sent on to where a blob is redirected", async (t) => {
  const { directory, manifest, blob } = layoutOf(t);
  const seenElsewhere: (string | undefined)[] = [];
  const elsewhere = await serve(t, (request, response) => {
    seenElsewhere.push(request.headers.authorization);
    response.end(blob(digestIn(request.url)));
  });
  let tokens = 0;
  const registry = await serve(t, (request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? "", "http://x");
    if (pathname === "/token") {
      tokens++;
      assert.equal(searchParams.get("scope"), "repository:a/b:pull");
      assert.equal(searchParams.get("service"), "it");
      response.end(JSON.stringify({ token: "secret" }));
    } else if (request.headers.authorization !== "Bearer secret") {
      const challenge = `Bearer realm="http://${registry}/token",service="it",scope="repository:x:push"`;
      response.writeHead(401, { "www-authenticate": challenge }).end();
    } else if (pathname.startsWith("/v2/a/b/manifests/")) {
      response.writeHead(200, { "content-type": `${OCI}.manifest.v1+json` }).end(blob(manifest));
    } else response.writeHead(307, { location: `http://${elsewhere}${pathname}` }).end();
  });
  const { context, layout } = testContext(directory);
  const image = await importImage(context, layout, `docker://${registry}/a/b:1`);
  assert.equal(readFileSync(join(image.tree, "file"), "utf8"), "x");
  assert.equal(tokens, 1);
  assert.deepEqual(seenElsewhere, [undefined, undefined]);
});

test("nested indexes lead to the platform; endless and foreign ones are refused", async (t) => {
  const { directory, manifest, blob } = layoutOf(t);
  const documents = new Map<string, Buffer>([[manifest, blob(manifest)]]);
  const index = (digest: string, architecture: string, more: object[] = []): Digest => {
    const size = documents.get(digest)?.length ?? 0;
    const manifests = [...more, { digest, size, platform: { os: "linux", architecture } }];
    const content = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: `${OCI}.index.v1+json`, manifests }));
    documents.set(digestOf(content), content);
    return digestOf(content);
  };
  const architecture = process.arch === "arm64" ? "arm64" : "amd64";
  const attestation = { digest: manifest, size: 1, platform: { os: "unknown", architecture: "unknown" } };
  documents.set(
    "good",
    documents.get(index(index(manifest, architecture), architecture, [attestation])) ?? Buffer.alloc(0),
  );
  documents.set("foreign", documents.get(index(manifest, "s390x", [attestation])) ?? Buffer.alloc(0));
  let deep = manifest;
  for (let i = 0; i < 8; i++) deep = index(deep, architecture);
  documents.set("deep", documents.get(deep) ?? Buffer.alloc(0));
  const registry = await serve(t, (request, response) => {
    const name = digestIn(request.url);
    const found = documents.get(name);
    if (request.url?.includes("/blobs/")) response.end(blob(name));
    else if (found === undefined) response.writeHead(404).end();
    else response.end(found);
  });
  const { context, layout } = testContext(directory);
  const image = await importImage(context, layout, `docker://${registry}/x:good`);
  assert.equal(image.digest, manifest);
  await assert.rejects(
    importImage(context, layout, `docker://${registry}/x:foreign`),
    failsWith("E_PLATFORM", /it has: linux\/s390x;/),
  );
  await assert.rejects(importImage(context, layout, `docker://${registry}/x:deep`), failsWith("E_LIMIT"));
});

test("a registry that lies, stalls or stops gets a clear failure", async (t) => {
  const { directory, manifest, blob } = layoutOf(t);
  const cases: Record<string, { handler: Handler; code: Parameters<typeof failsWith>[0] }> = {
    forbidden: { handler: (_, response) => void response.writeHead(403).end(), code: "E_DENIED" },
    basic: {
      handler: (_, r) => void r.writeHead(401, { "www-authenticate": 'Basic realm="x"' }).end(),
      code: "E_DENIED",
    },
    busy: { handler: (_, response) => void response.writeHead(503).end("\u001b[31m"), code: "E_REGISTRY" },
    stalls: { handler: () => {}, code: "E_NETWORK" },
    loops: {
      handler: (request, r) => void r.writeHead(302, { location: request.url ?? "" }).end(),
      code: "E_REGISTRY",
    },
    "large manifest": { handler: (_, response) => void response.end(Buffer.alloc(5 << 20, " ")), code: "E_LIMIT" },
    "cut blob": {
      handler: (request, response) => {
        if (request.url?.includes("/manifests/")) response.end(blob(manifest));
        else response.writeHead(200, { "content-length": "100000" }).write("x", () => response.destroy());
      },
      code: "E_NETWORK",
    },
    "short blob": {
      handler: (request, response) => {
        const content = request.url?.includes("/manifests/") ? blob(manifest) : blob(digestIn(request.url));
        response.end(request.url?.includes("/manifests/") ? content : content.subarray(0, -1));
      },
      code: "E_DIGEST",
    },
  };
  for (const [name, { handler, code }] of Object.entries(cases)) {
    const registry = await serve(t, handler);
    const { context, layout } = testContext(join(directory, name), { ROOTLING_TRANSFER_TIMEOUT: "1" });
    await assert.rejects(importImage(context, layout, `docker://${registry}/x:1`), failsWith(code), name);
  }
  const { context, layout } = testContext(directory);
  await assert.rejects(importImage(context, layout, "docker://127.0.0.1:1/x"), failsWith("E_NETWORK", /127.0.0.1:1/));
});
