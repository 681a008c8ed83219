/** Modules of a kernel, with those that they need, as depmod(8) has noted them. */
import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { Failure, fileFailure } from "../../base/errors.ts";

export interface KernelModule {
  /** Path below the root, such as `lib/modules/6.1.0/kernel/fs/ext4/ext4.ko`. */
  readonly path: string;
  readonly content: Buffer;
}

/**
 * In the order in which they are loaded. `directory`: where the kernels' modules lie. Throws E_NOT_FOUND for a module that
 * the kernel does not have.
 */
export function modulesOf(kernel: string, names: readonly string[], modules = "/lib/modules"): readonly KernelModule[] {
  if (names.length === 0) return [];
  const directory = join(modules, kernel);
  // modules.dep: "PATH: PATH…", what is needed in the order opposite to loading.
  const needs = new Map<string, { path: string; needed: string[] }>();
  for (const line of textOf(join(directory, "modules.dep")).split("\n")) {
    const [path, rest] = line.split(":");
    if (path === undefined || rest === undefined || path === "") continue;
    needs.set(nameOf(path), { path, needed: rest.split(" ").filter(Boolean).reverse() });
  }
  const builtIn = new Set(textOf(join(directory, "modules.builtin")).split("\n").filter(Boolean).map(nameOf));
  const paths = new Set<string>();
  for (const name of names) {
    const found = needs.get(nameOf(name));
    if (found === undefined && builtIn.has(nameOf(name))) continue;
    if (found === undefined) {
      throw new Failure("E_NOT_FOUND", `the kernel ${kernel} has no module ${JSON.stringify(name)}`, {
        where: directory,
        mend: "see `ls` there, or name another kernel with --kernel",
      });
    }
    for (const path of [...found.needed, found.path]) paths.add(path);
  }
  return [...paths].map((path) => ({ path: `lib/modules/${kernel}/${path}`, content: read(join(directory, path)) }));
}

/** `kernel/fs/ext4/ext4.ko.xz` → ext4; in names `-` is `_`. */
const nameOf = (path: string): string => (basename(path).split(".")[0] ?? "").replaceAll("-", "_");

const textOf = (path: string): string => read(path).toString("utf8");

function read(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw fileFailure(error, "reading the kernel's modules", path);
  }
}
