/**
 * The one place where text of others becomes safe to print. Names, tags, labels and messages of registries can
 * hold terminal escape sequences or characters that reorder a line.
 */

// C0 and C1 controls, DEL, lone surrogates, zero-width and bidirectional formatting characters, line separators.
const UNSAFE =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: naming them is the purpose
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|\p{Surrogate}/gu;

/** `text` with every character that could steer a terminal written as an escape such as `\x1b`. */
export function escapeText(text: string): string {
  return text.replace(UNSAFE, (character) => {
    const code = character.codePointAt(0) ?? 0;
    if (character === "\n") return "\\n";
    if (character === "\t") return "\\t";
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
  });
}

/** The same for HTML and SVG: no character of it has a meaning there, within quotes or without. */
export const escapeHtml = (text: string): string =>
  escapeText(text).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);

/** JSON with the same characters written as JSON's own escapes: it means the same, and a terminal may show it. */
export const escapeJson = (json: string): string =>
  json.replace(UNSAFE, (character) =>
    character === "\n" ? character : `\\u${(character.codePointAt(0) ?? 0).toString(16).padStart(4, "0")}`,
  );

/** Bytes as a person reads them: `813.4 MB`. Powers of ten, as disks and networks count. */
export function formatBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

/** Rows as aligned columns; the first row is the heading. Cells are escaped. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const safe = rows.map((row) => row.map(escapeText));
  const widths: number[] = [];
  for (const row of safe) row.forEach((cell, i) => (widths[i] = Math.max(widths[i] ?? 0, cell.length)));
  return safe
    .map((row) => row.map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i] ?? 0))).join("  "))
    .join("\n");
}
