/** The settings of this process: its name, its environment, and the files that there are. */
import { readSettings, type Settings } from "./settings.ts";
import { type Assignment, readSettingsFiles } from "./settings-files.ts";
import { type Caller, ourCaller, type Program } from "./settings-places.ts";

/**
 * Reads the settings; `directives` win over the environment. What files and directives say is given to the environment
 * as well, as enroot does: variables that are no setting are for hooks, for proxies and for certificates. Throws
 * E_SETTING. `caller` is another one where a program uses the library: its environment may be a copy.
 */
export function loadSettings(
  program: Program,
  directives: readonly Assignment[] = [],
  caller: Caller = ourCaller(program),
): Settings {
  const files = readSettingsFiles(caller);
  const settings = readSettings(caller.env, caller.uid, { program, files, directives });
  const before = new Set(Object.keys(caller.env));
  for (const { name, value } of files) if (!before.has(name)) caller.env[name] = value;
  for (const { name, value } of directives) caller.env[name] = value;
  return settings;
}
