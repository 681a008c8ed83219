/** How programs say that a registry is to be spoken to: what flags are for people. */
import { join } from "node:path";
import { Failure } from "../base/errors.ts";
import type { Settings } from "../base/settings.ts";
import type { Environment, RegistryOptions } from "../image/sources/environment.ts";

/** Gives the password of `user` at the registry `host`; undefined where there is nobody who knows it. */
export type AskPassword = (user: string, host: string) => Promise<string | undefined> | string | undefined;

/** Who somebody is at a registry. */
export interface Login {
  /** User at the registry. */
  username?: string;
  /** The user's password, or what gives it once the registry asks for it. */
  password?: string | AskPassword;
}

/** How the connection is made. */
interface Connection {
  insecure?: boolean | undefined;
  plainHttp?: boolean | undefined;
  notSecure?: boolean | undefined;
}

/** The registry's options. `env` is where proxies and credentials are looked up. Throws E_USAGE. */
export function registryAccess(
  { username, password }: Login,
  { insecure, notSecure, plainHttp }: Connection,
  settings: Settings,
  env: Environment,
): RegistryOptions {
  const usage = (what: string, where: string, mend: string) => new Failure("E_USAGE", what, { where, mend });
  if (username !== undefined && (username === "" || /[\p{Cc}:]/u.test(username))) {
    throw usage("not a user name", "username", "it has no colon and no control characters");
  }
  if (insecure && plainHttp) {
    throw usage("there is no certificate without TLS", "insecure", "leave out insecure or plainHttp");
  }
  const ask = typeof password === "function" ? password : () => password;
  const plain = plainHttp ?? (settings.ALLOW_HTTP && !insecure && !notSecure);
  return {
    env,
    uid: process.geteuid?.() ?? 0,
    netrc: join(settings.CONFIG_PATH, ".credentials"),
    ...(username === undefined ? {} : { username }),
    ...(insecure ? { insecure } : {}),
    ...(notSecure ? { notSecure } : {}),
    ...(plain ? { plainHttp: true } : {}),
    askPassword: async (user, host) => {
      const given = await ask(user, host);
      if (given !== undefined || username === undefined) return given;
      throw usage(`the registry ${host} wants the password of ${user}`, "password", "give it with the user");
    },
  };
}
