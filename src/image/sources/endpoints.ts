/** From the name of an image to the places where it is fetched: aliases, search lists, mirrors, blocked registries. */
import { Failure } from "../../base/errors.ts";
import type { RegistryOptions } from "./environment.ts";
import { isLoopback } from "./http.ts";
import { type DockerReference, parseSource, splitLocation } from "./reference.ts";
import { findTable, type RegistriesConf } from "./registries-conf.ts";

/** A repository at a host, and how that host is spoken to. */
export interface Endpoint {
  /** `host[:port]` to connect to. */
  readonly host: string;
  readonly repository: string;
  /** Ways to speak, tried in this order at the first contact. */
  readonly schemes: readonly ("https" | "http")[];
  /** The certificate is not verified. */
  readonly insecure: boolean;
  /** The registry that the user named, not a mirror of it: what `--username` and the like are meant for. */
  readonly named: boolean;
}

/** What the name may stand for, in the order of trying. Qualified names stand for themselves. */
export function candidatesOf(reference: DockerReference, conf: RegistriesConf | undefined): DockerReference[] {
  const { short } = reference;
  if (short === undefined || conf === undefined) return [reference];
  const alias = conf.aliases.get(short);
  if (alias !== undefined) return [sameImage(reference, alias)];
  const hosts = conf.search ?? [];
  if (hosts.length === 0) return [reference];
  if (hosts.length > 1 && conf.shortNameMode === "enforcing") {
    throw new Failure("E_SOURCE", "a short name that several registries may have", {
      where: short,
      mend: `name the registry: ${hosts
        .slice(0, 10)
        .map((host) => `docker://${host}/${short}`)
        .join(" or ")}`,
    });
  }
  return hosts.map((host) => sameImage(reference, `${host}/${short}`));
}

/** The reference with another registry and repository: those of `name`. */
function sameImage({ tag, digest, user }: DockerReference, name: string): DockerReference {
  const parsed = parseSource(`docker://${name}`);
  if (parsed.kind !== "docker") throw new Failure("E_INTERNAL", "an alias that is no image");
  const { kind, registry, name: repository } = parsed;
  return { kind, user, registry, name: repository, tag, digest };
}

/** Where an image is fetched, in the order of trying: mirrors first, the registry's own location last. */
export function endpointsOf(
  reference: DockerReference,
  conf: RegistriesConf | undefined,
  options: RegistryOptions,
): Endpoint[] {
  const { registry, name, tag, digest } = reference;
  const own = (insecure: boolean, location = { host: registry, repository: name }) =>
    endpoint(location.host, location.repository, { insecure, named: true }, options);
  const image = `${publicHost(registry)}/${name}`;
  const suffix = digest === undefined ? `:${tag ?? "latest"}` : `@${digest}`;
  const found = conf && findTable(conf, `${image}${suffix}`);
  if (found === undefined) return [own(false)];
  const { table, length } = found;
  if (table.blocked) {
    throw new Failure("E_BLOCKED", "registries.conf forbids images of this registry", {
      where: image,
      mend: `see ${table.origin}`,
    });
  }
  const rest = image.slice(Math.min(length, image.length));
  const used = table.mirrors.filter(({ digests, tags }) => (digest === undefined ? tags : digests));
  const mirrors = used.map(({ location, insecure }) => {
    const { host, repository } = splitLocation(`${location}${rest}`, table.origin);
    return endpoint(host, repository, { insecure, named: false }, options);
  });
  const location = table.location === "" ? undefined : splitLocation(`${table.location}${rest}`, table.origin);
  return [...mirrors, own(table.insecure, location)];
}

/** registries.conf's `insecure` allows plain HTTP where there is no TLS; the flags of the user say exactly one thing. */
function endpoint(
  host: string,
  repository: string,
  { insecure, named }: { insecure: boolean; named: boolean },
  options: RegistryOptions,
): Endpoint {
  if (named && options.notSecure) return { host, repository, schemes: ["https", "http"], insecure: true, named };
  const blind = insecure || (named && options.insecure === true);
  if (named && options.plainHttp) return { host, repository, schemes: ["http"], insecure: blind, named };
  if (named && options.insecure) return { host, repository, schemes: ["https"], insecure: true, named };
  const schemes = isLoopback(host)
    ? (["http", "https"] as const)
    : insecure
      ? (["https", "http"] as const)
      : (["https"] as const);
  return { host, repository, schemes, insecure: blind, named };
}

/** A registry's host as users and their files name it. */
export const publicHost = (host: string): string => (host === "registry-1.docker.io" ? "docker.io" : host);
