/** What changes a tree on its way into a sink: the owners of files, and root's password. */
import type { ByteString } from "../base/bytes.ts";
import { type IdMaps, withMappedIds } from "./alter-ids.ts";
import { noShadow, type PasswordHash, SHADOW, SHADOW_LIMIT, withRootPassword } from "./alter-password.ts";
import { type OpenSink, passing, RootDiffers, USUAL_ROOT } from "./sinks/sink.ts";
import type { Entry } from "./types.ts";

/** What is to be different from the image. */
export interface Alterations {
  readonly ids?: IdMaps | undefined;
  readonly rootPassword?: PasswordHash | undefined;
}

/**
 * A sink with these alterations in front of it. Ids are translated once, from those of the image. Throws E_SHADOW from
 * `entry` or `commit` where root's password cannot be set; then nothing of the output is left, as with any failure.
 */
export function alteredSink(open: OpenSink, { ids, rootPassword }: Alterations): OpenSink {
  const owned = ids === undefined ? open : mappedSink(open, ids);
  return rootPassword === undefined ? owned : passwordSink(owned, rootPassword);
}

function mappedSink(open: OpenSink, ids: IdMaps): OpenSink {
  return async (image, root) => {
    const sink = await open(image, withMappedIds(root ?? USUAL_ROOT, ids));
    return {
      ...passing(sink),
      entry: (entry) => sink.entry(withMappedIds(entry, ids)),
      commit: async (merged) => {
        try {
          await sink.commit(withMappedIds(merged, ids));
        } catch (error) {
          // The next attempt maps it again: it is to begin from the image's own.
          throw error instanceof RootDiffers ? new RootDiffers(merged) : error;
        }
      },
    };
  };
}

const ETC = "etc" as ByteString;

const kinds: Readonly<Record<Entry["kind"], string>> = {
  file: "a file",
  directory: "a directory",
  symlink: "a symlink",
  link: "a hard link to another file",
  character: "a device",
  block: "a device",
  fifo: "a FIFO",
};

/** Only names of the tree lead to the file: nothing is followed, neither here nor on the host. */
function passwordSink(open: OpenSink, hash: PasswordHash): OpenSink {
  return async (image, root) => {
    const sink = await open(image, root);
    let shadow: Entry | undefined;
    let content: Buffer[] = [];
    let found = false;
    return {
      ...passing(sink),
      entry: (entry) => {
        checkShadow(entry);
        if (entry.path === SHADOW) shadow = entry;
        else sink.entry(entry);
      },
      data: (slice) => (shadow === undefined ? sink.data(slice) : content.push(slice)),
      end: () => {
        if (shadow !== undefined) {
          const changed = withRootPassword(Buffer.concat(content), hash);
          sink.entry({ ...shadow, size: changed.length });
          sink.data(changed);
          found = true;
        }
        sink.end();
        shadow = undefined;
        content = [];
      },
      commit: (merged) => {
        if (!found) throw noShadow("the image has no /etc/shadow");
        return sink.commit(merged);
      },
    };
  };
}

function checkShadow({ path, kind, size }: Entry): void {
  if (path === ETC && kind !== "directory") throw noShadow(`/etc is ${kinds[kind]}`);
  if (path !== SHADOW) return;
  if (kind !== "file") throw noShadow(`/etc/shadow is ${kinds[kind]}`);
  if (size > SHADOW_LIMIT) throw noShadow(`/etc/shadow has ${size} bytes`);
}
