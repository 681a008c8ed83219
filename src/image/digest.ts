/** Digests: the only form accepted, and a check of bytes against one. */
import type { Hash } from "node:crypto";
import { Failure } from "../base/errors.ts";
import { escapeText, formatBytes } from "../base/text.ts";
import type { Digest } from "./types.ts";

/** `text` as a digest. Throws E_DIGEST for anything but sha256 in lower case: it becomes part of paths and URLs. */
export function parseDigest(text: unknown, where: string): Digest {
  if (typeof text === "string" && /^sha256:[0-9a-f]{64}$/.test(text)) return text as Digest;
  throw new Failure("E_DIGEST", `not a digest that is accepted: ${escapeText(String(text).slice(0, 100))}`, {
    where,
    mend: "a digest is sha256: and 64 lower-case hexadecimal digits",
  });
}

export const digestHex = (digest: Digest): string => digest.slice("sha256:".length);

/** crypto is loaded when first used: the words of a start read references, and no start computes a digest. */
const createHash = (): Hash => process.getBuiltinModule("node:crypto").createHash("sha256");

export const digestOf = (bytes: Uint8Array | string): Digest =>
  `sha256:${createHash().update(bytes).digest("hex")}` as Digest;

/** Checks bytes that arrive in pieces against what was promised for them. */
export class Verifier {
  readonly #hash: Hash = createHash();
  readonly #digest: Digest;
  readonly #size: number | undefined;
  readonly #where: string;
  #seen = 0;

  constructor(digest: Digest, size: number | undefined, where: string) {
    this.#digest = digest;
    this.#size = size;
    this.#where = where;
  }

  /** Throws E_DIGEST as soon as there is more than was promised. */
  update(chunk: Uint8Array): void {
    this.#seen += chunk.length;
    if (this.#size !== undefined && this.#seen > this.#size) throw this.#failure("more bytes than were promised");
    this.#hash.update(chunk);
  }

  /** Throws E_DIGEST unless exactly the promised bytes were seen. */
  end(): void {
    if (this.#size !== undefined && this.#seen !== this.#size) {
      throw this.#failure(`${formatBytes(this.#seen)} instead of the promised ${formatBytes(this.#size)}`);
    }
    const found = `sha256:${this.#hash.digest("hex")}`;
    if (found !== this.#digest) throw this.#failure(`the bytes have the digest ${found}, not ${this.#digest}`);
  }

  #failure(what: string): Failure {
    return new Failure("E_DIGEST", what, {
      where: this.#where,
      mend: "try again; if it stays, the image is damaged where it is kept or on its way",
    });
  }
}

/** Passes `chunks` on and fails at their end unless they are what was promised. */
export async function* verified(
  chunks: AsyncIterable<Buffer>,
  digest: Digest,
  size: number | undefined,
  where: string,
): AsyncGenerator<Buffer> {
  const verifier = new Verifier(digest, size, where);
  for await (const chunk of chunks) {
    verifier.update(chunk);
    yield chunk;
  }
  verifier.end();
}
