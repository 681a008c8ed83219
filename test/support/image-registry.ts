/** A real registry on loopback, with a store of its own. */
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { capture, requireProgram, run } from "../../src/base/process.ts";

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export interface TestRegistry {
  /** `127.0.0.1:PORT` */
  host: string;
  /** Where it keeps its files. */
  store: string;
  /** Copies `oci:…` into it as `name`, with manifests of the given kind. */
  push(source: string, name: string, format: "oci" | "v2s2"): Promise<void>;
}

/** Starts Debian's docker-registry; it ends with the test. */
export async function startRegistry(t: Pick<TestContext, "after">, directory: string): Promise<TestRegistry> {
  const host = `127.0.0.1:${await freePort()}`;
  const store = join(directory, "registry");
  mkdirSync(store);
  const settings = join(directory, "registry.yml");
  writeFileSync(
    settings,
    [
      "version: 0.1",
      "log: {level: error, accesslog: {disabled: true}}",
      `storage: {filesystem: {rootdirectory: ${store}}}`,
      `http: {addr: "${host}"}`,
    ].join("\n"),
  );
  const running = run(requireProgram("docker-registry", "docker-registry"), ["serve", settings]);
  t.after(() => running.kill());
  for (let tries = 0; ; tries++) {
    const answers = await fetch(`http://${host}/v2/`).then(
      (answer) => answer.ok,
      () => false,
    );
    if (answers) break;
    if (tries > 100) throw new Error("the registry does not start");
    await sleep(50);
  }
  return {
    host,
    store,
    push: async (source, name, format) => {
      const target = `docker://${host}/${name}`;
      await capture("skopeo", [
        "copy",
        "-q",
        "--insecure-policy",
        "--dest-tls-verify=false",
        "--format",
        format,
        source,
        target,
      ]);
    },
  };
}
