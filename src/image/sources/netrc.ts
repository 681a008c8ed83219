/** netrc, as curl and ftp(1) have it: `machine NAME login USER password PASSWORD`. */
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { errnoOf, Failure, fileFailure } from "../../base/errors.ts";
import type { Credentials, Wanted } from "./credentials.ts";
import type { Environment, RegistryOptions } from "./environment.ts";

const LARGEST_FILE = 1 << 20;

interface Login {
  readonly login: string;
  readonly password: string;
}

interface Machine {
  name: string;
  login?: string;
  password?: string;
}

/** The entry for `host:port` or, as netrc knows no ports, for the host. NETRC names another file than ~/.netrc. */
export function findInNetrc(env: Environment, wanted: Wanted): Credentials | undefined {
  const path = env.NETRC || (env.HOME && join(env.HOME, ".netrc"));
  const machine = path ? findMachine(path, wanted) : undefined;
  return path && machine ? credentialsOf(machine, path) : undefined;
}

/** The names that Docker Hub has in enroot's file. */
const HUB_NAMES = ["docker.io", "registry-1.docker.io", "auth.docker.io"];

/**
 * The entry of the file `.credentials`, which is enroot's. There a shell puts values in: none does here, so that what
 * asks for one is refused with E_SETTING. A word with a mere `$`, such as $oauthtoken, is itself.
 */
export function findInCredentials({ netrc }: RegistryOptions, wanted: Wanted): Credentials | undefined {
  const names = wanted.host === "docker.io" ? HUB_NAMES : [wanted.host];
  const machine = netrc && names.map((host) => findMachine(netrc, { ...wanted, host })).find(Boolean);
  if (!netrc || !machine) return undefined;
  if (/`|\$\(/.test(`${machine.login} ${machine.password}`)) {
    throw new Failure("E_SETTING", `the login at ${wanted.host} would need a shell, which is not asked`, {
      where: netrc,
      mend: "write the password itself, or name a program that knows it: credHelpers in ~/.docker/config.json",
    });
  }
  return credentialsOf(machine, netrc);
}

const credentialsOf = ({ login, password }: Login, origin: string): Credentials => ({
  kind: "password",
  user: login,
  password,
  origin,
});

function findMachine(path: string, { host, user }: Wanted): Login | undefined {
  const text = readNetrc(path);
  if (text === undefined) return undefined;
  const machines = parseNetrc(text).filter(({ login }) => user === undefined || login === user);
  for (const name of [host, host.replace(/:[0-9]+$/, "")]) {
    const found = machines.find((machine) => machine.name === name && machine.password !== undefined);
    if (found?.login !== undefined && found.password !== undefined)
      return { login: found.login, password: found.password };
  }
  return undefined;
}

function readNetrc(path: string): string | undefined {
  try {
    return statSync(path).size > LARGEST_FILE ? undefined : readFileSync(path, "utf8");
  } catch (error) {
    if (["ENOENT", "ENOTDIR", "EACCES"].includes(errnoOf(error) ?? "")) return undefined;
    throw fileFailure(error, "reading netrc", path);
  }
}

/** `default` is left out: a password for anybody who asks is none. Macros end at an empty line. */
export function parseNetrc(text: string): Machine[] {
  const machines: Machine[] = [];
  let current: Machine | undefined;
  const words = text.replace(/(^|\s)macdef[^\n]*\n(?:.+\n)*/g, "$1").replace(/^\s*#.*$/gm, "");
  const tokens = [...words.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/g)].map(
    ([, quoted, plain]) => quoted?.replace(/\\(.)/g, "$1") ?? plain ?? "",
  );
  for (let i = 0; i < tokens.length; i++) {
    const token = tokens[i];
    if (token === "default") current = undefined;
    else if (token === "machine") machines.push((current = { name: tokens[++i] ?? "" }));
    else if (token === "login" || token === "password" || token === "account") {
      const value = tokens[++i] ?? "";
      if (current !== undefined && token !== "account") current[token] = value;
    }
  }
  return machines;
}
