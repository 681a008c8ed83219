/**
 * Where credentials for a registry come from. Each belongs to the registry (and namespace) that it was configured for
 * and is never tried elsewhere. Nothing is read before a registry refuses an anonymous request.
 */
import { Failure } from "../../base/errors.ts";
import { authFiles, findInFile } from "./auth-files.ts";
import { askHelper } from "./credential-helper.ts";
import type { RegistryOptions } from "./environment.ts";
import { findInCredentials, findInNetrc } from "./netrc.ts";

export type Credentials = (
  | { readonly kind: "password"; readonly user: string; readonly password: string }
  /** An OAuth 2 refresh token that `docker login` got. */
  | { readonly kind: "identity"; readonly token: string }
) & {
  /** The file, program or flag that they are from. */
  readonly origin: string;
};

/** What is looked for: a registry, a repository in it, and whose credentials, if that was said. */
export interface Wanted {
  /** `host[:port]`, as users write it: docker.io for Docker Hub. */
  readonly host: string;
  /** The repository; undefined for a token server. */
  readonly repository: string | undefined;
  readonly user: string | undefined;
}

export interface CredentialContext {
  readonly options: RegistryOptions;
  /** Global helpers of registries.conf. */
  readonly helpers: readonly string[];
  readonly signal: AbortSignal;
  warn(message: string): void;
}

/** The reserved name among the helpers of registries.conf for the files of containers-auth.json(5). */
export const AUTH_FILES = "containers-auth.json";

export class CredentialStore {
  readonly #context: CredentialContext;
  readonly #user: string | undefined;
  readonly #found = new Map<string, Promise<Credentials | undefined>>();

  /** `user`: whose credentials are wanted at the registry that the user named (`docker://USER@…`, `--username`). */
  constructor(context: CredentialContext, user: string | undefined) {
    this.#context = context;
    this.#user = user;
  }

  /** `named`: whether this is the registry that the user named, so that `--username` is meant for it. */
  find(host: string, repository: string | undefined, named: boolean): Promise<Credentials | undefined> {
    const key = `${host}/${repository ?? ""}`;
    let found = this.#found.get(key);
    if (found === undefined) this.#found.set(key, (found = this.#look(host, repository, named)));
    return found;
  }

  async #look(host: string, repository: string | undefined, named: boolean): Promise<Credentials | undefined> {
    const { username, askPassword } = this.#context.options;
    if (named && username !== undefined) {
      const password = await askPassword?.(username, host);
      if (password !== undefined) return { kind: "password", user: username, password, origin: "--username" };
      throw new Failure("E_USAGE", "a password is needed for --username", {
        where: "--username",
        mend: "give it with --password-stdin, or start rootling on a terminal, which asks for it",
      });
    }
    const user = named ? this.#user : undefined;
    const stored = await this.#stored({ host, repository, user });
    if (stored !== undefined || user === undefined) return stored;
    const password = await askPassword?.(user, host);
    return password === undefined ? undefined : { kind: "password", user, password, origin: `${user}@` };
  }

  async #stored(wanted: Wanted): Promise<Credentials | undefined> {
    const { options, helpers } = this.#context;
    const own = findInCredentials(options, wanted);
    if (own !== undefined) return own;
    for (const helper of helpers.length > 0 ? helpers : [AUTH_FILES]) {
      const found =
        helper === AUTH_FILES ? await this.#inFiles(wanted) : await askHelper(helper, wanted.host, this.#context);
      if (found !== undefined && belongsTo(found, wanted.user)) return found;
    }
    return findInNetrc(options.env, wanted);
  }

  async #inFiles(wanted: Wanted): Promise<Credentials | undefined> {
    for (const path of authFiles(this.#context.options)) {
      const found = await findInFile(path, wanted, this.#context);
      if (found !== undefined && belongsTo(found, wanted.user)) return found;
    }
    return undefined;
  }
}

const belongsTo = (found: Credentials, user: string | undefined): boolean =>
  user === undefined || (found.kind === "password" && found.user === user);
