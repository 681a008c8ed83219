/** A repository of a registry: distribution-spec. */
import { Failure } from "../../base/errors.ts";
import { digestOf, Verifier } from "../digest.ts";
import { limits } from "../limits.ts";
import type { BlobInfo, Digest } from "../types.ts";
import type { Endpoint } from "./endpoints.ts";
import type { Answer } from "./http.ts";
import { ACCEPTED, type Document } from "./manifest.ts";
import { resumable } from "./resume.ts";
import { Session, type Shared } from "./session.ts";

export class Repository {
  readonly endpoint: Endpoint;
  readonly #shared: Shared;
  readonly #session: Session;

  constructor(endpoint: Endpoint, shared: Shared) {
    this.endpoint = endpoint;
    this.#shared = shared;
    this.#session = new Session(endpoint, shared, [`repository:${endpoint.repository}:pull`]);
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
    const good = (status: number) => status === 200 || (status === 206 && headers.range !== undefined);
    return this.#session.send(await this.#session.url(path), { headers, signal }, good);
  }
}

function verify(bytes: Buffer, digest: Digest, size: number | undefined): void {
  const verifier = new Verifier(digest, size, digest);
  verifier.update(bytes);
  verifier.end();
}
