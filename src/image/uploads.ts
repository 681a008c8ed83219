/** Blobs and manifests on their way into a repository: distribution-spec, "Push". */
import { Failure } from "../base/errors.ts";
import type { Descriptor, Document } from "./oci-documents.ts";
import { Ranges } from "./ranges.ts";
import type { Endpoint } from "./sources/endpoints.ts";
import { type Answer, discard, type HttpRequest } from "./sources/http.ts";
import { Passing, registryFailure } from "./sources/network-failures.ts";
import { Session, type Shared } from "./sources/session.ts";
import type { Digest } from "./types.ts";

/** A blob that can be sent, more than once. */
export interface Sendable extends Descriptor {
  open(): Promise<AsyncIterable<Buffer>>;
}

/** Bytes of one request, unless the registry wants more. What is broken off is sent again from where it began. */
const CHUNK_BYTES = 64 << 20;
/** Bytes that a registry may ask for in one request, at most. */
const LARGEST_CHUNK = 1 << 30;

const BINARY = { "content-type": "application/octet-stream" };

export interface UploadOptions {
  /** Other repositories of the registry from which blobs will be mounted. */
  from: readonly string[];
  chunkBytes: number | undefined;
}

/** Where a blob may be sent to, and what of it is there. */
interface Place {
  url: URL;
  /** Bytes. */
  at: number;
  /** Bytes that the registry wants in one request at least. */
  least: number;
}

/** The registry takes a blob in one request only. */
class NoChunks extends Error {}

export class Uploads {
  readonly #session: Session;
  readonly #shared: Shared;
  readonly #chunkBytes: number;

  constructor(endpoint: Endpoint, shared: Shared, { from, chunkBytes = CHUNK_BYTES }: UploadOptions) {
    const scopes = [`repository:${endpoint.repository}:pull,push`, ...from.map((name) => `repository:${name}:pull`)];
    this.#session = new Session(endpoint, shared, scopes);
    this.#shared = shared;
    this.#chunkBytes = chunkBytes;
  }

  /** Whether the repository has a blob. */
  async has({ digest, size }: Descriptor): Promise<boolean> {
    const url = await this.#session.url(`blobs/${digest}`);
    return this.#trying(async () => {
      const answer = await this.#send(url, { method: "HEAD", headers: {} }, [200, 404]);
      // An answer to HEAD has no body, whatever length it names.
      answer.message.resume();
      const length = answer.headers["content-length"];
      return answer.status === 200 && (length === undefined || Number(length) === size);
    });
  }

  /** Takes a blob over from the repository `from` of the same registry. False where that cannot be done. */
  async mount({ digest }: Descriptor, from: string): Promise<boolean> {
    const words = new URLSearchParams({ mount: digest, from });
    const url = await this.#session.url(`blobs/uploads/?${words}`);
    return this.#trying(async () => {
      const answer = await this.#send(url, { method: "POST", headers: { "content-length": "0" } }, [201, 202]);
      discard(answer);
      return answer.status === 201;
    });
  }

  /**
   * Sends a blob. `report` gets the bytes that have arrived. Where a connection breaks, the registry is asked what it
   * has; what it has not is sent again.
   */
  async send(blob: Sendable, report: (bytes: number) => void): Promise<void> {
    const content = new Ranges(blob);
    let reported = 0;
    const reach = (bytes: number) => {
      if (bytes > reported) report(bytes - reported);
      reported = Math.max(reported, bytes);
    };
    let whole = blob.size <= this.#chunkBytes;
    let again = false;
    try {
      for (let tried = 0; ; ) {
        try {
          // An answer that was lost may have been a good one.
          if (tried > 0 && (await this.has(blob))) return reach(blob.size);
          const place = await this.#begin();
          const rest = whole ? place : await this.#chunks(content, place, reach);
          await this.#finish(blob, rest, content, reach, again);
          return;
        } catch (error) {
          again = true;
          // There are registries that know only one request.
          if (error instanceof NoChunks && !whole) whole = true;
          else await this.#shared.retries.pause(error, tried++, this.#shared.signal);
        }
      }
    } finally {
      await content.close();
    }
  }

  /** Puts a manifest under a tag. Throws E_REGISTRY where the registry stored something else. */
  async manifest({ bytes, mediaType, digest, size }: Document, tag: string): Promise<void> {
    const url = await this.#session.url(`manifests/${tag}`);
    const body = {
      size,
      open: async function* () {
        yield bytes;
      },
    };
    await this.#trying(async () => {
      const answer = await this.#send(url, { method: "PUT", headers: { "content-type": mediaType }, body }, [201]);
      discard(answer);
      const stored = answer.headers["docker-content-digest"];
      if (typeof stored === "string" && stored.startsWith("sha256:") && stored !== digest) {
        throw registryFailure("the registry stored another manifest than the one that it was sent", url);
      }
    });
  }

  /** Sends requests of a part each until all has arrived. */
  async #chunks(content: Ranges, begun: Place, reach: (bytes: number) => void): Promise<Place> {
    let place = begun;
    for (let tried = 0; place.at < content.size; ) {
      const before = place.at;
      try {
        place = await this.#chunk(content, place, reach);
      } catch (error) {
        if (!(error instanceof Passing)) throw error;
        const found = await this.#status(place);
        // Nothing to go on with: whoever called begins anew.
        if (found === undefined) throw error;
        place = found;
        if (place.at > before) tried = 0;
        await this.#shared.retries.pause(error, tried++, this.#shared.signal);
      }
    }
    return place;
  }

  async #chunk(content: Ranges, place: Place, reach: (bytes: number) => void): Promise<Place> {
    const end = Math.min(content.size, place.at + Math.max(this.#chunkBytes, place.least));
    const answer = await this.#send(
      place.url,
      {
        method: "PATCH",
        headers: { ...BINARY, "content-range": `${place.at}-${end - 1}` },
        body: { size: end - place.at, open: () => content.range(place.at, end, reach) },
      },
      [202, 400, 404, 405, 416, 501],
    );
    discard(answer);
    if (answer.status === 416) {
      // A request whose answer was lost may have arrived in part, or as a whole.
      throw new Passing("E_REGISTRY", "the registry has another part of a blob than it said", {
        where: place.url.host,
      });
    }
    if (answer.status !== 202) throw new NoChunks();
    return { ...placeOf(answer, place.least), at: receivedOf(answer) ?? end };
  }

  /** What the registry has of a blob that is being sent; undefined where it does not say. */
  async #status({ url, least }: Place): Promise<Place | undefined> {
    try {
      return await this.#trying(async () => {
        const answer = await this.#send(url, { headers: {} }, [204, 200]);
        discard(answer);
        const at = receivedOf(answer);
        return at === undefined ? undefined : { ...placeOf(answer, least, url), at };
      });
    } catch (error) {
      // Docker's registry forgets an upload that broke off within a request.
      if (error instanceof Failure && (error.code === "E_NOT_FOUND" || error.code === "E_REGISTRY")) return undefined;
      throw error;
    }
  }

  async #begin(): Promise<Place> {
    const url = await this.#session.url("blobs/uploads/");
    return this.#trying(async () => {
      const answer = await this.#send(url, { method: "POST", headers: { "content-length": "0" } }, [202]);
      discard(answer);
      const least = Number(answer.headers["oci-chunk-min-length"] ?? 0);
      return { ...placeOf(answer, least > 0 && least <= LARGEST_CHUNK ? least : 0), at: 0 };
    });
  }

  /** Sends what follows `place.at`, and says that this is all. */
  async #finish(
    { digest, size }: Descriptor,
    place: Place,
    content: Ranges,
    reach: (bytes: number) => void,
    again: boolean,
  ) {
    const body = { size: size - place.at, open: () => content.range(place.at, size, reach) };
    const request: Omit<HttpRequest, "signal"> =
      body.size === 0
        ? { method: "PUT", headers: { "content-length": "0" } }
        : { method: "PUT", headers: BINARY, body };
    const answer = await this.#send(
      withDigest(place.url, digest),
      request,
      again || place.at > 0 ? [201, 204, 404] : [201, 204],
    );
    discard(answer);
    if (answer.status === 404) {
      // Docker's registry may say that it has what came before a break, and forget it a moment later.
      throw new Passing("E_REGISTRY", "the registry has forgotten what was sent of a blob", { where: place.url.host });
    }
    reach(size);
  }

  #send(url: URL, request: Omit<HttpRequest, "signal">, good: readonly number[]): Promise<Answer> {
    const { signal } = this.#shared;
    return this.#session.send(url, { ...request, signal }, (status) => good.includes(status));
  }

  #trying<T>(attempt: () => Promise<T>): Promise<T> {
    return this.#shared.retries.run(attempt, this.#shared.signal);
  }
}

/** The address with what the specification wants there; what the registry wrote stays as it is. */
function withDigest(place: URL, digest: Digest): URL {
  const url = new URL(place);
  url.search = `${url.search === "" ? "?" : `${url.search}&`}digest=${encodeURIComponent(digest)}`;
  return url;
}

/** Where the registry wants the next request: never without TLS where it was asked with it. */
function placeOf({ headers, url }: Answer, least: number, present?: URL): Omit<Place, "at"> {
  const { location } = headers;
  if (location === undefined && present !== undefined) return { url: present, least };
  const next = location !== undefined && URL.canParse(location, url) ? new URL(location, url) : undefined;
  const secure = next?.protocol === "https:" || (next?.protocol === "http:" && url.protocol === "http:");
  if (next === undefined || !secure) throw registryFailure("it names no usable place for what is sent", url);
  // node:http would send these as credentials.
  next.username = next.password = "";
  return { url: next, least };
}

/** Bytes that have arrived, by the header Range. Docker's registry writes `0-0` for none. */
function receivedOf({ headers }: Answer): number | undefined {
  const [, last] = /^(?:bytes=)?0-([0-9]{1,15})$/.exec(String(headers.range ?? "")) ?? [];
  if (last === undefined) return undefined;
  return last === "0" ? 0 : Number(last) + 1;
}
