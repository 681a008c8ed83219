/** The documents of an OCI image: manifest, configuration and index (image-spec). The same input, the same bytes. */
import { digestOf } from "./digest.ts";
import type { BlobInfo, Digest, SourceImage } from "./types.ts";

const OCI = "application/vnd.oci.image";
const DOCKER = "application/vnd.docker";

export const mediaTypes = {
  index: `${OCI}.index.v1+json`,
  manifest: `${OCI}.manifest.v1+json`,
  config: `${OCI}.config.v1+json`,
} as const;

/** The media type of a layer with this compression. */
export const layerType = (compression: "none" | "gzip" | "zstd"): string =>
  `${OCI}.layer.v1.tar${compression === "none" ? "" : `+${compression}`}`;

/** Docker's media types of the same bytes (distribution, manifest/schema2; containers/image writes the others). */
const twins: Readonly<Record<string, string>> = {
  [`${DOCKER}.image.rootfs.diff.tar`]: layerType("none"),
  [`${DOCKER}.image.rootfs.diff.tar.gzip`]: layerType("gzip"),
  [`${DOCKER}.image.rootfs.diff.tar.zstd`]: layerType("zstd"),
};

/** OCI's word for a layer's media type; undefined for what is no layer that we know. */
export function ociLayerType(mediaType: string): string | undefined {
  if (Object.hasOwn(twins, mediaType)) return twins[mediaType];
  return (["none", "gzip", "zstd"] as const).map(layerType).find((known) => known === mediaType);
}

export interface Descriptor extends BlobInfo {
  mediaType: string;
}

export interface Document extends Descriptor {
  bytes: Buffer;
}

/** A document as a blob. */
export function documentOf(mediaType: string, content: object): Document {
  const bytes = Buffer.from(JSON.stringify(content));
  return { mediaType, bytes, digest: digestOf(bytes), size: bytes.length };
}

const plain = ({ mediaType, digest, size }: Descriptor): Descriptor => ({ mediaType, digest, size });

export const manifestOf = (config: Descriptor, layers: readonly Descriptor[]): Document =>
  documentOf(mediaTypes.manifest, {
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    config: plain(config),
    layers: layers.map(plain),
  });

/** The index of a layout that holds one image. */
export const indexOf = (manifest: Descriptor, tag: string): Document =>
  documentOf(mediaTypes.index, {
    schemaVersion: 2,
    mediaType: mediaTypes.index,
    manifests: [{ ...plain(manifest), annotations: { "org.opencontainers.image.ref.name": tag } }],
  });

/** One line of a configuration's history. */
export interface HistoryStep {
  created: string;
  created_by: string;
  author?: string;
  comment?: string;
}

/** `epoch`: seconds since 1970, SOURCE_DATE_EPOCH. */
export const timeOf = (epoch: string): string => new Date(Number(epoch) * 1000).toISOString();

/** What an image's configuration says; it was parsed and checked when the image was opened. */
export const configFields = ({ config }: Pick<SourceImage, "config">): Record<string, unknown> =>
  config === undefined ? {} : (JSON.parse(config.toString("utf8")) as Record<string, unknown>);

/** The image's configuration for these layers alone: what it says of others is no longer so. */
export function configOf(image: SourceImage, diffIds: readonly Digest[], epoch: string | undefined): Document {
  const created = epoch === undefined ? {} : { created: timeOf(epoch) };
  const all: Record<string, unknown> = { ...configFields(image), ...created };
  // umoci 0.4.7 ends with a panic where a step has no time. The time of now would make other bytes each time.
  const step = typeof all.created === "string" ? all.created : new Date(0).toISOString();
  const { os, architecture, variant } = image.platform;
  const config = image.config === undefined && Object.keys(image.run).length > 0 ? { config: image.run } : {};
  return documentOf(mediaTypes.config, {
    os,
    architecture,
    ...(variant === undefined ? {} : { variant }),
    ...config,
    ...all,
    rootfs: { type: "layers", diff_ids: diffIds },
    history: diffIds.map((): HistoryStep => ({ created: step, created_by: "rootling import" })),
  });
}

/** The tag of an image's name; ref.name allows few characters (image-spec, annotations.md). */
export const tagOf = (name: string): string => /:([A-Za-z0-9_][A-Za-z0-9._-]*)$/.exec(name)?.[1] ?? "latest";
