/**
 * Authorization at one registry: Basic (RFC 7617) and Bearer tokens as distribution's token specification has them
 * (distribution.github.io/distribution/spec/auth/token, …/oauth).
 */
import type { Failure } from "../../base/errors.ts";
import { limits } from "../limits.ts";
import type { Credentials } from "./credentials.ts";
import { type Answer, type Connections, discard } from "./http.ts";
import { parseJson } from "./json.ts";
import { registryFailure } from "./network-failures.ts";
import type { Retries } from "./retry.ts";
import { passingStatus } from "./status.ts";

/** What is sent as `Authorization`. Each has an identity: of many requests that one refused, only the first renews it. */
export interface Pass {
  readonly header: string;
  readonly kind: "basic" | "bearer";
  /** Date.now() from which on it is not used any more. */
  readonly expires: number;
}

export interface AuthorizerOptions {
  connections: Connections;
  retries: Retries;
  signal: AbortSignal;
  /** What is wanted, as the token specification writes it: `repository:NAME:pull`. */
  scopes: readonly string[];
  /** What was configured for the registry; asked for once it refuses anonymous requests. */
  credentials(): Promise<Credentials | undefined>;
  /** What was configured for a token server by its own name. */
  credentialsOf(host: string): Promise<Credentials | undefined>;
  /** The failure of a registry that refuses access. */
  denied(used: Credentials | undefined): Failure;
}

/** Seconds that a token lives where the answer does not say (token specification). */
const DEFAULT_LIFETIME = 60;

export class Authorizer {
  readonly #options: AuthorizerOptions;
  #pass: Pass | undefined;
  #renew: (() => Promise<Pass>) | undefined;
  #renewing: Promise<Pass> | undefined;

  constructor(options: AuthorizerOptions) {
    this.#options = options;
  }

  /** What the next request is sent with; renewed before it expires, in the middle of a long pull too. */
  async pass(): Promise<Pass | undefined> {
    if (this.#pass !== undefined && Date.now() >= this.#pass.expires) return this.#renewed();
    return this.#pass;
  }

  /** The registry at `origin` refused a request that was sent with `used`. Throws E_DENIED where nothing can be done. */
  async refused(challenges: string, used: Pass | undefined, origin: URL): Promise<void> {
    // Another request that was refused as well has been quicker.
    if (this.#pass !== used) return;
    const offered = parseChallenges(challenges);
    const bearer = offered.find(({ scheme }) => scheme === "bearer");
    const basic = offered.some(({ scheme }) => scheme === "basic");
    if (bearer !== undefined) this.#renew = () => this.#token(bearer.parameters, origin);
    else if (basic && used?.kind !== "basic") this.#renew = () => this.#basic();
    else throw this.#options.denied(used === undefined ? undefined : await this.#options.credentials());
    await this.#renewed();
  }

  #renewed(): Promise<Pass | undefined> {
    this.#renewing ??= (this.#renew as () => Promise<Pass>)()
      .then((pass) => (this.#pass = pass))
      .finally(() => {
        this.#renewing = undefined;
      });
    return this.#renewing;
  }

  async #basic(): Promise<Pass> {
    const credentials = await this.#options.credentials();
    if (credentials?.kind !== "password") throw this.#options.denied(credentials);
    return { header: basicHeader(credentials), kind: "basic", expires: Number.POSITIVE_INFINITY };
  }

  async #token(parameters: ReadonlyMap<string, string>, origin: URL): Promise<Pass> {
    const realm = parameters.get("realm") ?? "";
    const url = URL.canParse(realm) ? new URL(realm) : undefined;
    const secure = url?.protocol === "https:" || (url?.protocol === "http:" && origin.protocol === "http:");
    if (url === undefined || !secure) throw registryFailure("it names no usable place for tokens", origin);
    url.username = url.password = "";
    const credentials = await this.#credentialsFor(url, origin);
    const service = parameters.get("service");
    const asked = Date.now();
    const { bytes, host } = await this.#ask(url, service, credentials);
    const json = parseJson(bytes, host);
    const token = json.token || json.access_token;
    // Of a header's characters, so that it cannot become two headers.
    if (typeof token !== "string" || !/^[\x21-\x7e]+$/.test(token)) throw registryFailure("it gave no token", url);
    const seconds = typeof json.expires_in === "number" && json.expires_in > 0 ? json.expires_in : DEFAULT_LIFETIME;
    // A tenth earlier than told, for the way there. Our clock counts, not theirs (issued_at).
    return { header: `Bearer ${token}`, kind: "bearer", expires: asked + seconds * 900 };
  }

  /**
   * The registry's credentials go to a token server elsewhere, as the specification means it (Docker Hub's is
   * auth.docker.io), only if the registry said so over TLS that was verified, and the server has TLS too. Otherwise
   * somebody on the way, or another program on this machine, could collect them: then only what was configured for
   * the token server by its own name is sent (compare containerd's CVE-2020-15157).
   */
  async #credentialsFor(realm: URL, origin: URL): Promise<Credentials | undefined> {
    const { connections, credentials, credentialsOf } = this.#options;
    const verified = origin.protocol === "https:" && !connections.isTrustedBlindly(origin);
    if (realm.origin === origin.origin) return credentials();
    const trusted = verified && realm.protocol === "https:" && !connections.isTrustedBlindly(realm);
    return (trusted ? await credentials() : undefined) ?? (await credentialsOf(realm.host));
  }

  async #ask(
    url: URL,
    service: string | undefined,
    credentials: Credentials | undefined,
  ): Promise<{ bytes: Buffer; host: string }> {
    const { connections, retries, signal, scopes } = this.#options;
    // In a URL each scope is a field of its own; in OAuth's form they are one (RFC 6749, 3.3).
    const apart = credentials?.kind === "identity" ? [scopes.join(" ")] : scopes;
    const fields = [
      ...apart.map((scope) => ["scope", scope]),
      ...(service === undefined ? [] : [["service", service]]),
    ];
    const given = new URLSearchParams(fields);
    return retries.run(async () => {
      const answer = await connections.send(url, { headers: {}, signal, ...tokenRequest(url, given, credentials) });
      if (answer.status !== 200) throw this.#refusal(answer, credentials);
      return { bytes: await connections.read(answer, limits.manifestBytes, signal), host: url.host };
    }, signal);
  }

  #refusal(answer: Answer, credentials: Credentials | undefined): Failure {
    discard(answer);
    if (answer.status === 401 || answer.status === 403) return this.#options.denied(credentials);
    return passingStatus(answer) ?? registryFailure(`the token server answered ${answer.status}`, answer.url);
  }
}

/** A GET with Basic, or anonymous; for an identity token the POST of OAuth 2: it must not stand in a URL. */
function tokenRequest(url: URL, fields: URLSearchParams, credentials: Credentials | undefined) {
  if (credentials?.kind === "identity") {
    const form = new URLSearchParams(fields);
    form.set("grant_type", "refresh_token");
    form.set("client_id", "rootling");
    form.set("refresh_token", credentials.token);
    return { form };
  }
  for (const name of fields.keys()) url.searchParams.delete(name);
  for (const [name, value] of fields) url.searchParams.append(name, value);
  return credentials === undefined ? {} : { authorization: basicHeader(credentials) };
}

const basicHeader = ({ user, password }: { user: string; password: string }): string =>
  `Basic ${Buffer.from(`${user}:${password}`, "utf8").toString("base64")}`;

interface Challenge {
  scheme: string;
  parameters: Map<string, string>;
}

/** WWW-Authenticate (RFC 9110, 11.6.1): several challenges may stand in one header, each with parameters. */
export function parseChallenges(text: string): Challenge[] {
  const found: Challenge[] = [];
  const token = /([A-Za-z0-9!#$%&'*+.^_`|~-]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+)))?/g;
  for (const [, name = "", quoted, plain] of text.slice(0, 8192).matchAll(token)) {
    if (quoted === undefined && plain === undefined) found.push({ scheme: name.toLowerCase(), parameters: new Map() });
    else found.at(-1)?.parameters.set(name.toLowerCase(), quoted?.replace(/\\(.)/g, "$1") ?? plain ?? "");
  }
  return found;
}
