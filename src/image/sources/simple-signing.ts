/**
 * Signatures of simple signing: messages that GnuPG signed, beside the registry in a "lookaside" storage
 * (containers/image, docs/atomic-signature.md and docs/signature-protocols.md). gpgv verifies them.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { throwIfAborted } from "../../base/context.ts";
import { Failure, fileFailure } from "../../base/errors.ts";
import { removeTree } from "../../base/files.ts";
import { requireProgram, run } from "../../base/process.ts";
import { digestHex } from "../digest.ts";
import { tooLarge } from "../limits.ts";
import type { Digest } from "../types.ts";
import { readSmall, temporaryPath } from "./files.ts";
import { type Connections, discard } from "./http.ts";
import type { DockerReference } from "./reference.ts";
import { Retries } from "./retry.ts";
import type { OpenContext } from "./source.ts";
import { passingStatus } from "./status.ts";

/** Signatures of one image: each costs a request. */
const MOST_SIGNATURES = 100;
const LARGEST_SIGNATURE = 1 << 20;

/** A signed message as it was found; nothing of it is verified. */
export interface SignedMessage {
  /** What it was found for. */
  readonly of: Digest;
  readonly bytes: Buffer;
}

/** The signatures that a storage has for any of these documents. `base` is its URL: of http, https or file. */
export async function messagesOf(
  base: string,
  { name }: DockerReference,
  digests: readonly Digest[],
  connections: Connections,
  context: OpenContext,
): Promise<SignedMessage[]> {
  const found: SignedMessage[] = [];
  for (const of of digests) {
    const place = `${base.replace(/\/+$/, "")}/${name}@sha256=${digestHex(of)}`;
    for (let number = 1; ; number++) {
      if (number > MOST_SIGNATURES) throw tooLarge("an image of too many signatures", place);
      const bytes = await fetchMessage(`${place}/signature-${number}`, connections, context);
      if (bytes === undefined) break;
      found.push({ of, bytes });
    }
  }
  return found;
}

/** Undefined where there is none. */
async function fetchMessage(text: string, connections: Connections, context: OpenContext) {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol === "file:") return readMessage(url);
  if (url?.protocol !== "http:" && url?.protocol !== "https:") {
    throw new Failure("E_SETTING", "a storage of signatures is an URL of https, http or file", {
      where: "lookaside of registries.d",
      mend: "see containers-registries.d(5)",
    });
  }
  const { signal } = context;
  return new Retries(context).run(async () => {
    const answer = await connections.send(url, { headers: {}, signal });
    if (answer.status === 200) return connections.read(answer, LARGEST_SIGNATURE, signal);
    const passing = passingStatus(answer);
    if (passing !== undefined) throw passing;
    discard(answer);
    if (answer.status === 404) return undefined;
    throw new Failure("E_REGISTRY", `the storage of signatures answered ${answer.status}`, {
      where: url.host,
      mend: "check lookaside in registries.d (containers-registries.d(5))",
    });
  }, signal);
}

async function readMessage(url: URL): Promise<Buffer | undefined> {
  try {
    return await readSmall(fileURLToPath(url), LARGEST_SIGNATURE);
  } catch (error) {
    if (error instanceof Failure && error.code === "E_NOT_FOUND") return undefined;
    throw error;
  }
}

/** Verifies messages against a keyring. Its files go with `close`. */
export class Verification {
  readonly #directory: string;
  readonly #signal: AbortSignal;

  private constructor(directory: string, signal: AbortSignal) {
    this.#directory = directory;
    this.#signal = signal;
  }

  /** `keys`: keyrings of OpenPGP, binary or in ASCII armour; each of their keys is trusted. */
  static async open(keys: readonly Buffer[], context: OpenContext): Promise<Verification> {
    const directory = await temporaryPath(context);
    try {
      await mkdir(directory, { mode: 0o700 });
      await writeFile(join(directory, "keys.gpg"), Buffer.concat(keys.map(dearmour)), { mode: 0o600 });
    } catch (error) {
      await removeTree(directory).catch(() => {});
      throw fileFailure(error, "keeping keys in a temporary directory", directory);
    }
    return new Verification(directory, context.signal);
  }

  /** What a message says, if one of the keys signed it, and nothing but it; undefined otherwise. */
  async read(message: Buffer): Promise<Buffer | undefined> {
    const file = join(this.#directory, "message");
    await writeFile(file, message, { mode: 0o600 });
    const words = ["--homedir", this.#directory, "--keyring", join(this.#directory, "keys.gpg")];
    const parts: Buffer[] = [];
    let status = "";
    const running = run(requireProgram("gpgv", "gpgv"), [...words, "--status-fd", "2", "--output", "-", "--", file], {
      stdout: "pipe",
      signal: this.#signal,
      onStderr: (chunk) => void (status = (status + chunk).slice(-(64 << 10))),
    });
    running.child.stdout?.on("data", (chunk: Buffer) => parts.push(chunk));
    const good = await running.finished.then(
      () => saysGood(status),
      () => false,
    );
    throwIfAborted(this.#signal);
    return good ? Buffer.concat(parts) : undefined;
  }

  async close(): Promise<void> {
    await removeTree(this.#directory).catch(() => {});
  }
}

/** One text, one signature, which is good, of a key that is valid (gnupg, doc/DETAILS). */
function saysGood(status: string): boolean {
  const words = [...status.matchAll(/^\[GNUPG:\] ([A-Z_]+)/gm)].map(([, word]) => word);
  const count = (word: string) => words.filter((one) => one === word).length;
  return ["PLAINTEXT", "NEWSIG", "GOODSIG", "VALIDSIG"].every((word) => count(word) === 1);
}

/** ASCII armour as bytes (RFC 9580, 6); other bytes as they are. gpgv reads no armoured keyring. */
function dearmour(key: Buffer): Buffer {
  const text = key.toString("latin1");
  if (!/^\s*-----BEGIN PGP /.test(text)) return key;
  const blocks = text.matchAll(/-----BEGIN PGP PUBLIC KEY BLOCK-----\r?\n([\s\S]*?)-----END PGP/g);
  const bytes = Array.from(blocks, ([, block = ""]) => {
    // Behind the headers and an empty line; the checksum begins with =.
    const body = block.replace(/^(?:[^\n]*: [^\n]*\n)*\s*\n/, "").replace(/^=[^\n]*$/m, "");
    return Buffer.from(body, "base64");
  });
  return Buffer.concat(bytes);
}
