/** Which certificates are trusted, and which are shown: the system's, SSL_CERT_FILE's, and those of certs.d. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { getCACertificates } from "node:tls";
import { errnoOf, fileFailure } from "../../base/errors.ts";
import type { Environment } from "./environment.ts";

export interface TlsOptions {
  ca: string[];
  cert?: string;
  key?: string;
  rejectUnauthorized: boolean;
}

/** Bundles of distributions, in the order of Go's crypto/x509 (root_linux.go), which skopeo and podman go by. */
const BUNDLES = [
  "/etc/ssl/certs/ca-certificates.crt",
  "/etc/pki/tls/certs/ca-bundle.crt",
  "/etc/ssl/ca-bundle.pem",
  "/etc/pki/tls/cacert.pem",
  "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
  "/etc/ssl/cert.pem",
];

const LARGEST_BUNDLE = 16 << 20;

function readPem(path: string): string | undefined {
  try {
    if (statSync(path).size > LARGEST_BUNDLE) return undefined;
    return readFileSync(path, "utf8");
  } catch (error) {
    if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ENOTDIR") return undefined;
    throw fileFailure(error, "reading certificates", path);
  }
}

/** SSL_CERT_FILE and SSL_CERT_DIR take the place of the system's bundle, as in OpenSSL and Go. */
function systemTrust(env: Environment): string[] {
  const extra = getCACertificates("extra");
  const file = env.SSL_CERT_FILE;
  const directories = env.SSL_CERT_DIR?.split(":").filter((path) => path.startsWith("/")) ?? [];
  if (file || directories.length > 0) {
    const named = file ? [readPem(file)] : [];
    const found = directories.flatMap((path) =>
      filesOf(path, /\.(?:pem|crt)$|\.[0-9]$/).map((name) => readPem(join(path, name))),
    );
    return [...extra, ...[...named, ...found].filter((pem) => pem !== undefined)];
  }
  for (const path of BUNDLES) {
    const pem = readPem(path);
    if (pem !== undefined) return [...extra, pem];
  }
  return [...extra, ...getCACertificates("bundled")];
}

function filesOf(directory: string, pattern: RegExp): string[] {
  try {
    return readdirSync(directory)
      .filter((name) => pattern.test(name))
      .sort();
  } catch (error) {
    if (["ENOENT", "ENOTDIR", "EACCES"].includes(errnoOf(error) ?? "")) return [];
    throw fileFailure(error, "reading certificates", directory);
  }
}

const isDirectory = (path: string): boolean => {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
};

/** The first directory of containers-certs.d(5) for `host` (`host:port`), or docker's. */
function certificateDirectory(host: string, env: Environment): string | undefined {
  const config = env.XDG_CONFIG_HOME?.startsWith("/") ? env.XDG_CONFIG_HOME : env.HOME && join(env.HOME, ".config");
  const roots = [
    ...(config ? [join(config, "containers/certs.d")] : []),
    "/etc/containers/certs.d",
    "/etc/docker/certs.d",
  ];
  return roots.map((root) => join(root, host)).find(isDirectory);
}

/** Certificates are read once a process: the system's bundle takes some milliseconds. */
export class Trust {
  readonly #env: Environment;
  #system: string[] | undefined;

  constructor(env: Environment) {
    this.#env = env;
  }

  /** For connections to `host` (`host:port`). A client's certificate is for that host alone: another gets another. */
  for(host: string, insecure: boolean): TlsOptions {
    const options: TlsOptions = { ca: [...(this.#system ??= systemTrust(this.#env))], rejectUnauthorized: !insecure };
    const directory = certificateDirectory(host, this.#env);
    if (directory === undefined) return options;
    for (const name of filesOf(directory, /\.crt$/)) options.ca.push(readPem(join(directory, name)) ?? "");
    const [certificate] = filesOf(directory, /\.cert$/);
    if (certificate === undefined) return options;
    const cert = readPem(join(directory, certificate));
    const key = readPem(join(directory, certificate.replace(/cert$/, "key")));
    return cert === undefined || key === undefined ? options : { ...options, cert, key };
  }
}
