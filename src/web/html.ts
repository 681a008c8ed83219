/** HTML as a type of its own: whatever else is put into it is escaped. */
import { escapeHtml, escapeText } from "../base/text.ts";

export class Html {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

type Part = string | number | Html | readonly Html[] | undefined | false;

const write = (part: Part): string => {
  if (part === undefined || part === false) return "";
  if (part instanceof Html) return part.text;
  if (typeof part === "object") return part.map(({ text }) => text).join("");
  return escapeHtml(String(part));
};

/** The strings between are ours; the parts are not. */
export const html = (strings: TemplateStringsArray, ...parts: readonly Part[]): Html =>
  new Html(strings.map((text, i) => text + (i < parts.length ? write(parts[i]) : "")).join(""));

// biome-ignore lint/suspicious/noControlCharactersInRegex: colours of terminals begin with ESC
const COLOURS = /\u001b\[[0-9;]*m/g;

/** Text of a log as it is shown: its lines stay, colours go, what could reorder a line is escaped. */
export const readableLog = (text: string): string =>
  text
    .replaceAll("\r\n", "\n")
    .replace(COLOURS, "")
    .replace(/[^\n\t]+/g, escapeText);

/** Such text as the content of an element. */
export const logHtml = (text: string): Html =>
  new Html(readableLog(text).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`));
