/** The one mount syntax: lines of fstab(5), and `SRC:DST:OPTS` of --mount, which becomes such a line. */
import { isAbsolute, resolve } from "node:path";
import { escapeOctal, unescapeOctal } from "../base/bytes.ts";
import { Failure } from "../base/errors.ts";
import type { Mount } from "./intent.ts";

/** A variable of a configured line. Where the root lies is known only once it is there: the executor replaces that. */
export const VARIABLE = /\$\{(?!(?:ENROOT|ROOTLING)_ROOTFS\})([A-Za-z_][A-Za-z0-9_]*)\}/g;

/** Words that set a mount attribute, each with the one that clears it (mount(8)). */
const ATTRIBUTES: Readonly<Record<string, string>> = {
  ro: "rw",
  nosuid: "suid",
  nodev: "dev",
  noexec: "exec",
  noatime: "atime",
  nodiratime: "diratime",
  nosymfollow: "symfollow",
};
const OPPOSITES = new Map(Object.entries(ATTRIBUTES).map(([set, clear]) => [clear, set]));

/** Words of fstab(5) that mean something to mount(8) or init only. */
const IGNORED = new Set(["defaults", "auto", "noauto", "user", "nouser", "users", "group", "owner", "_netdev"]);

const CREATE = /^(?:x-)?create=(dir|file|auto)$/;

const wrong = (what: string, origin: string): Failure =>
  new Failure("E_USAGE", what, {
    where: origin,
    mend: "write SRC:DST or SRC:DST:OPTIONS, such as /data:/data:ro, or a line of fstab, such as 'tmpfs /t tmpfs size=1m'",
  });

interface Words {
  set: string[];
  clear: string[];
  data: string[];
  bind: boolean;
  recursive: boolean;
  nofail: boolean;
  create: Mount["create"];
}

function readOptions(options: string): Words {
  const words: Words = { set: [], clear: [], data: [], bind: false, recursive: false, nofail: false, create: "none" };
  for (const word of options.split(",")) {
    const opposite = OPPOSITES.get(word);
    const create = CREATE.exec(word)?.[1];
    if (word === "" || IGNORED.has(word)) continue;
    if (word in ATTRIBUTES) words.set.push(word);
    else if (opposite !== undefined) words.clear.push(opposite);
    else if (word === "bind" || word === "rbind") {
      words.bind = true;
      words.recursive = word === "rbind";
    } else if (word === "nofail") words.nofail = true;
    else if (create !== undefined) words.create = create as Mount["create"];
    else words.data.push(word);
  }
  return words;
}

/**
 * Reads one line. Short forms: `/a` and `/a /b` bind (recursively, making the target), `tmpfs /t`.
 * `base` is what relative sources are relative to. Throws E_USAGE.
 */
export function readFstabLine(line: string, origin: string, base: string): Mount {
  const fields = line
    .trim()
    .split(/[ \t]+/)
    .map(unescapeOctal);
  const [source, target = source, type, options] = fields;
  if (!source || target === undefined) throw wrong("an empty mount", origin);
  const short = type === undefined;
  const words = readOptions(options ?? "");
  const path = isAbsolute(source) || source.startsWith(".");
  const bind = words.bind || (short && path);
  if (bind && words.data.length > 0) throw wrong(`unknown option ${words.data[0]} of a bind mount`, origin);
  if (short && !path && fields.length === 1) throw wrong(`${source} is not a path`, origin);
  if (!isAbsolute(target) && short) throw wrong(`the target ${target} is not absolute`, origin);
  if (target.split("/").includes("..")) throw wrong(`the target ${target} leads out of the root`, origin);
  return {
    type: bind ? "bind" : (type ?? source),
    source: bind ? resolve(base, source) : source,
    target: `/${target.replace(/^\/+/, "")}`,
    set: words.set,
    clear: words.clear,
    recursive: words.recursive || (short && bind),
    nofail: words.nofail,
    create: words.create === "none" && short ? "auto" : words.create,
    data: words.data,
    origin,
  };
}

/**
 * Reads what --mount takes: `SRC:DST[:OPTIONS]`, `SRC`, or a line of fstab. `\:` is a colon of a path. A target that
 * is missing is made.
 */
export function readMountFlag(text: string, base: string): Mount {
  const origin = "--mount";
  const mount = readFstabLine(isLine(text) ? text : lineOf(text, origin), origin, base);
  return mount.create === "none" ? { ...mount, create: "auto" } : mount;
}

/** A blank may also belong to a path of SRC:DST: then what follows it is no path, and `:/` comes later. */
const isLine = (text: string): boolean => /^\S+[ \t]+\//.test(text) || (/[ \t]/.test(text) && !text.includes(":/"));

function lineOf(text: string, origin: string): string {
  const parts = text.split(/(?<!\\):/).map((part) => part.replaceAll("\\:", ":"));
  const [source = "", target = source, options] = parts;
  if (parts.length > 3) throw wrong(`too many colons in ${text}`, origin);
  const fields = `${escapeOctal(source)} ${escapeOctal(target)}`;
  if (options === undefined) return fields;
  const path = source.startsWith("/") || source.startsWith(".");
  const bind = path && !/(^|,)r?bind(,|$)/.test(options) ? "rbind," : "";
  return `${fields} ${path ? "none" : source} ${bind}${options}`;
}
