/** A repository of a registry: distribution-spec. */
import { Failure } from "../../base/errors.ts";
import { escapeText } from "../../base/text.ts";
import { digestOf, Verifier } from "../digest.ts";
import { limits } from "../limits.ts";
import type { BlobInfo, Digest } from "../types.ts";
import { Authorizer } from "./auth.ts";
import type { CredentialStore, Credentials } from "./credentials.ts";
import { type Endpoint, publicHost } from "./endpoints.ts";
import { type Answer, type Connections, discard } from "./http.ts";
import { isObject } from "./json.ts";
import { ACCEPTED, type Document } from "./manifest.ts";
import { resumable } from "./resume.ts";
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

export class Repository {
  readonly endpoint: Endpoint;
  readonly #shared: Shared;
  readonly #authorizer: Authorizer;
  #base: Promise<URL> | undefined;

  constructor(endpoint: Endpoint, shared: Shared) {
    this.endpoint = endpoint;
    this.#shared = shared;
    if (endpoint.insecure) shared.connections.trustBlindly(endpoint.host);
    const { connections, retries, credentials, signal } = shared;
    const host = publicHost(endpoint.host);
    this.#authorizer = new Authorizer({
      connections,
      retries,
      signal,
      repository: endpoint.repository,
      credentials: () => credentials.find(host, endpoint.repository, endpoint.named),
      credentialsOf: (realm) => credentials.find(realm, undefined, false),
      denied: (used) => this.#denied(used),
    });
  }

  /** A manifest or index by tag or digest, whose bytes are verified in the latter case. */
  async manifest(tagOrDigest: string, pinned?: { digest: Digest; size: number | undefined }): Promise<Document> {
    const { connections, retries, signal } = this.#shared;
    const headers = { accept: ACCEPTED.join(", ") };
    return retries.run(async () => {
      const answer = await this.#get(`manifests/${tagOrDigest}`, headers, signal);
      const bytes = await connections.read(answer, limits.manifestBytes, signal);
      if (pinned !== undefined) verify(bytes, pinned.digest, pinned.size);
      const digest = digestOf(bytes);
      const claimed = answer.headers["docker-content-digest"];
      if (typeof claimed === "string" && claimed.startsWith("sha256:") && claimed !== digest) {
        throw new Failure("E_DIGEST", "the manifest does not have the digest that the registry gives for it", {
          where: this.#shared.shown,
          mend: "try again; if it stays, the registry is damaged",
        });
      }
      return { digest, bytes, mediaType: answer.headers["content-type"] };
    }, signal);
  }

  /** A small blob, verified. */
  async smallBlob(blob: BlobInfo, limit: number): Promise<Buffer> {
    const { connections, retries, signal } = this.#shared;
    return retries.run(async () => {
      const answer = await this.#get(`blobs/${blob.digest}`, {}, signal);
      const bytes = await connections.read(answer, Math.min(limit, blob.size + 1), signal);
      verify(bytes, blob.digest, blob.size);
      return bytes;
    }, signal);
  }

  /** A blob's bytes from `offset` on, which the caller verifies. */
  async blob(blob: BlobInfo, offset: number, signal: AbortSignal): Promise<AsyncIterable<Buffer>> {
    const { connections, retries } = this.#shared;
    const ask = (from: number) =>
      retries.run(
        () => this.#get(`blobs/${blob.digest}`, from === 0 ? {} : { range: `bytes=${from}-` }, signal),
        signal,
      );
    return resumable(blob, offset, { connections, retries, signal, ask });
  }

  async #get(path: string, headers: Record<string, string>, signal: AbortSignal): Promise<Answer> {
    const url = new URL(path, await this.#settledBase());
    for (let refusals = 0; ; refusals++) {
      const pass = await this.#authorizer.pass();
      const answer = await this.#shared.connections.send(url, { headers, signal, authorization: pass?.header });
      if (answer.status === 200 || (answer.status === 206 && headers.range !== undefined)) return answer;
      // Whoever a redirect leads to has no say in where credentials go.
      if (answer.status !== 401 || answer.url.origin !== url.origin || refusals === MOST_REFUSALS) {
        throw await this.#refusal(answer, url, signal);
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
    const { schemes, host, repository } = this.endpoint;
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
      const { host, repository, named } = this.endpoint;
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

function verify(bytes: Buffer, digest: Digest, size: number | undefined): void {
  const verifier = new Verifier(digest, size, digest);
  verifier.update(bytes);
  verifier.end();
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
