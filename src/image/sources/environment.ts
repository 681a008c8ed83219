/** What sources take from the process that started them: environment, words about registries, and a way to ask. */

export type Environment = Readonly<Record<string, string | undefined>>;

/** How registries are spoken to, as far as the user said so. */
export interface RegistryOptions {
  readonly env: Environment;
  /** Effective user id: root has files of its own below /etc. */
  readonly uid: number;
  /** A file of logins of our own, in netrc's form: it comes before netrc itself. */
  readonly netrc?: string;
  /** `--username`. */
  readonly username?: string;
  /** Asks for the password of `user` at `host`; undefined where there is nobody to ask. Called at most once. */
  readonly askPassword?: (user: string, host: string) => Promise<string | undefined>;
  /** `--insecure`: the certificate of the registry is not verified. */
  readonly insecure?: boolean;
  /** `--plain-http`: no TLS. */
  readonly plainHttp?: boolean;
  /** virt-bootstrap's `--not-secure`: the certificate is not verified, and without TLS it is plain HTTP. */
  readonly notSecure?: boolean;
}
