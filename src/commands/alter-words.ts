/** The flags that change a tree on its way into a file: owners, and root's password, which no command line holds. */
import { open } from "node:fs/promises";
import type { Command } from "commander";
import { type Context, throwIfAborted } from "../base/context.ts";
import { Failure, fileFailure } from "../base/errors.ts";
import { mapOf } from "../boot/boot.ts";
import { type IdRange, parseMap } from "../boot/id-map.ts";
import { from } from "../boot/intent.ts";
import type { Alterations } from "../image/alter.ts";
import { checkedRanges, type IdMaps, type IdRange as MapRange, parseIdRange } from "../image/alter-ids.ts";
import { collect } from "./cli.ts";
import { type Step, step } from "./dry-run.ts";

export interface AlterFlags {
  readonly rootPassword?: string;
  /** Defined by the commands that have it: it is a map of stored images, too. */
  readonly map?: string;
  readonly idmap?: readonly string[];
  readonly uidmap?: readonly string[];
  readonly gidmap?: readonly string[];
}

const ROOT_PASSWORD = "--root-password";

export const withAlterFlags = (command: Command): Command =>
  command
    .option(
      `${ROOT_PASSWORD} <from>`,
      "set root's password: file:PATH (its first line), - (standard input), or ask (on the terminal)",
    )
    .option(
      "--idmap <range>",
      "START:TARGET:COUNT: give files of these users and groups other ones; repeatable",
      collect,
    )
    .option("--uidmap <range>", "the same for users", collect)
    .option("--gidmap <range>", "the same for groups", collect);

/** The id maps of the flags; undefined where there are none. Throws E_USAGE. */
function idMapsOf({ map, idmap = [], uidmap = [], gidmap = [] }: AlterFlags): IdMaps | undefined {
  const given = idmap.length + uidmap.length + gidmap.length > 0;
  if (map !== undefined && given) {
    throw new Failure("E_USAGE", "two id maps", { where: "--map", mend: "leave out --map, or all of the others" });
  }
  if (map !== undefined) return containerMaps(map);
  if (!given) return undefined;
  const both = idmap.map((text) => parseIdRange(text, "--idmap"));
  const ranges = (own: readonly string[], flag: string) => {
    const all = [...both, ...own.map((text) => parseIdRange(text, flag))];
    return checkedRanges(all, own.length > 0 ? flag : "--idmap");
  };
  return { uids: ranges(uidmap, "--uidmap"), gids: ranges(gidmap, "--gidmap") };
}

/** The owners that files need where a container has this map; undefined where it has no more than the caller's id. */
function containerMaps(words: string): IdMaps | undefined {
  const { kind, uids, gids } = mapOf(from(parseMap(words, "--map"), "--map"));
  if (kind !== "many") return undefined;
  const outward = ({ inside, outside, count }: IdRange): MapRange => ({ start: inside, target: outside, count });
  return { uids: uids.map(outward), gids: gids.map(outward), complete: true };
}

/** What the flags ask for, the password read and hashed. `stdin`: the flag or operand that reads standard input, too. */
export async function alterationsOf(
  flags: AlterFlags,
  context: Context,
  stdin: string | undefined,
): Promise<Alterations> {
  const ids = idMapsOf(flags);
  const { rootPassword } = flags;
  if (rootPassword === undefined) return { ids };
  checkPlace(rootPassword, stdin);
  const { hashPassword } = await import("../image/alter-password.ts");
  const password = await readRootPassword(rootPassword, context);
  return { ids, rootPassword: await hashPassword(password, ROOT_PASSWORD, context.signal) };
}

/** The same as steps, without reading anything. Throws E_USAGE as doing it would. */
export function alterSteps(flags: AlterFlags, stdin: string | undefined): Step[] {
  idMapsOf(flags);
  if (flags.rootPassword !== undefined) checkPlace(flags.rootPassword, stdin);
  const ranges = [
    ...(flags.map === undefined ? [] : [step("map", `users and groups as for ${flags.map}`, "--map")]),
    ...(flags.idmap ?? []).map((range) => step("map", `users and groups ${range}`, "--idmap")),
    ...(flags.uidmap ?? []).map((range) => step("map", `users ${range}`, "--uidmap")),
    ...(flags.gidmap ?? []).map((range) => step("map", `groups ${range}`, "--gidmap")),
  ];
  return flags.rootPassword === undefined ? ranges : [...ranges, step("set", "root's password", ROOT_PASSWORD)];
}

function checkPlace(place: string, stdin: string | undefined): void {
  const refused = (what: string, mend: string) => new Failure("E_USAGE", what, { where: ROOT_PASSWORD, mend });
  // What was given may be the password itself, so it is not shown.
  if (place !== "-" && place !== "ask" && !/^file:./s.test(place)) {
    throw refused("not a place to read a password from", "use file:PATH, - for standard input, or ask");
  }
  if (place === "-" && stdin !== undefined) {
    throw refused(`standard input is read for ${stdin} already`, "use file:PATH, or ask");
  }
}

async function readRootPassword(place: string, context: Context): Promise<string> {
  if (place.startsWith("file:")) return firstLineOf(place.slice("file:".length), context.signal);
  const { askTwice, readPasswordFrom } = await import("./password.ts");
  if (place === "-") return readPasswordFrom(process.stdin, ROOT_PASSWORD);
  const password = await askTwice("Root's password in the image: ", ROOT_PASSWORD, context.signal);
  if (password !== undefined) return password;
  throw new Failure("E_USAGE", "there is no terminal to ask on", {
    where: ROOT_PASSWORD,
    mend: "use file:PATH, or - for standard input",
  });
}

/** No password is longer. */
const LONGEST_LINE = 4096;

/** The first line of a file, or of a pipe such as `/dev/fd/63`, without its end. Throws what reading it does. */
export async function firstLineOf(path: string, signal: AbortSignal): Promise<string> {
  const parts: Buffer[] = [];
  let size = 0;
  try {
    const handle = await open(path, "r");
    for await (const part of handle.createReadStream({ end: LONGEST_LINE, signal })) {
      parts.push(part as Buffer);
      size += (part as Buffer).length;
      if ((part as Buffer).includes("\n") || size > LONGEST_LINE) break;
    }
  } catch (error) {
    throwIfAborted(signal);
    throw fileFailure(error, "reading the password", path);
  }
  const [line = ""] = Buffer.concat(parts).toString("utf8").split("\n");
  return line.replace(/\r$/, "");
}
