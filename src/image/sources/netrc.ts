/** netrc, as curl and ftp(1) have it: `machine NAME login USER password PASSWORD`. */
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { errnoOf, fileFailure } from "../../base/errors.ts";
import type { Credentials, Wanted } from "./credentials.ts";
import type { Environment } from "./environment.ts";

const LARGEST_FILE = 1 << 20;

interface Machine {
  name: string;
  login?: string;
  password?: string;
}

/** The entry for `host:port` or, as netrc knows no ports, for the host. NETRC names another file than ~/.netrc. */
export function findInNetrc(env: Environment, { host, user }: Wanted): Credentials | undefined {
  const path = env.NETRC || (env.HOME && join(env.HOME, ".netrc"));
  const text = path ? readNetrc(path) : undefined;
  if (!path || text === undefined) return undefined;
  const machines = parseNetrc(text).filter(({ login }) => user === undefined || login === user);
  for (const name of [host, host.replace(/:[0-9]+$/, "")]) {
    const found = machines.find((machine) => machine.name === name && machine.password !== undefined);
    if (found?.login !== undefined && found.password !== undefined) {
      return { kind: "password", user: found.login, password: found.password, origin: path };
    }
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
