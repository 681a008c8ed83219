/** A real registry (Debian's docker-registry) on the loopback address. */
import { spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { must } from "./command.ts";
import { makeTemp } from "./temp.ts";

export interface Registry {
  readonly port: number;
  /** `127.0.0.1:PORT` */
  readonly address: string;
  /** Where it keeps its files, for tests that damage them: `DATA/docker/registry/v2/blobs/sha256/…`. */
  readonly data: string;
  /** Pushes an image of a local layout (`LAYOUT:REF`) as `name`; returns its docker:// source. */
  push(layout: string, name: string, kind?: "v2s2" | "oci"): Promise<string>;
  /** A file without any login, for skopeo's --authfile. */
  readonly logins: string;
  /** The file of a blob. */
  blobFile(digest: string): string;
  stop(): Promise<void>;
}

/** A TCP port of the loopback address that nobody listens on. */
export const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer();
    server.on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      const port = typeof address === "object" && address ? address.port : 0;
      server.close(() => resolve(port));
    });
  });

async function answers(url: string, alive: () => boolean): Promise<boolean> {
  for (let tries = 0; tries < 200 && alive(); tries++) {
    const answer = await fetch(url).catch(() => undefined);
    if (answer?.ok) return true;
    await sleep(25);
  }
  return false;
}

/** Starts a registry with empty storage. `directory` keeps its files for the next start, else they are temporary. */
export async function startRegistry(directory?: string): Promise<Registry> {
  const temp = makeTemp("rootling-registry-");
  const data = directory ?? join(temp.path, "data");
  mkdirSync(data, { recursive: true });
  const config = join(temp.path, "config.json");
  // Nobody's logins: without a session skopeo looks into /run/containers, which is root's where root came first.
  const logins = join(temp.path, "auth.json");
  writeFileSync(logins, "{}");
  for (let attempt = 1; ; attempt++) {
    const port = await freePort();
    const address = `127.0.0.1:${port}`;
    // JSON is YAML too. Deleting is allowed so that tests can take a blob away.
    writeFileSync(
      config,
      JSON.stringify({
        version: "0.1",
        log: { level: "error", accesslog: { disabled: true } },
        storage: { filesystem: { rootdirectory: data }, delete: { enabled: true } },
        http: { addr: address },
      }),
    );
    const child = spawn("docker-registry", ["serve", config], { stdio: ["ignore", "ignore", "pipe"] });
    let said = "";
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => (said = (said + chunk).slice(-2000)));
    const ended = new Promise<void>((resolve) => child.on("close", () => resolve()).on("error", () => resolve()));
    const alive = () => child.exitCode === null && child.signalCode === null && child.pid !== undefined;
    const stop = async () => {
      if (alive()) child.kill("SIGKILL");
      await ended;
    };
    if (await answers(`http://${address}/v2/`, alive)) {
      return {
        port,
        address,
        data,
        logins,
        blobFile: (digest) => {
          const hex = digest.replace(/^sha256:/, "");
          return join(data, "docker/registry/v2/blobs/sha256", hex.slice(0, 2), hex, "data");
        },
        push: async (layout, name, kind = "oci") => {
          const target = `docker://${address}/${name}`;
          await must(
            ["skopeo", "copy", "--insecure-policy", "--quiet", "--dest-tls-verify=false", "--format", kind].concat(
              ["--authfile", logins],
              `oci:${layout}`,
              target,
            ),
          );
          return target;
        },
        stop: async () => {
          await stop();
          await temp.remove();
        },
      };
    }
    await stop();
    // Another process may have taken the port between our look and the start.
    if (attempt === 3) {
      await temp.remove();
      throw new Error(`docker-registry does not answer: ${said}`);
    }
  }
}
