/** A repository of a registry: distribution-spec, with Bearer tokens as docker's token specification has them. */
import type { IncomingMessage } from "node:http";
import { Failure } from "../../base/errors.ts";
import { escapeText } from "../../base/text.ts";
import { digestOf } from "../digest.ts";
import { limits } from "../limits.ts";
import type { Digest } from "../types.ts";
import { bodyOf, Connections, registryFailure, smallBody } from "./http.ts";
import { isObject, parseJson } from "./json.ts";
import { ACCEPTED, type Document } from "./manifest.ts";
import type { DockerReference } from "./reference.ts";
import type { OpenContext } from "./source.ts";

/** Hosts of this machine speak plain HTTP. */
const LOOPBACK = /^(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]+)?$/;

export class Repository {
  readonly #reference: DockerReference;
  readonly #base: URL;
  readonly #context: OpenContext;
  readonly #connections: Connections;
  #authorization: string | undefined;
  #challenge: Promise<void> | undefined;

  constructor(reference: DockerReference, context: OpenContext) {
    this.#reference = reference;
    const scheme = LOOPBACK.test(reference.registry) ? "http" : "https";
    this.#base = new URL(`${scheme}://${reference.registry}/v2/${reference.name}/`);
    this.#context = context;
    this.#connections = new Connections(context.settings.MAX_CONNECTIONS);
  }

  close(): void {
    this.#connections.close();
  }

  /** A manifest or index by tag or digest. With a digest the caller verifies the bytes. */
  async manifest(tagOrDigest: string): Promise<Document> {
    const url = new URL(`manifests/${tagOrDigest}`, this.#base);
    const answer = await this.#get(url, { accept: ACCEPTED.join(", ") }, this.#context.signal);
    const bytes = await smallBody(answer, url, limits.manifestBytes, this.#context.signal);
    return { digest: digestOf(bytes), bytes, mediaType: answer.headers["content-type"] };
  }

  /** A blob's bytes, which the caller verifies. */
  async blob(digest: Digest, signal: AbortSignal): Promise<AsyncIterable<Buffer>> {
    const url = new URL(`blobs/${digest}`, this.#base);
    return bodyOf(await this.#get(url, {}, signal), url, signal);
  }

  async #get(url: URL, headers: Record<string, string>, signal: AbortSignal): Promise<IncomingMessage> {
    const { TRANSFER_TIMEOUT: timeout } = this.#context.settings;
    const send = () => this.#connections.get(url, { headers, signal, timeout, authorization: this.#authorization });
    let answer = await send();
    if (answer.statusCode === 401) {
      const challenge = answer.headers["www-authenticate"] ?? "";
      answer.resume();
      // Parallel requests that are all refused ask for one token.
      this.#challenge ??= this.#answerChallenge(challenge, url);
      await this.#challenge;
      answer = await send();
    }
    if (answer.statusCode === 200) return answer;
    throw await this.#refusal(answer, url, signal);
  }

  async #answerChallenge(challenge: string, url: URL): Promise<void> {
    const [, scheme = "", rest = ""] = /^\s*([A-Za-z]+)\s*(.*)$/s.exec(challenge) ?? [];
    if (scheme.toLowerCase() !== "bearer") throw this.#denied();
    const parameters = new Map<string, string>();
    for (const [, key = "", quoted, plain] of rest.matchAll(/([A-Za-z]+)=(?:"([^"]*)"|([^\s,]+))/g)) {
      parameters.set(key.toLowerCase(), quoted ?? plain ?? "");
    }
    const realm = parameters.get("realm") ?? "";
    const token = URL.canParse(realm) ? new URL(realm) : undefined;
    const secure = token?.protocol === "https:" || (token?.protocol === "http:" && this.#base.protocol === "http:");
    if (token === undefined || !secure) throw registryFailure("it names no usable place for tokens", url);
    const service = parameters.get("service");
    if (service !== undefined) token.searchParams.set("service", service);
    token.searchParams.set("scope", `repository:${this.#reference.name}:pull`);
    this.#authorization = `Bearer ${await this.#fetchToken(token)}`;
  }

  async #fetchToken(url: URL): Promise<string> {
    const { signal, settings } = this.#context;
    const answer = await this.#connections.get(url, { headers: {}, signal, timeout: settings.TRANSFER_TIMEOUT });
    if (answer.statusCode !== 200) throw await this.#refusal(answer, url, signal);
    const json = parseJson(await smallBody(answer, url, limits.manifestBytes, signal), url.host);
    const token = json.token ?? json.access_token;
    // Of a header's characters, so that it cannot become two headers.
    if (typeof token !== "string" || !/^[\x21-\x7e]+$/.test(token)) throw registryFailure("it gave no token", url);
    return token;
  }

  async #refusal(answer: IncomingMessage, url: URL, signal: AbortSignal): Promise<Failure> {
    const status = answer.statusCode ?? 0;
    const said = await smallBody(answer, url, 64 << 10, signal).then(errorMessage, () => "");
    if (status === 401 || status === 403) return this.#denied();
    if (status === 404) {
      return new Failure("E_NOT_FOUND", `the registry has no such image${said === "" ? "" : ` (${said})`}`, {
        where: this.#shown(),
        mend: "check name and tag",
      });
    }
    return new Failure("E_REGISTRY", `the registry answered ${status}${said === "" ? "" : `: ${said}`}`, {
      where: this.#shown(),
      mend: status === 429 || status >= 500 ? "try again later" : "check the name of the registry",
    });
  }

  #denied(): Failure {
    return new Failure("E_DENIED", "the registry refuses access: the image does not exist or is not public", {
      where: this.#shown(),
      mend: "check the name; images that need a login can be fetched with skopeo into an oci:DIRECTORY",
    });
  }

  #shown(): string {
    const { registry, name, tag, digest } = this.#reference;
    return `docker://${registry}/${name}${tag === undefined ? "" : `:${tag}`}${digest === undefined ? "" : `@${digest}`}`;
  }
}

/** The message in an error answer of the specification, safe to show. */
function errorMessage(body: Buffer): string {
  try {
    const json: unknown = JSON.parse(body.toString("utf8"));
    const first: unknown = isObject(json) && Array.isArray(json.errors) ? json.errors[0] : undefined;
    const message = isObject(first) ? first.message : undefined;
    return typeof message === "string" ? escapeText(message.slice(0, 200)) : "";
  } catch {
    return "";
  }
}
