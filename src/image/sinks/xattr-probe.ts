/**
 * Which extended attributes a file system keeps. GNU tar is silent about those that it could not set, and Node can
 * read none: so a file with them is unpacked by tar, packed again, and what came back is looked at.
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { ByteString } from "../../base/bytes.ts";
import { capture, type Enter, requireProgram, run } from "../../base/process.ts";
import { RESERVED } from "../names.ts";
import { END_OF_ARCHIVE, encodeEntry } from "../tar-write.ts";
import type { Entry } from "../types.ts";

/** Attributes that a tree has, one for each namespace such as `user`. */
export class XattrSamples {
  readonly #samples = new Map<string, [ByteString, Buffer]>();

  add(entry: Entry): void {
    for (const [name, value] of entry.xattrs ?? []) {
      const namespace = name.slice(0, name.indexOf("."));
      if (!this.#samples.has(namespace)) this.#samples.set(namespace, [name, value]);
    }
  }

  /** The namespaces, of those seen, that files in `directory` cannot have when tar is run by `enter`. */
  async missingIn(directory: string, enter: Enter): Promise<string[]> {
    if (this.#samples.size === 0) return [];
    const tar = requireProgram("tar", "tar");
    const options = ["--xattrs", "--xattrs-include=*", "-C", directory, "-f", "-"];
    const xattrs = new Map(this.#samples.values());
    const probe = { path: RESERVED, kind: "file", mode: 0o600, uid: 0, gid: 0, size: 0, mtime: 0, xattrs } as const;
    try {
      const [file = "", ...args] = enter([tar, "-x", "--no-same-owner", ...options]);
      const unpacking = run(file, args, { stdin: "pipe" });
      // Should tar end early, its status tells why.
      unpacking.child.stdin?.on("error", () => {});
      unpacking.child.stdin?.end(Buffer.concat([encodeEntry(probe), END_OF_ARCHIVE]));
      await unpacking.finished;
      const [packer = "", ...words] = enter([tar, "-c", ...options, RESERVED]);
      const packed = await capture(packer, words);
      return [...this.#samples].filter(([, [name]]) => !packed.includes(`SCHILY.xattr.${name}=`)).map(([key]) => key);
    } finally {
      await rm(join(directory, RESERVED), { force: true });
    }
  }
}
