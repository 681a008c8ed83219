/**
 * Archives of `docker save`: `manifest.json` lists images, each with its configuration and layers (Moby,
 * image/tarexport). The files it names lie in directories of their own, or, since Docker 25, in an OCI layout's blobs.
 */
import { basename } from "node:path";
import { Failure } from "../../base/errors.ts";
import { escapeText } from "../../base/text.ts";
import { digestOf, verified } from "../digest.ts";
import { limits, tooLarge } from "../limits.ts";
import type { Digest, SourceImage } from "../types.ts";
import { type Archive, openArchive } from "./archive.ts";
import { imageOfConfig } from "./image.ts";
import { isObject, isStrings, manifestFailure, parseJson } from "./json.ts";
import type { OpenContext } from "./source.ts";

interface SavedImage {
  config: string;
  names: readonly string[];
  layers: readonly string[];
}

/** Opens the image `reference` of the archive; without one, the only image there. */
export async function openDockerArchive(
  file: string,
  reference: string | undefined,
  context: OpenContext,
): Promise<SourceImage> {
  return openSaved(await openArchive(file, context), reference, context);
}

/** The image `reference` of an open archive, which is closed with it; without one, the only image there. */
export async function openSaved(
  archive: Archive,
  reference: string | undefined,
  context: OpenContext,
): Promise<SourceImage> {
  const { where } = archive;
  try {
    if (!archive.has("manifest.json")) {
      throw new Failure("E_MANIFEST", "the archive has no manifest.json", {
        where,
        mend: "it is none of `docker save`; for an OCI layout use oci-archive:FILE, for a root file system just FILE",
      });
    }
    const images = parseSaved(await archive.read("manifest.json", limits.manifestBytes), where);
    return await assemble(archive, choose(images, reference, where), context);
  } catch (error) {
    await archive.close();
    throw error;
  }
}

async function assemble(archive: Archive, image: SavedImage, context: OpenContext): Promise<SourceImage> {
  const config = await archive.read(image.config, limits.configBytes);
  const digest = digestOf(config);
  const named = digestInName(image.config);
  if (named !== undefined && named !== digest) {
    throw new Failure("E_DIGEST", "the configuration does not have the digest that its name says", {
      where: archive.where,
      mend: "the archive is damaged or was tampered with; ask whoever made it",
    });
  }
  const layers = image.layers.map((path) => {
    const promised = path.startsWith("blobs/") ? digestInName(path) : undefined;
    const size = archive.sizeOf(path);
    const open = async () => {
      const chunks = await archive.open(path);
      return promised === undefined ? chunks : verified(chunks, promised, size, `${archive.where}: ${path}`);
    };
    return { ...(promised === undefined ? {} : { digest: promised }), size, open };
  });
  const [first] = image.names;
  const name = first ?? basename(archive.where).replace(/\.(tar|tar\.[a-z0-9]+)$/, "");
  // The configuration's digest is what docker calls the image's id. It holds the DiffIDs, so it stands for all.
  return imageOfConfig({ digest, config, name, close: () => archive.close() }, layers, context);
}

/** `<hex>.json` and `blobs/sha256/<hex>` say what is in them. */
function digestInName(path: string): Digest | undefined {
  const hex = /^(?:blobs\/sha256\/)?([0-9a-f]{64})(?:\.json)?$/.exec(path)?.[1];
  return hex === undefined ? undefined : (`sha256:${hex}` as Digest);
}

function parseSaved(bytes: Buffer, where: string): SavedImage[] {
  // The one document that is a list: as an object's only value, it is checked like all the others.
  const json = parseJson(Buffer.concat([Buffer.from('{"images":'), bytes, Buffer.from("}")]), where);
  const { images } = json;
  if (Object.keys(json).length !== 1 || !Array.isArray(images)) throw manifestFailure("not a list of images", where);
  if (images.length > limits.indexEntries) throw tooLarge(`an archive of ${images.length} images`, where);
  return images.map((image: unknown) => {
    if (!isObject(image)) throw manifestFailure("an image that is no object", where);
    const { Config: config, RepoTags: names, Layers: layers } = image;
    if (typeof config !== "string" || !isStrings(layers)) throw manifestFailure("an image without layers", where);
    if (layers.length > limits.layers) throw tooLarge(`an image of ${layers.length} layers`, where);
    return { config, layers, names: isStrings(names) ? names : [] };
  });
}

/** `debian` means `debian:latest`, and archives of docker's spell Docker Hub's names in short. */
const spellings = (reference: string): string[] => {
  const tagged = /:[^/]*$/.test(reference) ? reference : `${reference}:latest`;
  return [
    tagged,
    tagged.replace(/^docker\.io\/(library\/)?/, ""),
    `docker.io/library/${tagged}`,
    `docker.io/${tagged}`,
  ];
};

function choose(images: readonly SavedImage[], reference: string | undefined, where: string): SavedImage {
  const wanted = reference === undefined ? undefined : spellings(reference);
  const found =
    wanted === undefined
      ? images
      : images.filter(
          (image) =>
            image.names.some((name) => wanted.includes(name)) || image.config.replace(/\.json$/, "") === reference,
        );
  const [first, ...others] = found;
  if (first !== undefined && others.length === 0) return first;
  const names = images.flatMap((image) => image.names).slice(0, 20);
  const shown = names.map((name) => escapeText(name.slice(0, 200))).join(", ");
  const asked = reference === undefined ? "" : ` ${escapeText(reference)}`;
  throw new Failure(
    "E_NOT_FOUND",
    first === undefined ? `the archive holds no image${asked}` : "the archive holds several images",
    {
      where,
      mend:
        shown === ""
          ? "name one by the digest of its configuration"
          : `it holds: ${shown}; name one with docker-archive:FILE:NAME:TAG`,
    },
  );
}
