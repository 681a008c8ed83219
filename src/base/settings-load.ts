/** The settings of this process: its name, its environment, and the files that there are. */
import { type Program, readSettings, type Settings } from "./settings.ts";
import { type Assignment, type Reader, readSettingsFiles } from "./settings-files.ts";

const AS = "--as=";

/** The name that bin/rootling was started under, which it gives as the first word where that is not its own. */
export const programOf = ([, , word]: readonly string[]): Program => (word === `${AS}enroot` ? "enroot" : "rootling");

/** The words that a user wrote. */
export const wordsOf = ([, , ...words]: readonly string[]): string[] =>
  words[0]?.startsWith(AS) ? words.slice(1) : words;

/** Who reads configuration in this process. */
export const readerOf = (program: Program): Reader => ({ env: process.env, uid: process.geteuid?.() ?? 0, program });

/**
 * Reads the settings; `directives` win over the environment. What files and directives say is given to the environment
 * as well, as enroot does: variables that are no setting are for hooks, for proxies and for certificates. Throws
 * E_SETTING.
 */
export function loadSettings(program: Program, directives: readonly Assignment[] = []): Settings {
  const reader = readerOf(program);
  const files = readSettingsFiles(reader);
  const settings = readSettings(reader.env, reader.uid, { program, files, directives });
  const before = new Set(Object.keys(reader.env));
  for (const { name, value } of files) if (!before.has(name)) reader.env[name] = value;
  for (const { name, value } of directives) reader.env[name] = value;
  return settings;
}
