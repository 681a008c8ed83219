/** Root's password: its hash, and the line of /etc/shadow that it goes into (shadow(5), crypt(5)). */
import { type ByteString, fromBytes, fromText, toBytes } from "../base/bytes.ts";
import { throwIfAborted } from "../base/context.ts";
import { Failure } from "../base/errors.ts";
import { requireProgram, run } from "../base/process.ts";

/** The hash of a password as crypt(5) writes it. */
export type PasswordHash = string & { readonly passwordHash: unique symbol };

export const SHADOW = "etc/shadow" as ByteString;

/** Longer is no /etc/shadow: this one holds ten thousand users. */
export const SHADOW_LIMIT = 1 << 20;

/** openssl-passwd(1) cuts off what is longer than 256 bytes. */
const PASSWORD_LIMIT = 256;

const SHA512_CRYPT = /^\$6\$[./0-9A-Za-z]{8,16}\$[./0-9A-Za-z]{86}$/;

/** Hashes a password by SHA-512 crypt with a salt of its own. Throws E_USAGE for one that cannot be typed or hashed. */
export async function hashPassword(password: string, where: string, signal?: AbortSignal): Promise<PasswordHash> {
  const bytes = Buffer.from(password);
  const refused = (what: string) => new Failure("E_USAGE", what, { where, mend: "it is one line of 1 to 256 bytes" });
  if (bytes.length === 0) throw refused("the password is empty");
  if (bytes.length > PASSWORD_LIMIT) throw refused("the password is too long");
  if (/[\0\r\n]/.test(password)) throw refused("the password is more than a line");
  const program = requireProgram("openssl", "openssl");
  // By its standard input: everybody may read the words of a process.
  const running = run(program, ["passwd", "-6", "-stdin"], {
    stdin: "pipe",
    stdout: "pipe",
    ...(signal && { signal }),
  });
  let said = "";
  running.child.stdout?.setEncoding("utf8").on("data", (chunk: string) => (said += chunk));
  running.child.stdin?.on("error", () => {});
  running.child.stdin?.end(Buffer.concat([bytes, Buffer.from("\n")]));
  await running.finished.catch((error: unknown) => {
    if (signal !== undefined) throwIfAborted(signal);
    throw error;
  });
  const hash = said.trim();
  if (!SHA512_CRYPT.test(hash))
    throw new Failure("E_PROGRAM", "openssl passwd gave no SHA-512 hash", { where: program });
  return hash as PasswordHash;
}

/** What prevents that an image gets a password. */
export const noShadow = (what: string): Failure =>
  new Failure("E_SHADOW", what, {
    where: "/etc/shadow in the image",
    mend: "leave the password out, or use an image whose /etc/shadow is a file with a line for root",
  });

/** The content of /etc/shadow with this hash as root's password; all else stays as it is. Throws E_SHADOW without a line of root. */
export function withRootPassword(content: Buffer, hash: PasswordHash): Buffer {
  const lines = fromBytes(content).split("\n");
  // The first one is who getspnam(3) finds.
  const index = lines.findIndex((line) => line.startsWith("root:"));
  const line = lines[index];
  if (line === undefined) throw noShadow("/etc/shadow has no line for root");
  const [name, , ...rest] = line.split(":");
  lines[index] = [name, fromText(hash), ...rest].join(":");
  return toBytes(lines.join("\n") as ByteString);
}
