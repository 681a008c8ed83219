/** Names in policy.json: the scopes that an image is in, and which identities a signature may claim for it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { identityAllows, readIdentityRule, scopesOf } from "../../src/image/sources/policy-identity.ts";
import { type DockerReference, parseSource } from "../../src/image/sources/reference.ts";

const docker = (name: string) => parseSource(`docker://${name}`) as DockerReference;

test("scopes of a name", () => {
  assert.deepEqual(scopesOf(docker("debian")), [
    ...["docker.io/library/debian:latest", "docker.io/library/debian", "docker.io/library", "docker.io", "*.io"],
  ]);
  assert.deepEqual(scopesOf(docker("a.b.example:5000/x/y:1")), [
    ...["a.b.example:5000/x/y:1", "a.b.example:5000/x/y", "a.b.example:5000/x", "a.b.example:5000"],
    ...["*.b.example", "*.example"],
  ]);
});

test("identities: what a signature says and what is asked for", () => {
  const fail = (what: string) => assert.fail(what);
  const digest = `sha256:${"a".repeat(64)}`;
  const remap = { type: "remapIdentity", prefix: "mirror.example/v", signedPrefix: "vendor.example" };
  for (const [rule, image, claim, expected] of [
    ["matchExact", "a.example/b:1", "a.example/b:1", true],
    ["matchExact", "a.example/b:1", "a.example/b:2", false],
    ["matchExact", `a.example/b@${digest}`, "a.example/b:1", false],
    ["matchRepoDigestOrExact", `a.example/b@${digest}`, "a.example/b:1", true],
    ["matchRepoDigestOrExact", `a.example/b@${digest}`, "a.example/c:1", false],
    ["matchRepoDigestOrExact", "a.example/b:1", "a.example/b", false],
    ["matchRepository", "debian:12", "docker.io/library/debian", true],
    ["matchRepository", "debian:12", "debian", true],
    ["matchRepository", "a.example/b", "user@a.example/b", false],
    ["matchRepository", "a.example/b", "a.example#b", false],
    ["matchRepository", "a.example/b", "A B", false],
    [remap, "mirror.example/v/app:1", "vendor.example/app:1", true],
    [remap, "mirror.example/v/app:1", "mirror.example/v/app:1", false],
    [remap, "mirror.example/vx/app:1", "mirror.example/vx/app:1", true],
  ] as const) {
    const parsed = readIdentityRule(typeof rule === "string" ? { type: rule } : rule, fail);
    assert.equal(identityAllows(parsed, docker(image), claim), expected, JSON.stringify([rule, image, claim]));
  }
});
