/** Files of credentials and registries.conf, as the manual pages of their makers have them. */
import assert from "node:assert/strict";
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { CredentialStore } from "../../src/image/sources/credentials.ts";
import { candidatesOf, endpointsOf } from "../../src/image/sources/endpoints.ts";
import { parseNetrc } from "../../src/image/sources/netrc.ts";
import { type DockerReference, parseSource } from "../../src/image/sources/reference.ts";
import { readRegistriesConf } from "../../src/image/sources/registries-conf.ts";
import { PASSWORD, secretsIn } from "../support/fake-registry.ts";
import { failsWith, scratch } from "../support/image-support.ts";

const login = (user: string, password = "x") => ({ auth: Buffer.from(`${user}:${password}`).toString("base64") });

/** A home whose files are given as JSON or text, and a look at who is found for what. */
function home(t: TestContext, files: Record<string, object | string>, helpers: string[] = []) {
  const directory = scratch(t);
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(directory, name)), { recursive: true });
    writeFileSync(join(directory, name), typeof content === "string" ? content : JSON.stringify(content));
    if (name.startsWith("bin/")) chmodSync(join(directory, name), 0o755);
  }
  const warnings: string[] = [];
  const env: Record<string, string> = {
    HOME: directory,
    XDG_RUNTIME_DIR: join(directory, "run"),
    PATH: `${join(directory, "bin")}:/usr/bin:/bin`,
  };
  const find = async (host: string, repository?: string, user?: string) => {
    const context = {
      options: { env, uid: 1000 },
      helpers,
      signal: new AbortController().signal,
      warn: (message: string) => void warnings.push(message),
    };
    const found = await new CredentialStore(context, user).find(host, repository, user !== undefined);
    return found?.kind === "identity" ? found.token : found?.user;
  };
  return { directory, env, find, warnings };
}

test("credentials: the files in their order, the longest namespace first", async (t) => {
  const { find, env, directory } = home(t, {
    "run/containers/auth.json": { auths: { "one.example/a/b": login("session-ab"), "one.example": login("session") } },
    ".config/containers/auth.json": { auths: { "one.example/a": login("config-a"), "two.example": login("config") } },
    ".docker/config.json": {
      auths: {
        "https://index.docker.io/v1/": login("hub"),
        "two.example": login("docker"),
        "https://old.example/v2/": login("old"),
        "empty.example": {},
        "id.example": { ...login("00000000", ""), identitytoken: "the-token" },
        "colon.example": login("me", "a:b:c"),
      },
    },
    ".dockercfg": { "oldest.example": login("oldest"), "two.example": login("no") },
    ".netrc": "machine empty.example login net password x\nmachine port.example:5000 login ported password y\n",
    "other.json": { auths: { "one.example": login("other") } },
  });
  const expected: [string, string | undefined, string | undefined][] = [
    ["one.example", "a/b", "session-ab"],
    ["one.example", "a/b/c", "session-ab"],
    ["one.example", "a", "session"],
    ["one.example", "ab", "session"],
    ["one.example", undefined, "session"],
    ["one.example:5000", "a", undefined],
    ["two.example", "x", "config"],
    ["docker.io", "library/debian", "hub"],
    ["old.example", "x", "old"],
    ["oldest.example", "x", "oldest"],
    ["empty.example", "x", "net"],
    ["empty.example:5000", "x", "net"],
    ["port.example", "x", undefined],
    ["port.example:5000", "x", "ported"],
    ["id.example", "x", "the-token"],
    ["__proto__", "x", undefined],
  ];
  for (const [host, repository, user] of expected)
    assert.equal(await find(host, repository), user, `${host}/${repository}`);
  // Whose credentials are wanted was said.
  assert.equal(await find("two.example", "x", "docker"), "docker");
  assert.equal(await find("two.example", "x", "nobody"), undefined);
  env.REGISTRY_AUTH_FILE = join(directory, "other.json");
  assert.equal(await find("one.example", "a/b"), "other");
  assert.equal(await find("two.example", "x"), undefined);
  env.REGISTRY_AUTH_FILE = join(directory, "missing.json");
  await assert.rejects(find("one.example"), failsWith("E_SETTING", /missing\.json/));
});

test("a damaged file of credentials is named, and not quoted", async (t) => {
  const { find } = home(t, { ".docker/config.json": `{"auths":{"x":{"auth":"${PASSWORD}` });
  await assert.rejects(find("x"), (error: Error) => {
    const { cause } = error;
    return failsWith("E_SETTING", /config\.json/)(error) && secretsIn([String(error), String(cause)]).length === 0;
  });
});

const helper = `#!/bin/sh
read -r server
printf '%s|%s\\n' "$*" "$server" >>"$HOME/asked"
case $server in
  token.example) echo '{"ServerURL":"x","Username":"<token>","Secret":"the-token"}' ;;
  none.example) echo 'credentials not found in native keychain'; exit 1 ;;
  broken.example) echo '${PASSWORD}'; echo '${PASSWORD}' >&2; exit 1 ;;
  *) printf '{"Username":"helped %s","Secret":"${PASSWORD}"}' "$server" ;;
esac
`;

test("credential helpers: asked on standard input, for their registries or for all", async (t) => {
  const { find, warnings, directory } = home(t, {
    "bin/docker-credential-good": helper,
    ".config/containers/auth.json": {
      auths: { "good.example": login("not-this") },
      credHelpers: { "good.example": "good", "missing.example": "missing", "docker.io": "good" },
    },
    ".docker/config.json": { credsStore: "good", auths: { "stored.example": {}, "plain.example": login("plain") } },
  });
  assert.equal(await find("good.example", "a/b"), "helped good.example");
  assert.equal(await find("docker.io", "library/debian"), "helped docker.io");
  assert.equal(await find("stored.example", "a"), "helped stored.example");
  assert.equal(await find("plain.example", "a"), "plain");
  assert.equal(await find("token.example", "a"), "the-token");
  assert.deepEqual(warnings, []);
  assert.equal(await find("none.example", "a"), undefined);
  assert.deepEqual(warnings, []);
  assert.equal(await find("broken.example", "a"), undefined);
  assert.match(warnings.join(), /docker-credential-good failed/);
  await find("missing.example", "a");
  assert.match(warnings.join(), /docker-credential-missing is not installed/);
  assert.deepEqual(secretsIn(warnings), []);
  const asked = readFileSync(join(directory, "asked"), "utf8").trim().split("\n");
  assert.ok(
    asked.every((line) => /^get\|[a-z.]+$/.test(line)),
    asked.join(),
  );
});

test("docker asks its store for Docker Hub by an address; registries.conf names helpers for all", async (t) => {
  const hub = home(t, { "bin/docker-credential-good": helper, ".docker/config.json": { credsStore: "good" } });
  assert.equal(await hub.find("docker.io", "library/debian"), "helped https://index.docker.io/v1/");
  const all = home(t, { "bin/docker-credential-good": helper }, ["containers-auth.json", "good"]);
  assert.equal(await all.find("any.example", "a"), "helped any.example");
  const wrong = home(t, {}, ["../../bin/sh"]);
  await assert.rejects(wrong.find("any.example"), failsWith("E_SETTING"));
});

test("netrc: quotes, comments, macros; default is for nobody", () => {
  const text = `# machine no.example login a password b
machine a.example login "me too" password "a \\"b"
macdef init
machine evil.example login x password y

machine b.example
	account z login bob
	password p#w
default login any password secret
`;
  assert.deepEqual(parseNetrc(text), [
    { name: "a.example", login: "me too", password: 'a "b' },
    { name: "b.example", login: "bob", password: "p#w" },
  ]);
});

async function places(t: TestContext, toml: string, image: string, flags: object = {}): Promise<string[]> {
  const path = join(scratch(t), "registries.conf");
  writeFileSync(path, toml);
  const env = { CONTAINERS_REGISTRIES_CONF: path };
  const conf = await readRegistriesConf(env);
  const reference = parseSource(`docker://${image}`) as DockerReference;
  return candidatesOf(reference, conf).flatMap((candidate) =>
    endpointsOf(candidate, conf, { env, uid: 0, ...flags }).map(
      ({ host, repository, schemes, insecure }) => `${schemes.join("/")}${insecure ? "!" : ""} ${host}/${repository}`,
    ),
  );
}

const hexes = "a".repeat(64);

test("registries.conf: prefixes, locations, mirrors and what they are used for", async (t) => {
  const conf = `
unqualified-search-registries = ["first.example", "docker.io"]
[[registry]]
prefix = "one.example/foo"
location = "inner.example:5000/bar"
[[registry.mirror]]
location = "mirror.example/foo"
[[registry.mirror]]
location = "digests.example/foo"
pull-from-mirror = "digest-only"
insecure = true
[[registry]]
location = "one.example/foo/special"
insecure = true
[[registry]]
prefix = "*.wild.example"
[[registry.mirror]]
location = "wild-mirror.example"
[[registry]]
prefix = "docker.io/library"
mirror-by-digest-only = true
[[registry.mirror]]
location = "hub.example/lib"
[[registry]]
prefix = "blocked.example/a:1"
blocked = true
[aliases]
"short" = "long.example/x/y"
`;
  const cases: Record<string, string[]> = {
    "one.example/foo/x:1": ["https mirror.example/foo/x", "https inner.example:5000/bar/x"],
    [`one.example/foo/x@sha256:${hexes}`]: [
      "https mirror.example/foo/x",
      "https/http! digests.example/foo/x",
      "https inner.example:5000/bar/x",
    ],
    "one.example/foo/special/x": ["https/http! one.example/foo/special/x"],
    "one.example/foobar": ["https one.example/foobar"],
    "one.example:5000/foo/x": ["https one.example:5000/foo/x"],
    "a.b.wild.example/x/y": ["https wild-mirror.example/x/y", "https a.b.wild.example/x/y"],
    "wild.example/x/y": ["https wild.example/x/y"],
    "docker.io/debian:12": ["https registry-1.docker.io/library/debian"],
    [`docker.io/debian@sha256:${hexes}`]: ["https hub.example/lib/debian", "https registry-1.docker.io/library/debian"],
    "short:3": ["https long.example/x/y"],
    "other/name": ["https first.example/other/name", "https registry-1.docker.io/other/name"],
    "blocked.example/a:2": ["https blocked.example/a"],
    "127.0.0.1:5000/x": ["http/https 127.0.0.1:5000/x"],
  };
  for (const [image, expected] of Object.entries(cases))
    assert.deepEqual(await places(t, conf, image), expected, image);
  await assert.rejects(places(t, conf, "blocked.example/a:1"), failsWith("E_BLOCKED"));
  const plain = await places(t, conf, "one.example/foo/x:1", { plainHttp: true });
  assert.deepEqual(plain, ["https mirror.example/foo/x", "http inner.example:5000/bar/x"]);
  assert.deepEqual(await places(t, "", "x.example/y", { insecure: true }), ["https! x.example/y"]);
  const old = '[registries.search]\nregistries = ["s.example"]\n[registries.block]\nregistries = ["b.example"]';
  assert.deepEqual(await places(t, old, "x"), ["https s.example/x"]);
  await assert.rejects(places(t, old, "b.example/x"), failsWith("E_BLOCKED"));
});

test("registries.conf: what cannot be understood is named", async (t) => {
  const wrong = [
    "[[registry]",
    'unqualified-search-registries = "x"',
    "[[registry]]\nblocked = true",
    '[[registry]]\nprefix = "x"\nblocked = "no"',
    '[[registry]]\nprefix = "a.*.example"',
    '[[registry]]\nprefix = "x"\n[[registry.mirror]]\ninsecure = true',
    '[[registry]]\nprefix = "x"\n[[registry.mirror]]\nlocation = "y"\npull-from-mirror = "never"',
    '[[registry]]\nprefix = "x.example"\nlocation = "\\u001b[31m"',
  ];
  for (const text of wrong) {
    await assert.rejects(places(t, text, "x.example/y"), failsWith("E_SETTING", /registries\.conf/), text);
  }
  await assert.rejects(readRegistriesConf({ CONTAINERS_REGISTRIES_CONF: "/none" }), failsWith("E_SETTING", /\/none/));
});

test("registries.conf: the user's takes the machine's place, drop-ins come after it", async (t) => {
  const { directory } = home(t, {
    ".config/containers/registries.conf":
      'unqualified-search-registries = ["main.example"]\n[aliases]\n"a" = "x/a"\n"b" = "x/b"',
    ".config/containers/registries.conf.d/10.conf": '[aliases]\n"a" = "y/a"\n"b" = ""',
    ".config/containers/registries.conf.d/20.conf": 'unqualified-search-registries = ["last.example"]',
    ".config/containers/registries.conf.d/30.bak": "nonsense",
  });
  const conf = await readRegistriesConf({ HOME: directory });
  assert.deepEqual(conf?.search, ["last.example"]);
  assert.deepEqual([...(conf?.aliases ?? [])], [["a", "y/a"]]);
});
