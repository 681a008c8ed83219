/** A registry of the tests' own: right in everything, until a scenario makes one step wrong. */
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from "node:http";
import { createServer as createTlsServer, type ServerOptions } from "node:https";
import { type AddressInfo, connect, type Socket } from "node:net";
import type { TestContext } from "node:test";
import { gzipSync } from "node:zlib";
import { digestOf } from "../../src/image/digest.ts";
import type { Digest } from "../../src/image/types.ts";
import { tarOf } from "./image-support.ts";

/** What a client asks for, in the order of a pull. */
export type Step = "ping" | "token" | "index" | "manifest" | "config" | "layer";

export const USER = "alice";
export const PASSWORD = "s3cret-pässword";
export const BASIC = Buffer.from(`${USER}:${PASSWORD}`).toString("base64");
const SECRETS = [PASSWORD, BASIC, "t0ken-", "ident1ty"];

/** Every secret in what was said somewhere. */
export const secretsIn = (said: unknown): string[] => SECRETS.filter((secret) => JSON.stringify(said).includes(secret));

export interface Seen {
  step: Step | undefined;
  method: string;
  url: string;
  headers: IncomingHttpHeaders;
  body: string;
}

export interface Asked {
  request: IncomingMessage;
  response: ServerResponse;
  step: Step;
  /** How often this step was asked for, from 1 on. */
  times: number;
  /** What the right answer's body is. */
  content: Buffer;
  type: string;
  registry: FakeRegistry;
}

/** Answers instead of the registry, or returns false and leaves it the answer. */
export type Fault = (asked: Asked) => boolean | undefined | Promise<boolean | undefined>;

export interface FakeOptions {
  auth?: "none" | "bearer" | "basic";
  /** Where tokens are to be had; by default at the registry. */
  realm?: string;
  tls?: ServerOptions;
  /** Seconds that tokens live. */
  lifetime?: number;
}

const IMAGE = "application/vnd.oci.image";

/** A layer that does not shrink, so that it takes several reads. */
const noise = Buffer.alloc(300_000);
for (let i = 0, x = 1; i < noise.length; i++) {
  x ^= x << 13;
  x ^= x >>> 17;
  x ^= x << 5;
  noise[i] = x & 0xff;
}
export const layers = [
  gzipSync(tarOf([{ path: "noise", content: noise }])),
  gzipSync(tarOf([{ path: "file", content: "right" }])),
] as const;
const diffIds = [tarOf([{ path: "noise", content: noise }]), tarOf([{ path: "file", content: "right" }])].map(digestOf);
const architecture = process.arch === "arm64" ? "arm64" : "amd64";
const json = (value: object): Buffer => Buffer.from(JSON.stringify(value));
const blob = (bytes: Buffer) => ({ digest: digestOf(bytes), size: bytes.length });

export const config = json({ architecture, os: "linux", config: {}, rootfs: { type: "layers", diff_ids: diffIds } });
export const manifest = json({
  schemaVersion: 2,
  mediaType: `${IMAGE}.manifest.v1+json`,
  config: { mediaType: `${IMAGE}.config.v1+json`, ...blob(config) },
  layers: layers.map((layer) => ({ mediaType: `${IMAGE}.layer.v1.tar+gzip`, ...blob(layer) })),
});
export const index = json({
  schemaVersion: 2,
  mediaType: `${IMAGE}.index.v1+json`,
  manifests: [
    { mediaType: `${IMAGE}.manifest.v1+json`, ...blob(manifest), platform: { os: "linux", architecture } },
    { mediaType: `${IMAGE}.manifest.v1+json`, ...blob(config), platform: { os: "unknown", architecture: "unknown" } },
  ],
});

export class FakeRegistry {
  readonly seen: Seen[] = [];
  /** The misbehaviour of each step, while there is one. */
  faults: Partial<Record<Step, Fault>> = {};
  readonly options: FakeOptions;
  readonly #server: Server;
  #tokens = 0;
  /** Tokens up to this one are not taken any more. */
  revoked = 0;
  readonly #counts = new Map<Step, number>();

  constructor(options: FakeOptions = {}) {
    this.options = options;
    const listener = (request: IncomingMessage, response: ServerResponse) => void this.#take(request, response);
    this.#server = options.tls === undefined ? createServer(listener) : createTlsServer(options.tls, listener);
  }

  /** Leads everything that is asked by CONNECT to `port`, as a proxy does. */
  tunnelTo(port: number): void {
    this.#server.on("connect", (request: IncomingMessage, socket: Socket) => {
      this.seen.push({
        step: undefined,
        method: "CONNECT",
        url: request.url ?? "",
        headers: request.headers,
        body: "",
      });
      const onward = connect(port, "127.0.0.1", () => {
        socket.write("HTTP/1.1 200 OK\r\n\r\n");
        onward.pipe(socket).pipe(onward);
      });
      for (const end of [socket, onward]) end.on("error", () => {}).unref();
    });
  }

  async start(t: Pick<TestContext, "after">): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    t.after(() => this.stop());
    return this;
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get host(): string {
    return `127.0.0.1:${this.port}`;
  }

  get origin(): string {
    return `${this.options.tls === undefined ? "http" : "https"}://${this.host}`;
  }

  /** How many tokens were given. */
  get tokens(): number {
    return this.#tokens;
  }

  /** The requests for a step. */
  asked(step: Step): Seen[] {
    return this.seen.filter((seen) => seen.step === step);
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let body = "";
    for await (const chunk of request) body += String(chunk);
    const { method = "", url = "", headers } = request;
    const found = lookUp(url);
    this.seen.push({ step: found?.step, method, url, headers, body });
    if (found === undefined) return void response.writeHead(404).end('{"errors":[{"message":"\\u001b[31mno"}]}');
    const { step, content, type } = found;
    const times = (this.#counts.get(step) ?? 0) + 1;
    this.#counts.set(step, times);
    const asked: Asked = { request, response, step, times, content, type, registry: this };
    if ((await this.faults[step]?.(asked)) === true) return;
    if (step === "token") this.#giveToken(request, response, body);
    else if (!this.#allowed(headers.authorization)) this.#challenge(response);
    else sendContent(asked);
  }

  #giveToken(request: IncomingMessage, response: ServerResponse, body: string): void {
    const identity = request.method === "POST" && new URLSearchParams(body).get("refresh_token") === "ident1ty";
    if (!identity && request.headers.authorization !== `Basic ${BASIC}`) return void response.writeHead(401).end();
    const token = `t0ken-${++this.#tokens}`;
    response.end(JSON.stringify({ token, expires_in: this.options.lifetime ?? 300 }));
  }

  #allowed(authorization: string | undefined): boolean {
    const { auth = "none" } = this.options;
    if (auth === "none") return true;
    if (auth === "basic") return authorization === `Basic ${BASIC}`;
    const number = Number(/^Bearer t0ken-([0-9]+)$/.exec(authorization ?? "")?.[1] ?? 0);
    return number > this.revoked;
  }

  #challenge(response: ServerResponse): void {
    const { auth, realm = `${this.origin}/token` } = this.options;
    const said =
      auth === "basic" ? 'Basic realm="it"' : `Bearer realm="${realm}",service="it",scope="repository:x:push"`;
    response.writeHead(401, { "www-authenticate": said }).end("{}");
  }
}

function lookUp(url: string): { step: Step; content: Buffer; type: string } | undefined {
  const { pathname } = new URL(url, "http://x");
  if (pathname === "/v2/") return { step: "ping", content: Buffer.from("{}"), type: "application/json" };
  if (pathname === "/token") return { step: "token", content: Buffer.alloc(0), type: "application/json" };
  const [, kind, name = ""] = /^\/v2\/team\/app\/(manifests|blobs)\/([^/]+)$/.exec(pathname) ?? [];
  if (kind === "manifests") {
    if (name === "1" || name === "latest" || name === digestOf(index))
      return { step: "index", content: index, type: `${IMAGE}.index.v1+json` };
    if (name === digestOf(manifest)) return { step: "manifest", content: manifest, type: `${IMAGE}.manifest.v1+json` };
  }
  if (kind !== "blobs") return undefined;
  const type = "application/octet-stream";
  if (name === digestOf(config)) return { step: "config", content: config, type };
  const layer = layers.find((bytes) => digestOf(bytes) === (name as Digest));
  return layer && { step: "layer", content: layer, type };
}

/** The right answer, also to a request for a range. */
export function sendContent({ request, response, content, type }: Asked): void {
  const from = Number(/^bytes=([0-9]+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
  const part = content.subarray(from);
  const headers: Record<string, string | number> = { "content-type": type, "content-length": part.length };
  if (from > 0) headers["content-range"] = `bytes ${from}-${content.length - 1}/${content.length}`;
  response.writeHead(from > 0 ? 206 : 200, headers).end(part);
}
