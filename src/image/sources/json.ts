/** Documents of others: JSON in which nothing is ambiguous. */
import { Failure } from "../../base/errors.ts";

export type JsonObject = { readonly [key: string]: unknown };

/** A JSON object. Throws E_MANIFEST for anything else, and for keys that occur twice: readers differ on which counts. */
export function parseJson(bytes: Buffer, where: string): JsonObject {
  const text = bytes.toString("utf8");
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw manifestFailure("not valid JSON", where, cause);
  }
  if (!isObject(value)) throw manifestFailure("not a JSON object", where);
  refuseDuplicateKeys(text, where);
  return value;
}

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

export const isStrings = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((item) => typeof item === "string");

export function manifestFailure(what: string, where: string, cause?: unknown): Failure {
  return new Failure("E_MANIFEST", what, {
    where,
    mend: "the image is damaged or of a kind that is not supported; ask whoever made it",
    ...(cause === undefined ? {} : { cause }),
  });
}

/** `text` is valid JSON, so strings and brackets are all that has to be told apart. */
function refuseDuplicateKeys(text: string, where: string): void {
  const open: (Set<string> | undefined)[] = [];
  let keyExpected = false;
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\],:]/g)) {
    const keys = open.at(-1);
    if (token === "{" || token === "[") open.push(token === "{" ? new Set() : undefined);
    if (token === "}" || token === "]") open.pop();
    if (token.startsWith('"') && keyExpected && keys !== undefined) {
      const key = JSON.parse(token) as string;
      if (keys.has(key)) throw manifestFailure("a key occurs twice", where);
      keys.add(key);
    }
    keyExpected = token === "{" || (token === "," && open.at(-1) !== undefined);
  }
}
