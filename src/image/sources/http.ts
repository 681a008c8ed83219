/** One HTTP request, with redirects, time limits and no secret sent to where it does not belong. */
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { interruption, throwIfAborted } from "../../base/context.ts";
import { errnoOf, Failure } from "../../base/errors.ts";
import { escapeText } from "../../base/text.ts";
import { tooLarge } from "../limits.ts";

export interface HttpOptions {
  headers: Record<string, string>;
  signal: AbortSignal;
  /** Seconds without a byte after which it is given up. */
  timeout: number;
  /** Sent to the origin of the first URL only. */
  authorization?: string | undefined;
}

const MAX_REDIRECTS = 5;

/** Connections that are kept between requests of one image. */
export class Connections {
  readonly #http: HttpAgent;
  readonly #https: HttpsAgent;

  constructor(maximum: number) {
    this.#http = new HttpAgent({ keepAlive: true, maxSockets: maximum });
    this.#https = new HttpsAgent({ keepAlive: true, maxSockets: maximum });
  }

  close(): void {
    this.#http.destroy();
    this.#https.destroy();
  }

  /** Sends a GET and follows redirects. The answer's body is unread. Throws E_NETWORK and E_REGISTRY. */
  async get(start: URL, options: HttpOptions): Promise<IncomingMessage> {
    let url = start;
    for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
      const answer = await this.#once(url, options, url.origin === start.origin);
      const { location } = answer.headers;
      if (![301, 302, 303, 307, 308].includes(answer.statusCode ?? 0) || location === undefined) return answer;
      answer.resume();
      const next = URL.canParse(location, url) ? new URL(location, url) : undefined;
      const insecure = url.protocol === "https:" && next?.protocol !== "https:";
      if (next === undefined || !["http:", "https:"].includes(next.protocol) || insecure) {
        throw registryFailure("a redirect that cannot be followed", url);
      }
      url = next;
    }
    throw registryFailure("too many redirects", start);
  }

  #once(url: URL, options: HttpOptions, sameOrigin: boolean): Promise<IncomingMessage> {
    throwIfAborted(options.signal);
    const headers = { "user-agent": "rootling", ...options.headers };
    if (options.authorization !== undefined && sameOrigin) {
      Object.assign(headers, { authorization: options.authorization });
    }
    return new Promise((resolve, reject) => {
      const secure = url.protocol === "https:";
      const send = secure ? httpsRequest : httpRequest;
      const agent = secure ? this.#https : this.#http;
      const request = send(url, { method: "GET", headers, agent, signal: options.signal });
      request.setTimeout(options.timeout * 1000, () => {
        request.destroy(new Error(`no answer for ${options.timeout} seconds`));
      });
      request.on("response", resolve);
      request.on("error", (error) => reject(networkFailure(error, url, options.signal)));
      request.end();
    });
  }
}

/** The body as it arrives. Throws E_NETWORK when it stops. */
export async function* bodyOf(answer: IncomingMessage, url: URL, signal: AbortSignal): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of answer) yield chunk as Buffer;
  } catch (error) {
    throw networkFailure(error, url, signal);
  }
}

/** A whole small body. */
export async function smallBody(
  answer: IncomingMessage,
  url: URL,
  limit: number,
  signal: AbortSignal,
): Promise<Buffer> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of bodyOf(answer, url, signal)) {
    size += part.length;
    if (size > limit) throw tooLarge(`an answer of more than ${limit} bytes`, url.host);
    parts.push(part);
  }
  return Buffer.concat(parts);
}

function networkFailure(error: unknown, url: URL, signal: AbortSignal): Failure {
  if (error instanceof Failure) return error;
  if (signal.aborted) return interruption(signal);
  const errno = errnoOf(error);
  const known: Record<string, string> = {
    ECONNREFUSED: "nothing answers there",
    ENOTFOUND: "the host name is not known",
    EAI_AGAIN: "the host name cannot be looked up now",
    ECONNRESET: "the connection was cut",
    ETIMEDOUT: "no answer in time",
    EHOSTUNREACH: "the host cannot be reached",
    ENETUNREACH: "the network cannot be reached",
  };
  const why = (errno === undefined ? undefined : known[errno]) ?? escapeText((error as Error).message.slice(0, 200));
  return new Failure("E_NETWORK", `the registry cannot be read: ${why}`, {
    where: url.host,
    mend: "check the name of the registry and the network, and try again",
    cause: error,
  });
}

export function registryFailure(what: string, url: URL): Failure {
  return new Failure("E_REGISTRY", what, { where: url.host, mend: "check the name of the registry" });
}
