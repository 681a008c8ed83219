/** One HTTP request, with redirects, proxies, time limits and no secret sent to where it does not belong. */
import {
  type ClientRequest,
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
} from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import type { TLSSocket } from "node:tls";
import { throwIfAborted } from "../../base/context.ts";
import { Failure } from "../../base/errors.ts";
import type { Settings } from "../../base/settings.ts";
import { tooLarge } from "../limits.ts";
import type { Environment } from "./environment.ts";
import { networkFailure, registryFailure, timeError } from "./network-failures.ts";
import { Trust } from "./trust.ts";

export interface HttpRequest {
  headers: Record<string, string>;
  signal: AbortSignal;
  /** Sent to the origin of the first URL only. */
  authorization?: string | undefined;
  /** Makes it a POST, of a form; one is never sent on to where a redirect leads. */
  form?: URLSearchParams;
  /** GET if not given, or POST of a form. What changes something is never sent on to where a redirect leads. */
  method?: "HEAD" | "POST" | "PATCH" | "PUT";
  body?: RequestBody;
}

/** What is sent, of known size. It may be opened again, where a kept connection turns out to be gone. */
export interface RequestBody {
  /** Bytes. */
  size: number;
  open(): AsyncIterable<Buffer>;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** Where it came from in the end. */
  readonly url: URL;
  /** The body, unread. */
  readonly message: IncomingMessage;
}

const MAX_REDIRECTS = 5;
/** What is read of a body that nobody wants, so that its connection can be used again. */
const DISCARDED_BYTES = 16 << 10;
/** Fewer bytes than this in half a TRANSFER_TIMEOUT are no progress: a peer could hold us for ever with one a minute. */
const LEAST_BYTES = 512;

/** Milliseconds of a TRANSFER_TIMEOUT; 0 is none, for which timers have no word. */
const stallTime = (seconds: number): number => (seconds === 0 ? 0x7fff_ffff : seconds * 1000);

/** Hosts of this machine: they speak plain HTTP if they do not speak TLS, and no proxy leads there. */
export const isLoopback = (host: string): boolean =>
  /^(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]+)?$/.test(host);

/** Connections that are kept between the requests of one image. Each origin has its own, with its own certificates. */
export class Connections {
  readonly #settings: Settings;
  readonly #env: Environment;
  readonly #trust: Trust;
  readonly #insecure = new Set<string>();
  readonly #agents = new Map<string, HttpAgent>();

  constructor(settings: Settings, env: Environment) {
    this.#settings = settings;
    this.#env = env;
    this.#trust = new Trust(env);
  }

  /** The certificate of `host` (`host:port`) is not looked at from now on; those of others still are. */
  trustBlindly(host: string): void {
    this.#insecure.add(new URL(`https://${host}`).host);
  }

  isTrustedBlindly(url: URL): boolean {
    return this.#insecure.has(url.host);
  }

  close(): void {
    for (const agent of this.#agents.values()) agent.destroy();
  }

  /** Sends a request and follows redirects. Throws E_NETWORK, E_CERTIFICATE and E_REGISTRY. */
  async send(start: URL, request: HttpRequest): Promise<Answer> {
    let url = start;
    for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
      const answer = await this.#once(url, request, url.origin === start.origin);
      const { location } = answer.headers;
      if (![301, 302, 303, 307, 308].includes(answer.status) || location === undefined) return answer;
      discard(answer);
      const next = URL.canParse(location, url) ? new URL(location, url) : undefined;
      const insecure = url.protocol === "https:" && next?.protocol !== "https:";
      const possible = next !== undefined && ["http:", "https:"].includes(next.protocol);
      const changes = request.form !== undefined || !(request.method === undefined || request.method === "HEAD");
      if (!possible || insecure || changes) {
        throw registryFailure("a redirect that cannot be followed", url);
      }
      // node:http would send these as credentials.
      next.username = next.password = "";
      url = next;
    }
    throw registryFailure("too many redirects", start);
  }

  /** The whole body of an answer. Throws E_LIMIT for more than `limit` bytes. */
  async read(answer: Answer, limit: number, signal: AbortSignal): Promise<Buffer> {
    const parts: Buffer[] = [];
    let size = 0;
    const { arrived, idle, stop } = this.watch(answer);
    try {
      for await (const part of answer.message) {
        arrived((part as Buffer).length);
        idle();
        size += (part as Buffer).length;
        if (size > limit) throw tooLarge(`an answer of more than ${limit} bytes`, answer.url.host);
        parts.push(part as Buffer);
      }
    } catch (error) {
      throw networkFailure(error, answer.url, signal);
    } finally {
      stop();
    }
    return Buffer.concat(parts);
  }

  /**
   * Ends a body that stops coming or becomes too slow. Whoever reads it says what has arrived, and `idle` when it has
   * been dealt with: where we are the slow ones, the peer is not blamed.
   */
  watch({ message }: Answer): { arrived(bytes: number): void; idle(): void; stop(): void } {
    let waiting = true;
    let bytes = 0;
    let quiet = 0;
    const timer = setInterval(() => {
      quiet = waiting && bytes < LEAST_BYTES ? quiet + 1 : 0;
      bytes = 0;
      if (quiet >= 2) message.destroy(timeError("ESTALLED"));
    }, stallTime(this.#settings.TRANSFER_TIMEOUT) / 2);
    return {
      arrived: (count) => {
        waiting = false;
        bytes += count;
      },
      idle: () => {
        waiting = true;
      },
      stop: () => clearInterval(timer),
    };
  }

  /** A connection that was kept may have been closed meanwhile: then the request goes out again, on a new one. */
  async #once(url: URL, request: HttpRequest, sameOrigin: boolean): Promise<Answer> {
    try {
      return await this.#attempt(url, request, sameOrigin);
    } catch (error) {
      if (error !== STALE) throw error;
      this.#agents.get(url.origin)?.destroy();
      this.#agents.delete(url.origin);
      return await this.#attempt(url, request, sameOrigin);
    }
  }

  #attempt(url: URL, given: HttpRequest, sameOrigin: boolean): Promise<Answer> {
    const { headers, signal, authorization, form, body: content } = given;
    throwIfAborted(signal);
    const sent: Record<string, string> = { "user-agent": "rootling", "accept-encoding": "identity", ...headers };
    if (authorization !== undefined && sameOrigin) sent.authorization = authorization;
    const body = form?.toString();
    if (body !== undefined) {
      sent["content-type"] = "application/x-www-form-urlencoded";
      sent["content-length"] = String(Buffer.byteLength(body));
    }
    if (content !== undefined) sent["content-length"] = String(content.size);
    const { CONNECT_TIMEOUT, TRANSFER_TIMEOUT } = this.#settings;
    return new Promise((resolve, reject) => {
      const begin = url.protocol === "https:" ? httpsRequest : httpRequest;
      const method = given.method ?? (body === undefined ? "GET" : "POST");
      const request = begin(url, { method, headers: sent, agent: this.#agent(url), signal });
      let timer = setTimeout(() => request.destroy(timeError("ECONNECT_TIME")), CONNECT_TIMEOUT * 1000);
      const wait = () => {
        clearTimeout(timer);
        timer = setTimeout(() => request.destroy(timeError("ESTALLED")), stallTime(TRANSFER_TIMEOUT));
      };
      const connected = () => {
        wait();
        if (content !== undefined) void sendBody(request, content, wait);
      };
      request.on("socket", (socket) => {
        const { connecting, secureConnecting } = socket as TLSSocket & { secureConnecting?: boolean };
        if (connecting || secureConnecting) {
          socket.once(url.protocol === "https:" ? "secureConnect" : "connect", connected);
        } else connected();
      });
      request.on("response", (message) => {
        clearTimeout(timer);
        resolve({ status: message.statusCode ?? 0, headers: message.headers, url, message });
      });
      request.on("error", (error: NodeJS.ErrnoException) => {
        clearTimeout(timer);
        const stale = request.reusedSocket && (error.code === "ECONNRESET" || error.code === "EPIPE");
        reject(stale && !signal.aborted ? STALE : networkFailure(error, url, signal));
      });
      if (content === undefined) request.end(body);
    });
  }

  #agent(url: URL): HttpAgent {
    const present = this.#agents.get(url.origin);
    if (present !== undefined) return present;
    const common = { keepAlive: true, ...(isLoopback(url.host) ? {} : { proxyEnv: proxySettings(this.#env) }) };
    const agent = this.#make(url, common);
    this.#agents.set(url.origin, agent);
    return agent;
  }

  #make(url: URL, common: ConstructorParameters<typeof HttpAgent>[0]): HttpAgent {
    try {
      if (url.protocol === "http:") return new HttpAgent(common);
      return new HttpsAgent({ ...common, ...this.#trust.for(url.host, this.isTrustedBlindly(url)) });
    } catch (error) {
      // The address of a proxy may hold a password: it is not repeated.
      if (!String((error as { code?: unknown }).code).startsWith("ERR_PROXY")) throw error;
      throw new Failure("E_SETTING", "the address of the proxy cannot be understood", {
        where: "HTTP_PROXY, HTTPS_PROXY",
        mend: "write it like http://proxy.example:3128",
      });
    }
  }
}

/** Marks a request that failed because a kept connection was gone. */
const STALE = Symbol("stale");

/** Sends a body; `sent` is called whenever a piece of it has left. Stops where an answer comes before its end. */
async function sendBody(request: ClientRequest, body: RequestBody, sent: () => void): Promise<void> {
  let answered = false;
  request.once("response", (message) => {
    answered = true;
    // Nobody could use this connection again.
    if (!request.writableEnded) message.once("close", () => request.destroy());
  });
  try {
    for await (const chunk of body.open()) {
      if (answered || request.destroyed) return;
      const room = request.write(chunk, () => answered || sent());
      if (!room) await drained(request);
    }
    if (!answered) request.end();
  } catch (error) {
    // What was to be sent cannot be read, or is not what was promised.
    request.destroy(error as Error);
  }
}

function drained(request: ClientRequest): Promise<void> {
  const events = ["drain", "response", "error", "close"] as const;
  return new Promise((resolve) => {
    const settle = () => {
      for (const event of events) request.off(event, settle);
      resolve();
    };
    for (const event of events) request.on(event, settle);
  });
}

/** The variables that curl, Go and Node agree on; the spelling in lower case wins, as Node has it. */
function proxySettings(env: Environment): Record<string, string | undefined> {
  const names = ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"];
  return Object.fromEntries(names.map((name) => [name, env[name.toLowerCase()] || env[name] || undefined]));
}

/** Ends an answer whose body nobody wants. */
export function discard({ headers, message }: Answer): void {
  const length = Number(headers["content-length"] ?? Number.NaN);
  message.on("error", () => {});
  if (length <= DISCARDED_BYTES) message.resume();
  else message.destroy();
}
