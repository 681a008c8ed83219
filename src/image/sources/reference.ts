/** The texts that name an image: parsed at the edge, never by string operations further in. */
import { resolve } from "node:path";
import { Failure } from "../../base/errors.ts";
import { escapeText } from "../../base/text.ts";
import { parseDigest } from "../digest.ts";
import type { Digest, Platform } from "../types.ts";
import {
  type DebootstrapReference,
  parseDebootstrap,
  parseVirtBuilder,
  type VirtBuilderReference,
} from "./built-reference.ts";

/** An image in a registry. */
export interface DockerReference {
  kind: "docker";
  user: string | undefined;
  /** Host, with port if given. */
  registry: string;
  /** The repository, such as `library/debian`. */
  name: string;
  tag: string | undefined;
  digest: Digest | undefined;
  /** The name as it was written, where no registry was: registries.conf may say which it means. */
  short?: string;
}

/** An image that a docker or podman of this machine has. */
export interface DaemonReference {
  kind: "dockerd" | "podman";
  /** What it is called there: a name with tag or digest, or an id. */
  name: string;
}

export type SourceReference =
  | DebootstrapReference
  | VirtBuilderReference
  | DockerReference
  /** An OCI image layout; without `reference`, its only image. */
  | { kind: "oci"; directory: string; reference: string | undefined }
  /** A tar of an OCI image layout, or of `docker save`; without `reference`, its only image. */
  | { kind: "oci-archive" | "docker-archive"; file: string; reference: string | undefined }
  /** An image of the docker or podman of this machine, by the name that it has there. */
  | DaemonReference
  /** A tar file of a root file system, or a squashfs file. */
  | { kind: "file"; file: string }
  /** A tar of a root file system from standard input. */
  | { kind: "stdin" }
  | { kind: "directory"; directory: string }
  /** An image whose manifest, configuration and layers the blob cache has, as `commit` makes it. */
  | { kind: "cached"; digest: Digest }
  /** The root of this machine: boots without an import. */
  | { kind: "host" };

const DEFAULT_REGISTRY = "registry-1.docker.io";
const HUB = new Set(["docker.io", "index.docker.io", DEFAULT_REGISTRY]);

const SOURCES =
  "docker://[REGISTRY/]NAME[:TAG], dockerd://NAME, podman://NAME, oci:DIRECTORY[:REF], oci-archive:FILE[:REF], " +
  "docker-archive:FILE[:REF], dir:DIRECTORY, debootstrap:SUITE, virt-builder://TEMPLATE, " +
  "a tar or squashfs FILE such as ./rootfs.tar.gz, - for standard input, or host:";

// distribution-spec and docker's reference grammar.
const NAME = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
const TAG = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/;
const HOST = /^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?$/;

const CACHED = "cache:";

/** The SOURCE text of an image that the blob cache has. */
export const cachedSource = (digest: Digest): string => `${CACHED}${digest}`;

/** What a SOURCE text means. Throws E_SOURCE. Whether it exists is not looked at. */
export function parseSource(text: string): SourceReference {
  if (text === "host:") return { kind: "host" };
  if (text.startsWith("docker://")) return parseDocker(text);
  const [, daemon, image = ""] = /^(dockerd|podman):\/\/(.*)$/s.exec(text) ?? [];
  if (daemon === "dockerd" || daemon === "podman") return parseDaemon(text, daemon, image);
  if (text === "-") return { kind: "stdin" };
  if (text.startsWith(CACHED)) return { kind: "cached", digest: parseDigest(text.slice(CACHED.length), "the source") };
  const built = /^(debootstrap:(?:\/\/)?|virt-builder:\/\/)(.*)$/s.exec(text);
  if (built !== null) return parseBuilt(text, built[1] ?? "", built[2] ?? "");
  const [, local, rest = ""] = /^(oci|oci-archive|docker-archive|dir):(.*)$/s.exec(text) ?? [];
  if (local !== undefined) return parseLocal(text, local, rest);
  if (text.startsWith("file://")) return { kind: "file", file: text.slice("file://".length) };
  const scheme = /^([a-z][a-z0-9-]*):(?:\/\/)?/.exec(text)?.[1];
  if (text === "" || text.includes("\0") || (scheme !== undefined && !text.includes("/")) || text.includes("://")) {
    throw sourceFailure(text, "not a source that is known");
  }
  return { kind: "file", file: text };
}

function sourceFailure(text: string, why: string): Failure {
  return new Failure("E_SOURCE", `${why}: ${escapeText(text.slice(0, 300))}`, { mend: `use ${SOURCES}` });
}

function parseBuilt(text: string, scheme: string, rest: string): SourceReference {
  const fail = (why: string) => sourceFailure(text, why);
  return scheme.startsWith("debootstrap") ? parseDebootstrap(rest, fail) : parseVirtBuilder(rest, fail);
}

function parseDocker(text: string): DockerReference {
  let rest = text.slice("docker://".length);
  const fail = (why: string) => sourceFailure(text, why);
  let digest: Digest | undefined;
  const digestAt = rest.lastIndexOf("@sha256:");
  if (digestAt >= 0) {
    digest = parseDigest(rest.slice(digestAt + 1), "the source");
    rest = rest.slice(0, digestAt);
  }
  let user: string | undefined;
  const userAt = rest.lastIndexOf("@");
  if (userAt >= 0) {
    user = rest.slice(0, userAt);
    rest = rest.slice(userAt + 1);
    if (user === "" || /[\s:/@\p{Cc}]/u.test(user)) throw fail("not a user name");
  }
  const { registry, path, short } = splitRegistry(rest);
  const [, name = "", tag] = /^([^:]*)(?::(.*))?$/s.exec(path) ?? [];
  if (!HOST.test(registry)) throw fail("not a registry's host name");
  if (!NAME.test(name) || name.length > 255) throw fail("not the name of an image");
  if (tag !== undefined && !TAG.test(tag)) throw fail("not a tag");
  const hub = HUB.has(registry);
  return {
    kind: "docker",
    user,
    registry: hub ? DEFAULT_REGISTRY : registry,
    name: hub && !name.includes("/") ? `library/${name}` : name,
    tag: tag ?? (digest === undefined ? "latest" : undefined),
    digest,
    ...(short ? { short: name } : {}),
  };
}

/** What docker and podman take for an image; it becomes a part of a URL, so no step of it may lead elsewhere. */
const DAEMON_NAME = /^[A-Za-z0-9][A-Za-z0-9._:@-]*(?:\/[A-Za-z0-9][A-Za-z0-9._:@-]*)*$/;

function parseDaemon(text: string, kind: DaemonReference["kind"], name: string): DaemonReference {
  if (DAEMON_NAME.test(name) && name.length <= 512) return { kind, name };
  throw sourceFailure(text, "not the name of an image");
}

/** `REGISTRY#NAME`, or `REGISTRY/NAME` where the first part can only be a host. */
function splitRegistry(text: string): { registry: string; path: string; short: boolean } {
  const hash = text.indexOf("#");
  if (hash >= 0) return { registry: text.slice(0, hash), path: text.slice(hash + 1), short: false };
  const slash = text.indexOf("/");
  const first = text.slice(0, slash);
  if (slash > 0 && (/[.:]/.test(first) || first === "localhost")) {
    return { registry: first, path: text.slice(slash + 1), short: false };
  }
  return { registry: DEFAULT_REGISTRY, path: text, short: true };
}

/** Host and repository of a location in registries.conf. `where` is the file. */
export function splitLocation(text: string, where: string): { host: string; repository: string } {
  // A prefix, and so a location, may end with a tag or digest: which one is fetched is said elsewhere.
  const [, host = "", repository = ""] = /^([^/]+)\/(.+?)(?:@.*|:[^/]*)?$/s.exec(text) ?? [];
  if (HOST.test(host) && NAME.test(repository)) {
    return { host: HUB.has(host) ? DEFAULT_REGISTRY : host, repository };
  }
  throw new Failure("E_SETTING", `not a location of images: ${escapeText(text.slice(0, 300))}`, {
    where,
    mend: "write it like registry.example:5000/namespace",
  });
}

function parseLocal(text: string, scheme: string, rest: string): SourceReference {
  if (rest === "" || rest.includes("\0")) throw sourceFailure(text, "no path is given");
  if (scheme === "dir") return { kind: "directory", directory: rest };
  // An OCI layout's REF has no slash, so that a colon in a directory's name does no harm. Docker's may have any.
  const form = scheme === "docker-archive" ? /^(.*?)(?::(.+))?$/s : /^(.*?)(?::([^/:]+))?$/s;
  const [, path = "", reference] = form.exec(rest) ?? [];
  if (path === "") throw sourceFailure(text, "no path is given");
  if (scheme === "oci") return { kind: "oci", directory: path, reference };
  return { kind: scheme === "oci-archive" ? "oci-archive" : "docker-archive", file: path, reference };
}

/** The name that a stored image gets: short for Docker Hub, as people write it. */
export function shortName(reference: DockerReference): string {
  const name =
    reference.registry === DEFAULT_REGISTRY
      ? reference.name.replace(/^library\//, "")
      : `${reference.registry}/${reference.name}`;
  const tag = reference.tag === undefined ? "" : `:${reference.tag}`;
  return `${name}${tag}${reference.digest === undefined ? "" : `@${reference.digest}`}`;
}

/**
 * The SOURCE text that finds the same image later and from elsewhere: a registry's by its digest, a file's absolute.
 * Without the user of a registry: who looked is no part of what was found.
 */
export function pinnedSource(text: string, digest: Digest, cwd: string): string {
  const reference = parseSource(text);
  if (reference.kind === "docker") return `docker://${reference.registry}/${reference.name}@${digest}`;
  if (["dockerd", "podman", "cached", "debootstrap", "virt-builder"].includes(reference.kind)) return text;
  const [, scheme = "", path = ""] = /^(file:\/\/|[a-z][a-z-]*:)?(.*)$/s.exec(text) ?? [];
  return path === "" || path === "-" ? text : `${scheme}${resolve(cwd, path)}`;
}

/** `OS/ARCHITECTURE[/VARIANT]`, in Go's words. Throws E_USAGE. */
export function parsePlatform(text: string, where: string): Platform {
  const [, os, architecture, variant] = /^([a-z0-9]+)\/([a-z0-9_]+)(?:\/([a-z0-9.]+))?$/.exec(text) ?? [];
  if (os === undefined || architecture === undefined) {
    throw new Failure("E_USAGE", "not a platform", { where, mend: "write it like linux/amd64 or linux/arm64/v8" });
  }
  return { os, architecture, ...(variant === undefined ? {} : { variant }) };
}

/** Architectures by the words of uname(1), rpm and Debian; Go's own stand for themselves. */
const ARCHITECTURES: Readonly<Record<string, Omit<Platform, "os">>> = {
  x86_64: { architecture: "amd64" },
  "x86-64": { architecture: "amd64" },
  aarch64: { architecture: "arm64" },
  i386: { architecture: "386" },
  i686: { architecture: "386" },
  armv7l: { architecture: "arm", variant: "v7" },
  armhf: { architecture: "arm", variant: "v7" },
  armv6l: { architecture: "arm", variant: "v6" },
  armel: { architecture: "arm", variant: "v5" },
  ppc64el: { architecture: "ppc64le" },
  loongarch64: { architecture: "loong64" },
  ...Object.fromEntries(
    ["amd64", "arm64", "386", "arm", "ppc64le", "s390x", "riscv64", "mips64le", "loong64"].map((architecture) => [
      architecture,
      { architecture },
    ]),
  ),
};

/** Linux on the architecture `word`. Throws E_USAGE. */
export function platformOfArchitecture(word: string, where: string): Platform {
  const known = Object.hasOwn(ARCHITECTURES, word) ? ARCHITECTURES[word] : undefined;
  if (known !== undefined) return { os: "linux", ...known };
  throw new Failure("E_USAGE", `not an architecture that is known: ${escapeText(word.slice(0, 100))}`, {
    where,
    mend: `use one of ${Object.keys(ARCHITECTURES).sort().join(", ")}, or --platform`,
  });
}

export const formatPlatform = (platform: Platform): string =>
  [platform.os, platform.architecture, ...(platform.variant === undefined ? [] : [platform.variant])].join("/");

/** This machine's platform, in Go's words. */
export function hostPlatform(): Platform {
  const architectures: Record<string, string> = { x64: "amd64", ia32: "386", ppc64: "ppc64le" };
  const architecture = architectures[process.arch] ?? process.arch;
  const { arm_version: version } = process.config.variables as { arm_version?: unknown };
  return { os: "linux", architecture, ...(architecture === "arm" && version ? { variant: `v${version}` } : {}) };
}
