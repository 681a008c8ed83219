/** A registry that takes what is pushed, right in everything but the one thing that a scenario makes wrong. */
import { createHash, randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";

export interface Pushed {
  method: string;
  path: string;
  authorization: string | undefined;
  range: string | undefined;
  /** Bytes of the body that arrived. */
  bytes: number;
}

export interface PushFaults {
  /** The connection is cut after so many bytes of the n-th request with a body (from 1 on). */
  cut?: { request: number; after: number };
  /** What becomes of a blob that was broken off: it is kept as far as it came, or forgotten (as Docker's registry does). */
  broken?: "kept" | "forgotten";
  /** Only one request for a blob is taken. */
  chunks?: "refused";
  /** Blobs are wanted at this origin. */
  elsewhere?: string;
  /** The answer to the first POST. */
  first?: number;
  /** What it says that it has stored. */
  digest?: string;
  auth?: "bearer" | "readonly";
}

const PLACE = /^\/v2\/(.+)\/(blobs\/uploads|blobs|manifests)\/(.*)$/;

export class PushRegistry {
  readonly seen: Pushed[] = [];
  readonly blobs = new Map<string, Buffer>();
  readonly manifests = new Map<string, Buffer>();
  /** The scopes of each token that was asked for. */
  readonly scopes: string[][] = [];
  readonly #faults: PushFaults;
  readonly #uploads = new Map<string, Buffer>();
  readonly #server = createServer((request, response) => void this.#take(request, response));
  #bodies = 0;
  #posts = 0;

  constructor(faults: PushFaults = {}) {
    this.#faults = faults;
  }

  async start(t: Pick<TestContext, "after">): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    t.after(() => {
      this.#server.closeAllConnections();
      this.#server.close();
    });
    return this;
  }

  get host(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = "", url = "", headers } = request;
    const { pathname, searchParams } = new URL(url, `http://${this.host}`);
    const { authorization } = headers;
    const seen: Pushed = { method, path: url, authorization, range: headers["content-range"], bytes: 0 };
    this.seen.push(seen);
    if (pathname === "/token") {
      this.scopes.push(searchParams.getAll("scope"));
      return void response.end('{"token":"t0ken-1"}');
    }
    const { auth } = this.#faults;
    if (auth === "bearer" && authorization !== "Bearer t0ken-1" && !pathname.startsWith("/elsewhere")) {
      request.resume();
      const challenge = `Bearer realm="http://${this.host}/token",service="it"`;
      return void response.writeHead(401, { "www-authenticate": challenge }).end("{}");
    }
    if (auth === "readonly" && method !== "HEAD" && method !== "GET") return void response.writeHead(403).end("{}");
    const body = await this.#body(request, seen);
    const [, , kind = "", name = ""] = PLACE.exec(pathname) ?? [];
    if (body.whole) this.#answer(kind, name, body.bytes, searchParams, request, response);
    else if (this.#faults.broken === "forgotten") this.#uploads.delete(name);
    else this.#uploads.set(name, Buffer.concat([this.#uploads.get(name) ?? Buffer.alloc(0), body.bytes]));
  }

  /** The body, whole unless the connection is cut in it. */
  async #body(request: IncomingMessage, seen: Pushed): Promise<{ bytes: Buffer; whole: boolean }> {
    const parts: Buffer[] = [];
    const { cut } = this.#faults;
    const here = Number(request.headers["content-length"] ?? 0) > 0 && ++this.#bodies === cut?.request;
    for await (const chunk of request) {
      const room = here && cut !== undefined ? cut.after - seen.bytes : Number.POSITIVE_INFINITY;
      const taken = (chunk as Buffer).subarray(0, room);
      parts.push(taken);
      seen.bytes += taken.length;
      if (taken.length < (chunk as Buffer).length) {
        request.socket.destroy();
        return { bytes: Buffer.concat(parts), whole: false };
      }
    }
    return { bytes: Buffer.concat(parts), whole: true };
  }

  #answer(
    kind: string,
    name: string,
    body: Buffer,
    words: URLSearchParams,
    { method, headers }: IncomingMessage,
    response: ServerResponse,
  ): ServerResponse {
    const end = (status: number, more: Record<string, string> = {}) => response.writeHead(status, more).end();
    if (kind === "") return end(method === "GET" ? 200 : 404);
    if (kind === "manifests") {
      this.manifests.set(name, body);
      return end(201, { "docker-content-digest": this.#faults.digest ?? digestOf(body) });
    }
    if (kind === "blobs") {
      const blob = this.blobs.get(name);
      return blob === undefined ? end(404) : end(200, { "content-length": String(blob.length) });
    }
    if (method === "POST") {
      if (++this.#posts === 1 && this.#faults.first !== undefined) return end(this.#faults.first);
      const id = randomUUID();
      this.#uploads.set(id, Buffer.alloc(0));
      return end(202, { location: `${this.#faults.elsewhere ?? ""}/v2/x/blobs/uploads/${id}?state=a%20b` });
    }
    const before = this.#uploads.get(name);
    if (before === undefined) return end(404);
    const place = { location: `/v2/x/blobs/uploads/${name}?state=a%20b` };
    const status = (bytes: number) => ({ ...place, range: `0-${Math.max(0, bytes - 1)}` });
    if (method === "GET") return end(204, status(before.length));
    const from = headers["content-range"];
    if (method === "PATCH" && this.#faults.chunks === "refused") return end(404);
    if (from !== undefined && Number(from.split("-")[0]) !== before.length) return end(416, status(before.length));
    const now = Buffer.concat([before, body]);
    this.#uploads.set(name, now);
    if (method === "PATCH") return end(202, status(now.length));
    const digest = words.get("digest") ?? "";
    if (digestOf(now) !== digest) return end(400);
    this.blobs.set(digest, now);
    return end(201);
  }
}

const digestOf = (bytes: Buffer): string => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
