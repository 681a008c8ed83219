/**
 * A Debian, or a relative of it, made of packages by mmdebstrap in namespaces of its own: an ordinary user needs
 * subordinate ids for it, and nothing else. For root there is no user namespace among them: the packages' scripts are
 * trusted as far as apt trusts who signed them.
 */
import { chmod, mkdir, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { Failure, fileFailure } from "../../base/errors.ts";
import { removeTree } from "../../base/files.ts";
import { requireProgram } from "../../base/process.ts";
import { readSubordinateIds } from "../../base/subids.ts";
import { escapeText } from "../../base/text.ts";
import type { Platform, SourceImage } from "../types.ts";
import { aptMirrors } from "./apt-sources.ts";
import type { DebootstrapReference } from "./built-reference.ts";
import type { Environment } from "./environment.ts";
import { temporaryPath } from "./files.ts";
import { Making, type MakingOptions } from "./making.ts";
import { formatPlatform, hostPlatform } from "./reference.ts";
import type { OpenContext } from "./source.ts";
import { openOnce } from "./stream.ts";

/** Debian's names of architectures that are not Go's (dpkg, cputable and tupletable). */
const ARCHITECTURES: Readonly<Record<string, string>> = {
  "386": "i386",
  "arm/v7": "armhf",
  "arm/v6": "armel",
  "arm/v5": "armel",
  arm: "armhf",
  ppc64le: "ppc64el",
  mips64le: "mips64el",
};

/** Opens the root of a suite: it is made now, each time anew. Throws E_PROGRAM with what mmdebstrap says. */
export async function openDebootstrap(reference: DebootstrapReference, context: OpenContext): Promise<SourceImage> {
  const program = requireProgram("mmdebstrap", "mmdebstrap");
  const { env, uid } = context.registry;
  if (uid !== 0) requireIds(uid);
  const { suite } = reference;
  const mirrors = reference.mirrors.length > 0 ? reference.mirrors : aptMirrors(suite, context);
  const scratch = await reachableScratch(context);
  const label = `debootstrap:${suite}`;
  const options: MakingOptions = {
    title: "mmdebstrap",
    env: passedOn(env, scratch),
    // That it failed, and which of its commands, is no reason.
    complaint: /^(?:Err:|E: (?!mmdebstrap failed|apt(?:-get)? .*failed$))/,
    failure: (said) => {
      const mend = "check the suite and the names of packages; ?mirror=URI names another mirror";
      return new Failure("E_PROGRAM", said, { where: label, mend });
    },
  };
  let making: Making | undefined;
  const close = async () => {
    await making?.end();
    await removeTree(scratch).catch(() => {});
  };
  try {
    making = new Making(program, wordsFor(reference, mirrors, context.platform), options, context);
    return await openOnce({ name: suite, label, close }, making.output(), context);
  } catch (error) {
    await close();
    throw error;
  }
}

/** Where everybody may make a directory, and reach it. */
const FOR_ALL = "/var/tmp";

/** A directory for mmdebstrap's own, which its subordinate ids have to reach: not below a directory of the user's. */
async function reachableScratch(context: OpenContext): Promise<string> {
  const { settings } = context;
  const TEMP_PATH = (await openToAll(settings.TEMP_PATH)) ? settings.TEMP_PATH : FOR_ALL;
  const scratch = await temporaryPath({ ...context, settings: { ...settings, TEMP_PATH } });
  try {
    await mkdir(scratch, { mode: 0o700 });
    // Whatever the umask says.
    await chmod(scratch, 0o711);
  } catch (error) {
    throw fileFailure(error, "making a temporary directory", scratch);
  }
  return scratch;
}

/** Whether each directory on the way lets everybody through. */
async function openToAll(path: string): Promise<boolean> {
  for (let at = resolve(path); at !== "/"; at = dirname(at)) {
    const found = await stat(at).catch(() => undefined);
    if (found === undefined || (found.mode & 0o001) === 0) return false;
  }
  return true;
}

/** Variables of apt's proxies, and what makes the same bytes again. */
function passedOn(env: Environment, scratch: string): Record<string, string> {
  const passed: Record<string, string> = { TMPDIR: scratch };
  for (const [name, value] of Object.entries(env)) {
    if (value !== undefined && /^(?:(?:https?|ftp|no)_proxy|APT_CONFIG|SOURCE_DATE_EPOCH)$/i.test(name)) {
      passed[name] = value;
    }
  }
  return passed;
}

function requireIds(uid: number): void {
  const { uids, gids, newuidmap, user } = readSubordinateIds(uid);
  if (newuidmap === undefined) requireProgram("newuidmap", "uidmap");
  if (uids.length > 0 && gids.length > 0) return;
  throw new Failure("E_SUBUID", "making a Debian as an ordinary user needs subordinate ids, which this user has not", {
    where: "/etc/subuid",
    mend: `let the administrator give some: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ${escapeText(user)}`,
  });
}

function wordsFor(reference: DebootstrapReference, mirrors: readonly string[], platform: Platform): string[] {
  const { suite, variant, include, components } = reference;
  const { architecture, variant: level } = platform;
  const wanted = level === undefined ? architecture : `${architecture}/${level}`;
  const other = formatPlatform(platform) !== formatPlatform(hostPlatform());
  const debian = ARCHITECTURES[wanted] ?? ARCHITECTURES[architecture] ?? architecture;
  return [
    ...["--mode=unshare", "--format=tar"],
    ...(variant === undefined ? [] : [`--variant=${variant}`]),
    ...(include.length === 0 ? [] : [`--include=${include.join(",")}`]),
    ...(components.length === 0 ? [] : [`--components=${components.join(",")}`]),
    ...(other ? [`--architectures=${debian}`] : []),
    // dpkg in there does not see the files of `file:`, which apt copies for it under another name.
    ...["--", suite, "-", ...mirrors.map((mirror) => mirror.replace(/(^|\s)file:/, "$1copy:"))],
  ];
}
