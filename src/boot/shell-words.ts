/** A command that is written as one text, split into words as POSIX shells split one, without anything else of a shell. */

/** Why a text cannot be split. */
export class UnclosedQuote extends Error {}

/**
 * Blanks (space, tab, newline, carriage return) part words; quotes of both kinds and backslashes keep their meaning
 * (POSIX.1-2017, Shell Command Language, 2.2): in double quotes a backslash escapes only `"`, `\`, `$`, `` ` `` and a
 * newline, which vanishes. executor/guest/words.c does the same. Throws UnclosedQuote.
 */
export function splitWords(text: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote: '"' | "'" | undefined;
  for (let i = 0; i < text.length; i++) {
    const c = text[i] as string;
    if (quote === undefined && " \t\n\r".includes(c)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else if (quote === undefined && (c === '"' || c === "'")) {
      quote = c;
      word ??= "";
    } else if (c === quote) {
      quote = undefined;
    } else if (c === "\\" && quote !== "'") {
      const next = text[++i];
      if (next === undefined) throw new UnclosedQuote("the text ends with a backslash");
      if (next === "\n") continue;
      word = (word ?? "") + (quote === '"' && !'"\\$`'.includes(next) ? `\\${next}` : next);
    } else {
      word = (word ?? "") + c;
    }
  }
  if (quote !== undefined) throw new UnclosedQuote(`a quotation mark ${quote} is not closed`);
  if (word !== undefined) words.push(word);
  return words;
}
