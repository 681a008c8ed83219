/** Manifests, indexes and configurations: Docker's version 2 schema 2 and OCI's (image-spec). */
import { Failure } from "../../base/errors.ts";
import { escapeText } from "../../base/text.ts";
import { parseDigest } from "../digest.ts";
import { limits, tooLarge } from "../limits.ts";
import type { BlobInfo, Digest, Platform, RunConfig } from "../types.ts";
import { isObject, isStrings, type JsonObject, manifestFailure, parseJson } from "./json.ts";
import { formatPlatform } from "./reference.ts";

const OCI = "application/vnd.oci.image";
const DOCKER = "application/vnd.docker.distribution.manifest";
const INDEXES = [`${OCI}.index.v1+json`, `${DOCKER}.list.v2+json`];
const MANIFESTS = [`${OCI}.manifest.v1+json`, `${DOCKER}.v2+json`];

/** What rootling reads, for a request's Accept header. */
export const ACCEPTED = [...MANIFESTS, ...INDEXES];

/** A manifest or index that was fetched. Its bytes are verified where a digest was known. */
export interface Document {
  digest: Digest;
  bytes: Buffer;
  /** The media type that came along, such as a Content-Type; undefined where there is none. */
  mediaType: string | undefined;
}

export interface Manifest {
  config: BlobInfo;
  layers: (BlobInfo & { mediaType?: string })[];
}

export interface IndexEntry extends BlobInfo {
  platform: Platform | undefined;
  mediaType: string;
  /** The annotation `org.opencontainers.image.ref.name`. */
  refName: string | undefined;
}

/**
 * Follows indexes from `start` to the manifest for `platform`. `fetch` gets a blob of the same repository. `digests` are
 * those of the documents on the way, the manifest's first.
 */
export async function resolveManifest(
  start: Document,
  platform: Platform,
  fetch: (entry: IndexEntry) => Promise<Document>,
  where: string,
): Promise<{ document: Document; manifest: Manifest; digests: Digest[] }> {
  let document = start;
  const digests: Digest[] = [];
  for (let depth = 0; depth <= limits.indexDepth; depth++) {
    digests.unshift(document.digest);
    const parsed = parseDocument(document, where);
    if (parsed.kind === "manifest") return { document, manifest: parsed.manifest, digests };
    document = await fetch(choosePlatform(parsed.entries, platform, where));
  }
  throw tooLarge(`indexes nested deeper than ${limits.indexDepth}`, where);
}

type Parsed = { kind: "manifest"; manifest: Manifest } | { kind: "index"; entries: IndexEntry[] };

/** Throws E_MANIFEST where a document could be read in two ways: CVE-2021-41190. */
export function parseDocument(document: Document, where: string): Parsed {
  const json = parseJson(document.bytes, where);
  const inside = json.mediaType;
  const type = document.mediaType?.split(";")[0]?.trim();
  if (json.schemaVersion !== 2) throw manifestFailure("a manifest of an old or unknown version", where);
  if (inside !== undefined && typeof inside !== "string") throw manifestFailure("a media type that is no text", where);
  const known = type !== undefined && ACCEPTED.includes(type) ? type : undefined;
  if (inside !== undefined && known !== undefined && inside !== known) {
    throw manifestFailure("the manifest contradicts its media type", where);
  }
  const isIndex = "manifests" in json;
  if (isIndex && ("layers" in json || "config" in json)) {
    throw manifestFailure("the manifest claims to be an index as well", where);
  }
  const stated = inside ?? known;
  if (stated !== undefined && !(isIndex ? INDEXES : MANIFESTS).includes(stated)) {
    throw manifestFailure(`a manifest of the kind ${escapeText(stated.slice(0, 100))}, which does not fit`, where);
  }
  if (isIndex) return { kind: "index", entries: parseIndex(json, where) };
  return { kind: "manifest", manifest: parseManifest(json, where) };
}

function parseIndex(json: JsonObject, where: string): IndexEntry[] {
  if (!Array.isArray(json.manifests)) throw manifestFailure("an index without list of manifests", where);
  if (json.manifests.length > limits.indexEntries) {
    throw tooLarge(`an index of ${json.manifests.length} manifests`, where);
  }
  return json.manifests.map((item: unknown) => {
    if (!isObject(item)) throw manifestFailure("an index with an entry that is no object", where);
    const annotation = isObject(item.annotations) ? item.annotations["org.opencontainers.image.ref.name"] : undefined;
    return {
      ...parseBlob(item, where),
      mediaType: typeof item.mediaType === "string" ? item.mediaType : "",
      platform: isObject(item.platform) ? readPlatform(item.platform) : undefined,
      refName: typeof annotation === "string" ? annotation : undefined,
    };
  });
}

function parseManifest(json: JsonObject, where: string): Manifest {
  if (!Array.isArray(json.layers) || !isObject(json.config)) throw manifestFailure("a manifest without layers", where);
  if (json.layers.length > limits.layers) throw tooLarge(`an image of ${json.layers.length} layers`, where);
  const config = parseBlob(json.config, where);
  if (config.size > limits.configBytes) throw tooLarge(`an image configuration of ${config.size} bytes`, where);
  const layers = json.layers.map((item: unknown) => {
    if (!isObject(item)) throw manifestFailure("a layer that is no object", where);
    const { mediaType } = item;
    if (typeof mediaType === "string" && mediaType.endsWith("+encrypted")) {
      throw manifestFailure("an encrypted layer, which is not supported", where);
    }
    return { ...parseBlob(item, where), ...(typeof mediaType === "string" ? { mediaType } : {}) };
  });
  return { config, layers };
}

function parseBlob(item: JsonObject, where: string): BlobInfo {
  const { size } = item;
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) {
    throw manifestFailure("a blob without a valid size", where);
  }
  return { digest: parseDigest(item.digest, where), size };
}

function readPlatform(json: JsonObject): Platform | undefined {
  const { os, architecture, variant } = json;
  if (typeof os !== "string" || typeof architecture !== "string") return undefined;
  return { os, architecture, ...(typeof variant === "string" && variant !== "" ? { variant } : {}) };
}

/**
 * Variants that run where `wanted` does, best first; undefined stands for none named. The lists are those of
 * containers/image (internal/pkg/platform/platform_matcher.go) and containerd (platforms/compare.go): 32-bit arm
 * without a variant is v7, arm64 is v8, and an amd64 level includes those below.
 */
function variantsFor({ architecture, variant }: Platform): (string | undefined)[] {
  const below = (lowest: number, highest: number) =>
    Array.from({ length: highest - lowest + 1 }, (_, i) => `v${highest - i}`);
  const level = Number(/^v([0-9])$/.exec(variant ?? "")?.[1] ?? Number.NaN);
  switch (architecture) {
    case "arm":
      return variant === undefined ? ["v7", undefined, "v6", "v5"] : [...below(5, level), undefined];
    case "arm64":
      return variant === undefined || variant === "v8" ? ["v8", undefined] : [variant, "v8", undefined];
    case "amd64":
      return variant === undefined ? [undefined, "v1"] : [...below(1, level), undefined];
    default:
      return variant === undefined ? [undefined] : [variant];
  }
}

/** How well an image fits: 0 is best; undefined is not at all. */
function rankOf(offered: Platform, wanted: Platform): number | undefined {
  if (offered.os !== wanted.os || offered.architecture !== wanted.architecture) return undefined;
  const rank = variantsFor(wanted).indexOf(offered.variant);
  return rank < 0 ? undefined : rank;
}

export const matchesPlatform = (offered: Platform, wanted: Platform): boolean => rankOf(offered, wanted) !== undefined;

function choosePlatform(entries: readonly IndexEntry[], wanted: Platform, where: string): IndexEntry {
  const ranked = entries.flatMap((entry) => {
    const rank = entry.platform && rankOf(entry.platform, wanted);
    return rank === undefined ? [] : [{ entry, rank }];
  });
  // The first of those that fit best: sorting keeps the order of equals.
  const [best] = ranked.sort((a, b) => a.rank - b.rank);
  if (best !== undefined) return best.entry;
  // Indexes of a single image, and those that lead to further indexes, often say no platform.
  const unstated = entries.filter((entry) => entry.platform === undefined);
  const [only] = unstated;
  if (only !== undefined && unstated.length === 1) return only;
  throw platformFailure(
    wanted,
    entries.flatMap((entry) => (entry.platform === undefined ? [] : [entry.platform])),
    where,
  );
}

export function platformFailure(wanted: Platform, offered: readonly Platform[], where: string): Failure {
  const names = [...new Set(offered.map(formatPlatform))].filter((name) => !name.startsWith("unknown/"));
  const list = names.slice(0, 20).map(escapeText).join(", ");
  return new Failure("E_PLATFORM", `the image has no variant for ${formatPlatform(wanted)}`, {
    where,
    mend: list === "" ? "choose another image" : `it has: ${list}; choose one with --platform`,
  });
}

export interface ImageConfig {
  run: RunConfig;
  platform: Platform | undefined;
  diffIds: Digest[];
}

/** The parts of a configuration that rootling uses. Throws E_MANIFEST. */
export function parseConfig(bytes: Buffer, layers: number, where: string): ImageConfig {
  const json = parseJson(bytes, where);
  const rootfs = isObject(json.rootfs) ? json.rootfs : {};
  if (rootfs.type !== "layers" || !Array.isArray(rootfs.diff_ids)) {
    throw manifestFailure("a configuration without list of layers: not a container image", where);
  }
  if (rootfs.diff_ids.length !== layers) {
    throw manifestFailure(`a configuration of ${rootfs.diff_ids.length} layers for ${layers}`, where);
  }
  return {
    run: parseRunConfig(isObject(json.config) ? json.config : {}, where),
    platform: readPlatform(json),
    diffIds: rootfs.diff_ids.map((item: unknown) => parseDigest(item, where)),
  };
}

const LISTS = ["Env", "Entrypoint", "Cmd"] as const;
const TEXTS = ["WorkingDir", "User", "StopSignal"] as const;
const OBJECTS = ["Volumes", "Labels"] as const;

/** How to run an image, and where, of a configuration whose layers are no longer what it says. Throws E_MANIFEST. */
export function parseRun(bytes: Buffer, where: string): Pick<ImageConfig, "run" | "platform"> {
  const json = parseJson(bytes, where);
  return { run: parseRunConfig(isObject(json.config) ? json.config : {}, where), platform: readPlatform(json) };
}

/** OCI's `config` object; null and absent are the same. Throws E_MANIFEST. */
function parseRunConfig(json: JsonObject, where: string): RunConfig {
  const wrong = (key: string) => manifestFailure(`a configuration with an invalid ${key}`, where);
  const given = (key: string) => json[key] !== undefined && json[key] !== null;
  const run: Record<string, unknown> = {};
  for (const key of LISTS.filter(given)) {
    const list = json[key];
    if (!isStrings(list) || list.some((text) => text.includes("\0"))) throw wrong(key);
    run[key] = list;
  }
  for (const key of TEXTS.filter(given)) {
    const text = json[key];
    if (typeof text !== "string" || text.includes("\0")) throw wrong(key);
    if (text !== "") run[key] = text;
  }
  for (const key of OBJECTS.filter(given)) {
    if (!isObject(json[key])) throw wrong(key);
    run[key] = json[key];
  }
  if (isObject(run.Labels) && !isStrings(Object.values(run.Labels))) throw wrong("Labels");
  return run as RunConfig;
}
