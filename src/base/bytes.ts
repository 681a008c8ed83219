/**
 * Names, link targets and xattr values are bytes. Inside rootling they travel as *byte strings*: JavaScript
 * strings in which every UTF-16 unit is one byte (0–255, what Node calls `latin1`). The mapping is one to one,
 * so nothing is lost, and byte strings work as Map keys at the speed of ordinary strings.
 */
export type ByteString = string & { readonly byteString: unique symbol };

/** The bytes of `buffer` from `start` to `end` as a byte string. */
export function fromBytes(buffer: Buffer, start = 0, end = buffer.length): ByteString {
  return buffer.toString("latin1", start, end) as ByteString;
}

/** The bytes that a byte string stands for. */
export function toBytes(text: ByteString): Buffer {
  return Buffer.from(text, "latin1");
}

/** A byte string of the UTF-8 form of ordinary text, such as a path that a user typed. */
export function fromText(text: string): ByteString {
  return Buffer.from(text, "utf8").toString("latin1") as ByteString;
}

/** Ordinary text for showing: the bytes read as UTF-8. Damaged where they are not UTF-8, so never for file access. */
export function toText(text: ByteString): string {
  return Buffer.from(text, "latin1").toString("utf8");
}

/** Resolves the octal escapes (`\\040` for a blank) of fstab(5) and /proc/PID/mountinfo; the bytes are UTF-8. */
export function unescapeOctal(text: string): string {
  const bytes = fromText(text).replace(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
  return toText(bytes as ByteString);
}

/** Writes blanks and backslashes as the octal escapes of fstab(5). */
export function escapeOctal(text: string): string {
  return text.replace(/[\\ \t\n]/g, (c) => `\\${c.charCodeAt(0).toString(8).padStart(3, "0")}`);
}
