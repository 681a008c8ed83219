/** The keys that policy.json names: files, or bytes in the policy itself. */
import { readFileSync, statSync } from "node:fs";
import { errnoOf, Failure } from "../../base/errors.ts";
import type { KeySource } from "./policy.ts";

export interface FoundKey {
  readonly bytes: Buffer;
  /** The file, or the policy. */
  readonly origin: string;
}

/** Keyrings of distributions have some hundred KiB. */
const LARGEST = 4 << 20;

/** Reads them all. Throws E_SETTING where one cannot be read. `where` is the policy. */
export function readKeys(sources: readonly KeySource[], where: string): FoundKey[] {
  return sources.map((source) =>
    "path" in source
      ? { bytes: readKeyFile(source.path), origin: source.path }
      : { bytes: source.bytes, origin: where },
  );
}

function readKeyFile(path: string): Buffer {
  try {
    const status = statSync(path);
    if (!status.isFile() || status.size > LARGEST) throw keyFailure("not a file of a key", path);
    return readFileSync(path);
  } catch (error) {
    throw error instanceof Failure ? error : keyFailure(errnoOf(error) ?? "it cannot be read", path);
  }
}

export const keyFailure = (what: string, where: string): Failure =>
  new Failure("E_SETTING", `a key of policy.json cannot be used: ${what}`, {
    where,
    mend: "a key of sigstoreSigned is the PEM text of a public key, such as cosign.pub; one of signedBy a keyring of GnuPG",
  });
