/** Words about terminals: which keys detach a client. */
import { Failure } from "../base/errors.ts";
import { from, type Intent } from "../boot/intent.ts";

export const DETACH_KEYS = "ctrl-p,ctrl-q";

/** Reads `ctrl-X` and single characters between commas as bytes; an empty text is no keys. Throws E_USAGE. */
export function readDetachKeys(text: string): Uint8Array {
  if (text === "") return new Uint8Array();
  return Uint8Array.from(
    text.split(",").map((key) => {
      const control = /^ctrl-([a-z@[\\\]^_])$/i.exec(key)?.[1];
      if (control !== undefined) return control.toUpperCase().charCodeAt(0) & 0x1f;
      if (/^[\x20-\x7e]$/.test(key)) return key.charCodeAt(0);
      throw new Failure("E_USAGE", `${JSON.stringify(key)} is no key`, {
        where: "--detach-keys",
        mend: "write single characters or ctrl-a to ctrl-z, with commas between them",
      });
    }),
  );
}

/** node:tty is loaded when first used: most starts ask for no terminal. */
const onTerminal = (fd: number): boolean => process.getBuiltinModule("node:tty").isatty(fd);

/** What is isolated must not have the caller's terminal: where there is one, it gets its own (CVE-2017-5226). */
export function ownTerminal(
  intent: Partial<Pick<Intent, "isolate" | "detached" | "terminal">>,
): Pick<Intent, "terminal"> {
  const { isolate, detached, terminal } = intent;
  const needed = isolate !== undefined && detached === undefined && onTerminal(0) && onTerminal(1);
  const own = terminal ?? (needed ? from(true, isolate.origin) : undefined);
  return own === undefined ? {} : { terminal: own };
}

/** A terminal of the payload's own is shown on ours: without one, who waits for a prompt would wait for ever. */
export function refuseWithoutTerminal(): void {
  if (onTerminal(0)) return;
  throw new Failure("E_USAGE", "standard input is no terminal", {
    where: "--tty",
    mend: "leave it out, or start a container with --detach",
  });
}
