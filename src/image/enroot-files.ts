/**
 * The files in which enroot keeps an image's configuration, made from OCI's and read back. /etc/rc is a script for the
 * image's own shell, /etc/fstab has the mounts of the start, /etc/environment its environment. What comes from the
 * configuration is data of strangers: it becomes a quoted word, an escaped field or a comment, and never anything else.
 */
import { posix } from "node:path";
import { type ByteString, fromText, toText } from "../base/bytes.ts";
import type { RunConfig } from "./types.ts";

/** A word for any POSIX shell that stands for exactly this text. */
const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/** A field of an fstab line: blanks, and the `$` of enroot's substitution, as octal escapes of fstab(5). */
const field = (text: string): string =>
  text.replace(/[\s\\#$]/g, (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, "0")}`);

// biome-ignore lint/suspicious/noControlCharactersInRegex: a comment ends with its line, whatever ends it
const asLine = (text: string): string => text.replace(/[\u0000-\u001f\u007f\u0085\u2028\u2029]+/g, " ");

/** The directory that the command starts in: absolute, without `..`. */
export const workingDirectory = ({ WorkingDir }: RunConfig): string => posix.resolve("/", WorkingDir ?? "/");

/** /etc/rc: enters the directory, lets /etc/rc.local have its say, and becomes the command. */
export function scriptOf(run: RunConfig): string {
  const { Entrypoint = [], Cmd = [], Labels = {} } = run;
  const directory = quoted(workingDirectory(run));
  const entrypoint = Entrypoint.map(quoted);
  const whole = [...Entrypoint, ...Cmd];
  const command = (whole.length > 0 ? whole : ["/bin/sh"]).map(quoted);
  return [
    ...Object.entries(Labels).map(([key, value]) => asLine(`# ${key} ${value}`)),
    `[ -d ${directory} ] || mkdir -p ${directory} 2>/dev/null`,
    `cd ${directory} || exit 1`,
    "unset OLDPWD",
    "if [ -s /etc/rc.local ]; then",
    "  . /etc/rc.local",
    "fi",
    'if [ "$#" -ne 0 ]; then',
    `  exec ${[...entrypoint, '"$@"'].join(" ")}`,
    "fi",
    `exec ${command.join(" ")}`,
    "",
  ].join("\n");
}

/** /etc/rc.local: there to be changed by whoever uses the container. */
export const LOCAL_SCRIPT = '# /etc/rc reads this file before the command: it may change "$@".\n';

/** /etc/fstab: each volume is bound on itself, writable. */
export function mountsOf({ Volumes = {} }: RunConfig): string {
  return Object.keys(Volumes)
    .map((path) => posix.resolve("/", path))
    .filter((path) => path !== "/")
    .map((path) => `\${ENROOT_ROOTFS}${field(path)} ${field(path)} none x-create=dir,bind,rw,nosuid,nodev\n`)
    .join("");
}

/** A variable that a line can hold. */
const LINE = /^[A-Za-z_][A-Za-z0-9_]*=[^\n\r]*$/;

/** /etc/environment, and the names of variables that no line can hold. */
export function environmentOf({ Env = [] }: RunConfig): { text: string; lost: string[] } {
  const lines = Env.filter((variable) => LINE.test(variable));
  const lost = Env.filter((variable) => !LINE.test(variable)).map((variable) => variable.split("=")[0] ?? "");
  return { text: lines.map((line) => `${line}\n`).join(""), lost };
}

/** The variables of an /etc/environment, as enroot reads it: quotes around a value are taken off. */
export const readEnvironment = (text: string): string[] =>
  text
    .split("\n")
    .map((line) => line.trimStart())
    .filter((line) => LINE.test(line) && !line.startsWith("ENROOT_"))
    .map((line) => line.replace(/^([A-Za-z0-9_]+)=["'](.*)["']\s*$/, "$1=$2"));

/** The caller's words, in a script. */
const WORDS = '"$@"';

/**
 * The command of a script that enroot or scriptOf made: the directory that it enters, and what it becomes with words and
 * without. Undefined for any other script.
 */
export function readScript(text: string): Pick<RunConfig, "WorkingDir" | "Entrypoint" | "Cmd"> | undefined {
  const [directory] = wordsAt(text, /^[ \t]*cd /m) ?? [];
  const [first, second] = text
    .matchAll(/^[ \t]*exec /gm)
    // A stranger's file may have any number of them.
    .take(2)
    .map(({ index }) => wordsAt(text.slice(index), /^[ \t]*exec /));
  if (directory === undefined || first === undefined || second === undefined) return undefined;
  const entrypoint = first.slice(0, -1);
  const fits = first.at(-1) === WORDS && entrypoint.every((word, i) => word === second[i]);
  if (!fits) return undefined;
  const Cmd = second.slice(entrypoint.length);
  return {
    WorkingDir: directory,
    ...(entrypoint.length > 0 ? { Entrypoint: entrypoint } : {}),
    ...(Cmd.length > 0 ? { Cmd } : {}),
  };
}

/** What is quoted as bash does it by `@Q`, or by `quoted`, and plain words. */
const PART =
  /"\$@"|'([^']*)'|\$'((?:[^'\\]|\\[\s\S])*)'|"((?:[^"\\$`]|\\[\s\S])*)"|\\([\s\S])|([^\s'"\\$`;&|<>()#*?[\]{}~]+)/y;

const ESCAPES: Readonly<Record<string, string>> = {
  ...{ a: "\x07", b: "\b", e: "\x1b", E: "\x1b", f: "\f", n: "\n", r: "\r", t: "\t", v: "\v" },
};

/** What is within `$'…'`; numbers are those of bytes. */
function unescapeQuoted(text: string): string {
  const bytes = fromText(text).replace(/\\(?:x([0-9A-Fa-f]{1,2})|([0-7]{1,3})|([\s\S]))/g, (_, hex, octal, other) =>
    other === undefined
      ? String.fromCharCode(Number.parseInt(octal ?? hex, octal === undefined ? 16 : 8) & 0xff)
      : (ESCAPES[other] ?? other),
  );
  return toText(bytes as ByteString);
}

/** The words of the command behind the first match of `start`, to the end of its line or what ends it. */
function wordsAt(text: string, start: RegExp): string[] | undefined {
  const found = start.exec(text);
  if (found === null) return undefined;
  const words: string[] = [];
  let word: string | undefined;
  for (let at = found.index + found[0].length; ; ) {
    PART.lastIndex = at;
    const part = PART.exec(text);
    if (part !== null) {
      const [whole, single, ansi, double, escaped, plain] = part;
      const value =
        ansi === undefined
          ? (double?.replace(/\\(["\\$`])/g, "$1") ?? single ?? escaped ?? plain)
          : unescapeQuoted(ansi);
      word = (word ?? "") + (value ?? whole);
      at += whole.length;
      continue;
    }
    if (word !== undefined) words.push(word);
    word = undefined;
    if (text[at] !== " " && text[at] !== "\t") return words;
    at++;
  }
}
