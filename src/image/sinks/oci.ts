/**
 * The OCI sink: an image layout (image-spec, image-layout.md) of one layer, with the configuration kept as far as it
 * stays true. The same image always gives the same bytes.
 */
import { mkdir, open, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { checkOutput } from "../../base/destination.ts";
import { fileFailure } from "../../base/errors.ts";
import {
  clearTemporaries,
  moveIntoPlace,
  removeTree,
  syncDirectory,
  syncFile,
  temporaryName,
} from "../../base/files.ts";
import { digestHex, digestOf } from "../digest.ts";
import type { Digest, SourceImage } from "../types.ts";
import type { OpenSink } from "./sink.ts";
import { parseTarCompression, type TarCompression, TarFile, type TarFileResult } from "./tar-file.ts";

export interface OciOptions {
  /** The directory to make. */
  output: string;
  /** Compression of the layer. */
  comp: string;
  force: boolean;
  /** Seconds since 1970: the image's time of creation. */
  sourceDateEpoch?: string | undefined;
}

const OCI = "application/vnd.oci.image";

/** A sink that writes an image layout. */
export function ociSink({ output, comp, force, sourceDateEpoch }: OciOptions): OpenSink {
  const compression = parseTarCompression(comp);
  return async (image) => {
    await checkOutput(output, "directory", force);
    await clearTemporaries(output);
    const directory = temporaryName(output);
    const layer = join(directory, "layer");
    await prepare(directory, layer);
    const file = new TarFile(layer, compression);
    return {
      entry: (entry) => file.entry(entry),
      data: (slice) => file.data(slice),
      end: () => file.end(),
      flush: () => file.flush(),
      commit: async (root) => {
        const written = await file.commit(root);
        try {
          await rename(layer, blobPath(directory, written.digest));
          await writeDocuments(directory, image, written, compression, sourceDateEpoch);
        } catch (error) {
          throw fileFailure(error, "writing the image layout", output);
        }
        await moveIntoPlace(directory, output, force);
      },
      abort: async () => {
        await file.abort();
        await removeTree(directory).catch(() => {});
      },
    };
  };
}

const blobPath = (directory: string, digest: Digest): string => join(directory, "blobs/sha256", digestHex(digest));

async function prepare(directory: string, layer: string): Promise<void> {
  try {
    await mkdir(directory);
    await mkdir(join(directory, "blobs/sha256"), { recursive: true });
    await (await open(layer, "wx", 0o644)).close();
  } catch (error) {
    await removeTree(directory).catch(() => {});
    throw fileFailure(error, "creating the image layout", directory);
  }
}

async function writeDocuments(
  directory: string,
  image: SourceImage,
  layer: TarFileResult,
  compression: TarCompression,
  epoch: string | undefined,
): Promise<void> {
  const put = async (document: object) => {
    const bytes = Buffer.from(JSON.stringify(document));
    const digest = digestOf(bytes);
    await writeDurably(blobPath(directory, digest), bytes);
    return { digest, size: bytes.length };
  };
  const suffix = compression.name === "none" ? "" : `+${compression.name}`;
  const config = { mediaType: `${OCI}.config.v1+json`, ...(await put(configOf(image, layer.diffId, epoch))) };
  const { digest, size } = layer;
  const manifest = await put({
    schemaVersion: 2,
    mediaType: `${OCI}.manifest.v1+json`,
    config,
    layers: [{ mediaType: `${OCI}.layer.v1.tar${suffix}`, digest, size }],
  });
  const annotations = { "org.opencontainers.image.ref.name": tagOf(image.name) };
  const entry = { mediaType: `${OCI}.manifest.v1+json`, ...manifest, annotations };
  await writeDurably(
    join(directory, "index.json"),
    Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: `${OCI}.index.v1+json`, manifests: [entry] })),
  );
  await writeDurably(join(directory, "oci-layout"), Buffer.from('{"imageLayoutVersion":"1.0.0"}'));
  for (const path of ["blobs/sha256", "blobs", "."]) await syncDirectory(join(directory, path));
}

async function writeDurably(path: string, bytes: Buffer): Promise<void> {
  await writeFile(path, bytes, { flag: "wx" });
  await syncFile(path);
}

/** The image's configuration, for one layer: what it says of the others is no longer so. */
function configOf(image: SourceImage, diffId: Digest, epoch: string | undefined): object {
  // It was parsed and checked when the image was opened.
  const kept = image.config === undefined ? {} : (JSON.parse(image.config.toString("utf8")) as Record<string, unknown>);
  const created = epoch === undefined ? {} : { created: new Date(Number(epoch) * 1000).toISOString() };
  const all = { ...kept, ...created };
  // umoci 0.4.7 ends with a panic where a step has no time. The time of now would make other bytes each time.
  const step = typeof all.created === "string" ? all.created : new Date(0).toISOString();
  const { os, architecture, variant } = image.platform;
  return {
    os,
    architecture,
    ...(variant === undefined ? {} : { variant }),
    ...all,
    rootfs: { type: "layers", diff_ids: [diffId] },
    history: [{ created: step, created_by: "rootling import" }],
  };
}

/** The tag of an image's name; ref.name allows few characters (image-spec, annotations.md). */
const tagOf = (name: string): string => /:([A-Za-z0-9_][A-Za-z0-9._-]*)$/.exec(name)?.[1] ?? "latest";
