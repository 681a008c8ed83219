/** One repository at a registry, spoken to: the right scheme, authorization, and refusals in words. */
import { Failure } from "../../base/errors.ts";
import { escapeText } from "../../base/text.ts";
import { Authorizer } from "./auth.ts";
import type { CredentialStore, Credentials } from "./credentials.ts";
import { type Endpoint, publicHost } from "./endpoints.ts";
import { type Answer, type Connections, discard, type HttpRequest } from "./http.ts";
import { isObject } from "./json.ts";
import type { Retries } from "./retry.ts";
import { passingStatus } from "./status.ts";

/** What the repositories of one image share. */
export interface Shared {
  connections: Connections;
  retries: Retries;
  credentials: CredentialStore;
  signal: AbortSignal;
  /** How the image is named in failures. */
  shown: string;
}

/** Answers to one request that may be 401: without a token, with one that has expired, with a new one. */
const MOST_REFUSALS = 2;

export class Session {
  readonly #endpoint: Endpoint;
  readonly #shared: Shared;
  readonly #authorizer: Authorizer;
  #base: Promise<URL> | undefined;

  /** `scopes`: what will be asked for, as the token specification writes it. */
  constructor(endpoint: Endpoint, shared: Shared, scopes: readonly string[]) {
    this.#endpoint = endpoint;
    this.#shared = shared;
    if (endpoint.insecure) shared.connections.trustBlindly(endpoint.host);
    const { connections, retries, credentials, signal } = shared;
    const host = publicHost(endpoint.host);
    this.#authorizer = new Authorizer({
      connections,
      retries,
      signal,
      scopes,
      credentials: () => credentials.find(host, endpoint.repository, endpoint.named),
      credentialsOf: (realm) => credentials.find(realm, undefined, false),
      denied: (used) => this.#denied(used),
    });
  }

  /** The address of a path in the repository, such as `manifests/latest`. */
  async url(path: string): Promise<URL> {
    return new URL(path, await this.#settledBase());
  }

  /**
   * Sends a request once, with authorization where it goes to the registry itself. Throws for every status that is not
   * `good`: Passing where another try makes sense.
   */
  async send(url: URL, request: HttpRequest, good: (status: number) => boolean): Promise<Answer> {
    const base = await this.#settledBase();
    for (let refusals = 0; ; refusals++) {
      const pass = url.origin === base.origin ? await this.#authorizer.pass() : undefined;
      const answer = await this.#shared.connections.send(url, { ...request, authorization: pass?.header });
      if (good(answer.status)) return answer;
      // Whoever a redirect leads to, or another host that was named, has no say in where credentials go.
      const ours = answer.url.origin === url.origin && url.origin === base.origin;
      if (answer.status !== 401 || !ours || refusals === MOST_REFUSALS) {
        throw await this.#refusal(answer, url, request.signal);
      }
      discard(answer);
      await this.#authorizer.refused(answer.headers["www-authenticate"] ?? "", pass, url);
    }
  }

  #settledBase(): Promise<URL> {
    this.#base ??= this.#settle().catch((error: unknown) => {
      this.#base = undefined;
      throw error;
    });
    return this.#base;
  }

  /** Where there is a choice between HTTP and HTTPS, the first that answers. Nothing secret is sent. */
  async #settle(): Promise<URL> {
    const { schemes, host, repository } = this.#endpoint;
    const bases = schemes.map((scheme) => new URL(`${scheme}://${host}/v2/${repository}/`));
    const [only, ...others] = bases as [URL, ...URL[]];
    if (others.length === 0) return only;
    const { retries, signal } = this.#shared;
    return retries.run(async () => {
      let failure: unknown;
      for (const base of bases) {
        try {
          if (await this.#speaks(base)) return base;
        } catch (error) {
          // A certificate, trusted or not, says that this was the right way.
          if (error instanceof Failure && error.code === "E_CERTIFICATE") throw error;
          failure ??= error;
        }
      }
      if (failure !== undefined) throw failure;
      return only;
    }, signal);
  }

  /** Servers with TLS answer plain HTTP with 400, or not at all (Go's net/http, nginx). */
  async #speaks(base: URL): Promise<boolean> {
    const { connections, signal } = this.#shared;
    const answer = await connections.send(new URL("/v2/", base), { headers: {}, signal });
    discard(answer);
    return answer.status !== 400;
  }

  async #refusal(answer: Answer, url: URL, signal: AbortSignal): Promise<Failure> {
    const { status } = answer;
    const passing = passingStatus(answer);
    if (passing !== undefined) return passing;
    const said = await this.#shared.connections.read(answer, 64 << 10, signal).then(errorMessage, () => "");
    if (status === 401 || status === 403) {
      const { credentials } = this.#shared;
      const { host, repository, named } = this.#endpoint;
      const asked = (await this.#authorizer.pass()) !== undefined;
      return this.#denied(asked ? await credentials.find(publicHost(host), repository, named) : undefined);
    }
    if (status === 404) {
      return new Failure("E_NOT_FOUND", `the registry has no such image${said === "" ? "" : ` (${said})`}`, {
        where: this.#shared.shown,
        mend: "check name and tag",
      });
    }
    return new Failure("E_REGISTRY", `the registry answered ${status}${said === "" ? "" : `: ${said}`}`, {
      where: url.host,
      mend: "check the name of the registry",
    });
  }

  #denied(used: Credentials | undefined): Failure {
    const where = this.#shared.shown;
    if (used === undefined) {
      return new Failure("E_DENIED", "the registry refuses access: the image does not exist or needs a login", {
        where,
        mend: "check the name; log in with `podman login` or `docker login`, or use --username",
      });
    }
    return new Failure("E_DENIED", "the registry refuses access to this user", {
      where,
      mend: `check the credentials of ${used.origin}, and the name of the image`,
    });
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
