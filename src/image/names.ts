/** Which names of an archive may enter a tree, and in what form. */
import { type ByteString, toText } from "../base/bytes.ts";
import { Failure } from "../base/errors.ts";
import { escapeText } from "../base/text.ts";
import { limits, tooLarge } from "./limits.ts";

/** Where the image's configuration is kept in a squashfs: layers have no say in it. */
export const RESERVED = ".rootling" as ByteString;

/** A byte string as a person may see it. */
export const shown = (name: ByteString): string => escapeText(toText(name));

const refuse = (name: ByteString, why: string, where: string): Failure =>
  new Failure("E_LAYER", `a name in the archive ${why}: ${shown(name.slice(0, 200) as ByteString)}`, {
    where,
    mend: "the archive is damaged or malicious; ask whoever made it",
  });

/** Whether a name is clean already: the usual case, told without taking it apart. */
const CLEAN = /^(?:[^/\0.][^/\0]{0,254}|\.[^/\0.][^/\0]{0,253})(?:\/(?:[^/\0.][^/\0]{0,254}|\.[^/\0.][^/\0]{0,253}))*$/;

/**
 * The clean relative form of an archive's name: no leading `/` or `./`, no empty parts, no trailing `/`. The root is
 * the empty string. Throws E_LAYER for `..` and NUL, E_LIMIT for names that no file system could hold.
 */
export function cleanPath(name: ByteString, where: string): ByteString {
  if (name.length > limits.nameBytes) throw tooLarge(`a name of ${name.length} bytes`, where);
  let text: string = name;
  while (text.startsWith("./")) text = text.slice(2);
  if (text.endsWith("/")) text = text.slice(0, -1);
  if (!CLEAN.test(text)) text = cleanParts(name, where).join("/");
  let depth = 0;
  for (let at = text.indexOf("/"); at >= 0; at = text.indexOf("/", at + 1)) depth++;
  if (depth > limits.depth) throw tooLarge(`a name ${depth} directories deep`, where);
  return text as ByteString;
}

function cleanParts(name: ByteString, where: string): string[] {
  if (name.includes("\0")) throw refuse(name, "holds a NUL byte", where);
  const parts = name.split("/").filter((part) => part !== "" && part !== ".");
  for (const part of parts) {
    if (part === "..") throw refuse(name, "leads out of the tree", where);
    if (part.length > limits.partBytes) throw tooLarge(`a file name of ${part.length} bytes`, where);
  }
  return parts;
}

/** What a name means to the layers below: OCI image-spec, layer.md, "Whiteouts". */
export type Whiteout =
  /** Hides `path` of lower layers. */
  | { kind: "remove"; path: ByteString }
  /** Hides everything in the directory `path` of lower layers. */
  | { kind: "opaque"; path: ByteString }
  /** A note of aufs to itself, of no meaning here. */
  | { kind: "ignore" };

/** The whiteout that the clean path `path` stands for; undefined for ordinary names. */
export function whiteoutOf(path: ByteString, where: string): Whiteout | undefined {
  if (!path.includes(".wh.")) return undefined;
  const parts = path.split("/");
  const last = parts.pop() ?? "";
  for (const part of parts) {
    if (part.startsWith(".wh..wh.")) return { kind: "ignore" };
    if (part.startsWith(".wh.")) throw refuse(path, "lies below a whiteout", where);
  }
  if (!last.startsWith(".wh.")) return undefined;
  const directory = parts.join("/") as ByteString;
  if (last === ".wh..wh..opq") return { kind: "opaque", path: directory };
  if (last.startsWith(".wh..wh.")) return { kind: "ignore" };
  const hidden = last.slice(".wh.".length);
  if (hidden === "" || hidden === "." || hidden === "..") throw refuse(path, "is a whiteout of no file", where);
  return { kind: "remove", path: (directory === "" ? hidden : `${directory}/${hidden}`) as ByteString };
}
