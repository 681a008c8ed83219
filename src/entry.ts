/**
 * What Node reads first: says where compiled code is kept between runs, since most of a start is the loading of modules,
 * then loads the rest. Small, for it is compiled each time.
 */
import module from "node:module";
import { mark } from "./base/marks.ts";
import { makePrivateDirectory } from "./base/private-directory.ts";
import { cachePlace, ourCaller, programOf } from "./base/settings-places.ts";
import { compiledPath } from "./store/layout.ts";

mark("modules");
try {
  // Not in Node's own place below /tmp: whoever could write there would choose what we execute.
  const caller = ourCaller(programOf(process.argv));
  const asked = caller.env[`${caller.program.toUpperCase()}_CACHE_PATH`];
  const compiled = compiledPath(asked?.startsWith("/") ? asked : cachePlace(caller));
  makePrivateDirectory(compiled);
  module.enableCompileCache(compiled);
} catch {
  // It is slower then; what is wrong with a setting or a directory is said where it is needed.
}

void import("./main.ts");
