/** What a container changed, or a directory holds, as a layer: entries and whiteouts (image-spec, layer.md). */
import type { ByteString } from "../base/bytes.ts";
import type { Context } from "../base/context.ts";
import { escapeText } from "../base/text.ts";
import { packing } from "../boot/files.ts";
import type { Entry } from "../image/types.ts";
import type { Container } from "../store/containers.ts";
import { containerPaths } from "../store/layout.ts";
import type { AtStore } from "./cli.ts";
import { planInDirectory, planOnDirectory, treeBelow } from "./container-files.ts";
import { type EntryFilter, packedTar, withTimeOf } from "./pack-tar.ts";
import {
  compare,
  entriesIn,
  isMountPoint,
  isOpaque,
  isWhiteout,
  parentOf,
  refuseUntranslatable,
  withoutMarks,
} from "./upper.ts";

/** The tar of a container's layer. Owners are those inside, or those that a note tells of. */
export async function* layerOfContainer(cli: AtStore, context: Context, container: Container): AsyncGenerator<Buffer> {
  const paths = containerPaths(cli.layout, container.name);
  const copied = container.form === "copied";
  const directory = copied ? paths.root : paths.upper;
  const below = await entriesIn(cli, context, container, await treeBelow(cli, container));
  const own = await entriesIn(cli, context, container, directory);
  const filter = copied ? filterOfCopy(below, own) : filterOfUpper(below, own);
  const plan = planInDirectory(cli, container, directory, packing(`container ${container.name}`, "/", false));
  yield* packedTar(cli, context, plan, named(filter, context));
}

/** The tar of all that a directory holds. Marks of overlayfs in it mean what they mean to overlayfs. */
export const layerOfDirectory = (cli: AtStore, context: Context, path: string): AsyncGenerator<Buffer> =>
  packedTar(
    cli,
    context,
    planOnDirectory(cli, path, packing(path, "/", false)),
    withTimeOf(path, named(translated, context)),
  );

const whiteout = (path: string, name: string): Entry => ({
  path: (path === "" ? name : `${path}/${name}`) as ByteString,
  ...{ kind: "file", mode: 0, uid: 0, gid: 0, size: 0, mtime: 0 },
});

const removed = (path: ByteString): Entry => whiteout(parentOf(path), `.wh.${path.slice(path.lastIndexOf("/") + 1)}`);

/** An entry of an upper directory in the words of a layer. */
const translated: EntryFilter = (entry) => {
  refuseUntranslatable(entry);
  if (isWhiteout(entry)) return [removed(entry.path)];
  const plain = withoutMarks(entry);
  return isOpaque(entry) ? [plain, whiteout(entry.path, ".wh..wh..opq")] : [plain];
};

/** Without what was made to mount on, and without marks for what is not below. */
function filterOfUpper(below: ReadonlyMap<ByteString, Entry>, upper: ReadonlyMap<ByteString, Entry>): EntryFilter {
  const parents = new Set<string>([...upper.keys()].filter(Boolean).map(parentOf));
  return (entry) => {
    if (entry.path !== "" && isMountPoint(entry, parents)) return [];
    if (isWhiteout(entry) && !below.has(entry.path)) return [];
    const written = translated(entry);
    return isOpaque(entry) && below.get(entry.path)?.kind !== "directory" ? written.slice(0, 1) : written;
  };
}

/** Of a whole tree only what differs from the one below. */
function filterOfCopy(below: ReadonlyMap<ByteString, Entry>, copy: ReadonlyMap<ByteString, Entry>): EntryFilter {
  const changes = compare(below, copy);
  const kept = new Set([...changes].flatMap(([path, kind]) => (kind === "D" ? [] : [path])));
  const gone = [...changes].flatMap(([path, kind]) => (kind === "D" ? [removed(path as ByteString)] : []));
  // A link needs its file in the same layer: not every unpacker finds it below.
  for (const { path, kind, target } of copy.values()) {
    if (kind === "link" && target !== undefined && kept.has(path)) kept.add(target);
  }
  return (entry) => {
    if (entry.path === "") return [withoutMarks(entry), ...gone];
    return kept.has(entry.path) ? [withoutMarks(entry)] : [];
  };
}

/** Leaves out names that a layer gives another meaning: a container's file must not remove one of the image. */
function named(filter: EntryFilter, context: Context): EntryFilter {
  let told = false;
  return (entry) => {
    if (!/(^|\/)\.wh\./.test(entry.path)) return filter(entry);
    if (!told) context.warn(`left out, since it would be a whiteout in a layer: ${escapeText(entry.path)}`);
    told = true;
    return [];
  };
}
