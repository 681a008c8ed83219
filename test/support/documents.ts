/** Documents in Markdown: their blocks of commands, and what of these is ours. */

export interface Block {
  /** `sh`: commands; `console`: behind `$ `, with what they say. */
  readonly language: "sh" | "console";
  /** Why it is not run. */
  readonly reason: string | undefined;
  /** Where its first line is, from 1 on. */
  readonly line: number;
  readonly lines: readonly string[];
}

/** The blocks of commands. */
export function blocksOf(text: string): Block[] {
  const blocks: Block[] = [];
  const lines = text.split("\n");
  for (let at = 0; at < lines.length; at++) {
    const [, info] = /^```(.*)$/.exec(lines[at] ?? "") ?? [];
    if (info === undefined) continue;
    const begin = at + 1;
    while (at + 1 < lines.length && lines[at + 1] !== "```") at++;
    const [language, reason] = info.split(" ");
    if (language === "sh" || language === "console") {
      blocks.push({ language, reason, line: begin + 1, lines: lines.slice(begin, at + 1) });
    }
    at++;
  }
  return blocks;
}

export interface Step {
  readonly shown: string;
  readonly line: number;
  /** What it says; undefined where the document does not show it. */
  readonly expected: string | undefined;
}

/** What there is to type, one line each; a backslash goes on with the next. */
export function stepsOf({ language, line: first, lines }: Block): Step[] {
  const steps: { shown: string; line: number; expected: string[] | undefined }[] = [];
  for (const [index, line] of lines.entries()) {
    const last = steps.at(-1);
    if (language === "console" && line.startsWith("$ ")) {
      steps.push({ shown: line.slice(2), line: first + index, expected: [] });
    } else if (language === "console") last?.expected?.push(line);
    else if (last?.shown.endsWith("\\")) last.shown += `\n${line}`;
    else if (line !== "") steps.push({ shown: line, line: first + index, expected: undefined });
  }
  return steps.map(({ expected, ...step }) => ({ ...step, expected: expected?.join("\n") }));
}

/** Whether a text is what a document shows: `…` is anything on a line, and alone on a line any lines or none. */
export function saidAs(shown: string, said: string): boolean {
  const literal = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const pattern = shown
    .split("\n")
    .map((line) => (line === "…" ? "(?:.*\n)*?" : `${line.split("…").map(literal).join(".*")}\n`))
    .join("");
  return new RegExp(`^${pattern}$`).test(said === "" && shown === "" ? "\n" : `${said}\n`);
}

/** The commands of ours in a line for the shell, each as its words. Quotes count, other expansions stay as they are. */
export function sentencesOf(line: string): string[][] {
  const sentences: string[][] = [[]];
  for (const [token] of line.matchAll(
    /(?:"(?:\\.|[^"])*"|'[^']*'|\\.|[^\s"'\\|;&<>()])+|&&|\|\||[|;&()]|\d*[<>]+&?|#.*/gs,
  )) {
    if (token.startsWith("#")) break;
    const last = sentences.at(-1) ?? [];
    if (/^(&&|\|\||[|;&()])$/.test(token)) sentences.push([]);
    else last.push(token);
  }
  return sentences.flatMap((tokens) => {
    const begin = tokens.findIndex((token) => !/^\w+=/.test(token));
    const words = tokens.slice(Math.max(begin, 0));
    if (words[0] !== "rootling" && words[0] !== "enroot") return [];
    const redirected = words.findIndex((word) => /^\d*[<>]/.test(word));
    return [(redirected === -1 ? words : words.slice(0, redirected)).map(unquote)];
  });
}

const unquote = (token: string): string =>
  token.replace(/"((?:\\.|[^"])*)"|'([^']*)'|\\(.)/gs, (_, double, single, bare) => double ?? single ?? bare);
