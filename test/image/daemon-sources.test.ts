/** Images of the podman of this machine, and of docker by podman's compatible socket. */
import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { Failure } from "../../src/base/errors.ts";
import { importImage, sourceDigest } from "../../src/commands/import-image.ts";
import { parsePlatform, parseSource } from "../../src/image/sources/reference.ts";
import { type Background, background, must } from "../support/command.ts";
import { configOfAll } from "../support/image-cases.ts";
import { describeTree, failsWith, type Given, tarOf, testContext, writeLayout } from "../support/image-support.ts";
import { makeTemp } from "../support/temp.ts";
import { needsRoot } from "../support/users.ts";

const layers: Given[][] = [
  [
    { path: "./", kind: "directory", mode: 0o755 },
    { path: "etc", kind: "directory" },
    { path: "etc/file", content: "x".repeat(5000), mode: 0o4755, uid: 1000, gid: 70 },
    { path: "gone" },
  ],
  [{ path: ".wh.gone" }, { path: "etc/link", kind: "link", target: "etc/file" }],
];

describe("images of a daemon", needsRoot("podman's storage"), () => {
  const temp = makeTemp();
  const directory = temp.path;
  const socket = join(directory, "podman.sock");
  const conf = join(directory, "containers.conf");
  const storage = ["--root", join(directory, "images"), "--runroot", join(directory, "run"), "--storage-driver", "vfs"];
  let service: Background;
  let stores = 0;
  before(async () => {
    writeFileSync(conf, '[containers]\ndefault_ulimits=["nofile=1024:1024","nproc=1024:1024"]\n');
    writeLayout(
      join(directory, "layout"),
      layers.map((layer) => tarOf(layer)),
      { config: configOfAll },
    );
    const env = { ...process.env, CONTAINERS_CONF: conf, TMPDIR: directory } as Record<string, string>;
    const podman = (...words: string[]) => must(["podman", ...storage, ...words], { env });
    const archive = join(directory, "saved.tar");
    await must(["skopeo", "copy", "-q", `oci:${directory}/layout`, `docker-archive:${archive}:localhost/team/app:1`]);
    await podman("load", "--quiet", "--input", archive);
    service = background(["podman", ...storage, "system", "service", "--time", "0", `unix://${socket}`], { env });
    for (let waited = 0; !existsSync(socket) && waited < 200; waited++) await setTimeout(50);
  });
  after(async () => {
    await service.end("SIGTERM");
    await temp.remove();
  });

  /** An import into a store of its own; temporary files go there as well. */
  const open = (env: Record<string, string>, uid = 0) => {
    const place = join(directory, `store-${stores++}`);
    mkdirSync(place);
    const made = testContext(place, { ROOTLING_TEMP_PATH: place });
    return { ...made, place, registry: { env, uid } };
  };

  const sources = {
    "podman://localhost/team/app:1": { CONTAINER_HOST: `unix://${socket}` },
    "dockerd://localhost/team/app:1": { DOCKER_HOST: `unix://${socket}` },
  };

  for (const [source, env] of Object.entries(sources)) {
    test(`${source}: the same image as its layout, and nothing else left`, async () => {
      const { context, layout, place, registry } = open(env);
      const image = await importImage(context, layout, source, { registry });
      assert.deepEqual(image.refs, ["localhost/team/app:1"]);
      assert.deepEqual(image.run, configOfAll);
      assert.equal(image.source, source);
      const { context: other, layout: plain } = open({});
      const expected = await importImage(other, plain, `oci:${directory}/layout`);
      assert.deepEqual(await describeTree(image.tree), await describeTree(expected.tree));
      assert.equal(await sourceDigest(context, layout, source, { registry }), image.digest);
      assert.deepEqual(
        readdirSync(place).filter((name) => name.startsWith("rootling")),
        [],
      );
    });

    test(`${source}: what is not there, not for this machine, or a name that leads elsewhere`, async () => {
      const { context, layout, registry } = open(env);
      const kind = source.slice(0, source.indexOf(":"));
      await assert.rejects(
        importImage(context, layout, `${kind}://localhost/none:1`, { registry }),
        failsWith("E_NOT_FOUND", /has no such image.* pull localhost\/none:1/),
      );
      const platform = parsePlatform("linux/s390x", "test");
      await assert.rejects(importImage(context, layout, source, { registry, platform }), failsWith("E_PLATFORM"));
      for (const name of ["../containers/json?x=", "a//b", "a/../b", "a?b", "-x", ""]) {
        assert.throws(() => parseSource(`${kind}://${name}`), failsWith("E_SOURCE"), name);
      }
    });

    test(`${source}: no socket, nobody at it, one that is closed, one that speaks no HTTP or stops`, async () => {
      const [variable = ""] = Object.keys(env);
      const at = async (path: string, ...expected: Parameters<typeof failsWith>) => {
        const { context, layout, registry } = open({ [variable]: path });
        await assert.rejects(importImage(context, layout, source, { registry }), failsWith(...expected));
      };
      await at(`unix://${directory}/none.sock`, "E_NOT_FOUND", /no socket/);
      await at("tcp://127.0.0.1:1", "E_SETTING");
      const head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
      for (const [answer, code] of [
        ["nonsense\r\n\r\n", "E_NETWORK"],
        [head, "E_NETWORK"],
        [`${head}0\r\n\r\n`, "E_LAYER"],
        ['HTTP/1.1 500 No\r\nConnection: close\r\n\r\n{"message":"\u001b[31m"}', "E_NETWORK"],
      ] as const) {
        const path = join(directory, `fake-${stores}.sock`);
        const server = createServer((connection) =>
          connection
            .on("error", () => {})
            .resume()
            .end(answer),
        ).listen(path);
        await new Promise((ready) => server.once("listening", ready));
        await at(`unix://${path}`, code);
        await new Promise((closed) => server.close(closed));
      }
      const abandoned = join(directory, `abandoned-${stores}.sock`);
      await must(["python3", "-c", "import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])", abandoned]);
      await at(`unix://${abandoned}`, "E_NETWORK", /nothing listens/);
    });
  }

  test("a socket that an ordinary user may not use is told as such", async () => {
    chmodSync(socket, 0o600);
    const script = `
      import { importImage } from "${join(import.meta.dirname, "../../src/commands/import-image.ts")}";
      import { testContext } from "${join(import.meta.dirname, "../support/image-support.ts")}";
      process.setuid(65534);
      const { context, layout } = testContext("${directory}/nobody");
      const registry = { env: { CONTAINER_HOST: "unix://${socket}" }, uid: 65534 };
      await importImage(context, layout, "podman://x", { registry }).catch((e) => console.log(e.code, e.what, e.mend));`;
    mkdirSync(join(directory, "nobody"), { mode: 0o777 });
    chmodSync(join(directory, "nobody"), 0o777);
    const said = await must([process.execPath, "--input-type=module", "-e", script]);
    assert.match(said, /^E_DENIED the socket of podman is closed to this user/);
  });

  test("podman without a service: its program gives the image", async () => {
    const storageConf = join(directory, "storage.conf");
    writeFileSync(
      storageConf,
      `[storage]\ndriver="vfs"\ngraphroot="${directory}/images"\nrunroot="${directory}/run"\n`,
    );
    const env = { CONTAINERS_CONF: conf, CONTAINERS_STORAGE_CONF: storageConf, HOME: directory };
    // Of a user whose runtime directory has no socket.
    const { context, layout, registry, place } = open({ ...env, XDG_RUNTIME_DIR: directory }, 1);
    const image = await importImage(context, layout, "podman://localhost/team/app:1", { registry });
    assert.deepEqual(image.run, configOfAll);
    await assert.rejects(importImage(context, layout, "podman://localhost/none", { registry }), (error) => {
      assert.ok(error instanceof Failure);
      return failsWith("E_NOT_FOUND", /has no such image/)(error);
    });
    assert.deepEqual(
      readdirSync(place).filter((name) => name.startsWith("rootling")),
      [],
    );
  });
});
