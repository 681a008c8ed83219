/** From an index to the manifest of a platform, nested and hostile ones too (threats 16, 19). */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { importImage } from "../../src/commands/import-image.ts";
import { digestHex, digestOf } from "../../src/image/digest.ts";
import { type IndexEntry, resolveManifest } from "../../src/image/sources/manifest.ts";
import type { Digest, Platform } from "../../src/image/types.ts";
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

test("the variant that fits best is chosen, and none that the machine cannot run", async () => {
  const arm = (variant?: string) => ({ os: "linux", architecture: "arm", ...(variant ? { variant } : {}) });
  const chosen = async (wanted: Platform, offered: Platform[]) => {
    const manifests = offered.map((platform, i) => ({ digest: digestOf(String(i)), size: 1, platform }));
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: `${OCI}.index.v1+json`, manifests }));
    const start = { digest: digestOf(bytes), bytes, mediaType: undefined };
    let found: IndexEntry | undefined;
    const stop = async (entry: IndexEntry) => {
      found = entry;
      throw new Error("stop");
    };
    await resolveManifest(start, wanted, stop, "x").catch((error: Error) => {
      if (error.message !== "stop") throw error;
    });
    return found?.platform?.variant ?? "none";
  };
  const cases: [Platform, Platform[], string][] = [
    [arm("v7"), [arm("v5"), arm("v6"), arm("v8")], "v6"],
    [arm("v7"), [arm("v6"), arm("v7")], "v7"],
    [arm("v6"), [arm("v7"), arm()], "none"],
    [arm(), [arm("v8"), arm("v5"), arm("v7")], "v7"],
    [arm("v8"), [arm("v5"), arm("v7")], "v7"],
    [{ os: "linux", architecture: "arm64" }, [arm("v8"), { os: "linux", architecture: "arm64", variant: "v8" }], "v8"],
    [{ os: "linux", architecture: "arm64", variant: "v8" }, [{ os: "linux", architecture: "arm64" }], "none"],
    [
      { os: "linux", architecture: "amd64" },
      [
        { os: "linux", architecture: "amd64", variant: "v3" },
        { os: "linux", architecture: "amd64" },
      ],
      "none",
    ],
    [
      { os: "linux", architecture: "amd64", variant: "v3" },
      [
        { os: "linux", architecture: "amd64" },
        { os: "linux", architecture: "amd64", variant: "v2" },
      ],
      "v2",
    ],
  ];
  for (const [wanted, offered, expected] of cases) assert.equal(await chosen(wanted, offered), expected);
  await assert.rejects(chosen(arm("v6"), [arm("v7")]), failsWith("E_PLATFORM", /linux\/arm\/v7/));
});
