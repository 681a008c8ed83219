/** The flags that say how registries are spoken to, and where the password comes from: never from a command line. */
import { join } from "node:path";
import type { Command } from "commander";
import type { Context } from "../base/context.ts";
import { Failure } from "../base/errors.ts";
import type { RegistryOptions } from "../image/sources/environment.ts";

export interface RegistryFlags {
  readonly username?: string;
  readonly passwordStdin?: boolean;
  readonly insecure?: boolean;
  readonly plainHttp?: boolean;
}

export const withRegistryFlags = (command: Command): Command =>
  command
    .option("--username <name>", "user at the registry; the password is asked for on the terminal")
    .option("--password-stdin", "read the password of --username from standard input")
    .option("--insecure", "do not verify the certificate of the registry")
    .option("--plain-http", "speak to the registry without TLS");

/** What the flags and the process's environment say. */
export function registryOptions(flags: RegistryFlags, { signal, progress, settings }: Context): RegistryOptions {
  const { username, passwordStdin, insecure, plainHttp = settings.ALLOW_HTTP && !flags.insecure } = flags;
  const usage = (what: string, where: string, mend: string) => new Failure("E_USAGE", what, { where, mend });
  if (passwordStdin && username === undefined) {
    throw usage("a password without a user", "--password-stdin", "add --username");
  }
  if (insecure && plainHttp) {
    throw usage("there is no certificate without TLS", "--insecure", "leave out --insecure or --plain-http");
  }
  if (username !== undefined && (username === "" || /[\p{Cc}:]/u.test(username))) {
    throw usage("not a user name", "--username", "it has no colon and no control characters");
  }
  return {
    env: process.env,
    uid: process.geteuid?.() ?? 0,
    netrc: join(settings.CONFIG_PATH, ".credentials"),
    ...(username === undefined ? {} : { username }),
    ...(insecure ? { insecure } : {}),
    ...(plainHttp ? { plainHttp } : {}),
    askPassword: async (user, host) => {
      const { askOnTerminal, readPasswordFrom } = await import("./password.ts");
      if (passwordStdin) return readPasswordFrom(process.stdin, "--password-stdin");
      const resume = progress.pause();
      return askOnTerminal(`Password of ${user} at ${host}: `, signal).finally(resume);
    },
  };
}
