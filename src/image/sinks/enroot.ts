/** A tree as enroot makes it of an image: any sink, and what is different in front of it. */
import { type ByteString, fromText } from "../../base/bytes.ts";
import type { Context } from "../../base/context.ts";
import { escapeText } from "../../base/text.ts";
import { environmentOf, LOCAL_SCRIPT, mountsOf, scriptOf, workingDirectory } from "../enroot-files.ts";
import { END_OF_ARCHIVE, encodeEntry, paddingAfter } from "../tar-write.ts";
import type { Entry, SourceImage } from "../types.ts";
import { type OpenSink, passing } from "./sink.ts";

/**
 * The image with a layer of /etc/rc, /etc/rc.local, /etc/fstab and /etc/environment, made from its configuration:
 * `above` its own layers, where these files are the image's own, or `below` them, where they were made already.
 */
export function withEnrootFiles(image: SourceImage, place: "above" | "below", context: Context): SourceImage {
  const { text, lost } = environmentOf(image.run);
  if (lost.length > 0) {
    context.warn(`variables that /etc/environment cannot hold are left out of it: ${lost.map(escapeText).join(", ")}`);
  }
  const files = [
    tarFile("etc/rc", scriptOf(image.run), 0o755),
    tarFile("etc/rc.local", LOCAL_SCRIPT, 0o644),
    tarFile("etc/fstab", mountsOf(image.run), 0o644),
    tarFile("etc/environment", text, 0o644),
  ];
  const bytes = Buffer.concat([...files.flat(), END_OF_ARCHIVE]);
  const layer = { label: "enroot's files", size: bytes.length, open: async () => once(bytes) };
  const layers = place === "above" ? [...image.layers, layer] : [layer, ...image.layers];
  // Not a copy: the digest of some is known only in the end.
  return Object.create(image, { layers: { value: layers } }) as SourceImage;
}

function tarFile(path: string, text: string, mode: number): Buffer[] {
  const content = Buffer.from(text);
  const entry: Entry = { path: fromText(path), kind: "file", mode, uid: 0, gid: 0, size: content.length, mtime: 0 };
  return [encodeEntry(entry), content, paddingAfter(content.length) ?? Buffer.alloc(0)];
}

async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

const isDevice = (path: ByteString): boolean => path.startsWith("dev/");

/**
 * Everything belongs to root, its owner may read all and write to every directory, /dev is empty, and the working
 * directory exists: a read-only container could not make it.
 */
export function enrootSink(open: OpenSink): OpenSink {
  return async (image, root) => {
    const sink = await open(image, root && asRoots(root));
    const steps = stepsOf(fromText(workingDirectory(image.run)));
    const found = new Map<ByteString, boolean>();
    let dropping = false;
    return {
      ...passing(sink),
      entry: (entry) => {
        dropping = isDevice(entry.path) || (entry.kind === "link" && isDevice(entry.target ?? entry.path));
        if (dropping) return;
        if (steps.includes(entry.path)) found.set(entry.path, entry.kind === "directory");
        sink.entry(asRoots(entry));
      },
      data: (slice) => (dropping ? undefined : sink.data(slice)),
      end: () => (dropping ? undefined : sink.end()),
      commit: async (merged) => {
        for (const path of steps) {
          if (found.get(path) === false) break;
          if (found.has(path)) continue;
          sink.entry({ path, kind: "directory", mode: 0o755, uid: 0, gid: 0, size: 0, mtime: 0 });
          sink.end();
        }
        await sink.commit(asRoots(merged));
      },
    };
  };
}

function asRoots(entry: Entry): Entry {
  const more = entry.kind === "directory" ? 0o600 : entry.kind === "file" || entry.kind === "link" ? 0o400 : 0;
  return { ...entry, uid: 0, gid: 0, mode: entry.mode | more };
}

/** `/a/b` → a, a/b. */
function stepsOf(path: ByteString): ByteString[] {
  const parts = path.split("/").filter(Boolean);
  return parts.map((_, i) => parts.slice(0, i + 1).join("/") as ByteString);
}
