/** registries.d: where signatures of images are looked for (containers-registries.d(5)). */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import { pathToFileURL } from "node:url";
import { errnoOf, Failure } from "../../base/errors.ts";
import { escapeText } from "../../base/text.ts";
import type { Environment } from "./environment.ts";
import { isObject } from "./json.ts";
import { scopesOf } from "./policy-identity.ts";
import type { DockerReference } from "./reference.ts";

const LARGEST_FILE = 4 << 20;
const KEY = "use-sigstore-attachments";

/** Where signatures of an image are. */
export interface SignaturePlaces {
  /** Beside the image, in its registry: cosign's. */
  readonly attachments: boolean;
  /** The URL of a storage: GnuPG's. */
  readonly lookaside: string | undefined;
}

/**
 * Where the signatures of this image are. Where the files say nothing of attachments, they are looked for, other than by
 * skopeo and podman: a policy that asks for them can mean nothing else.
 */
export async function signaturePlaces(
  reference: DockerReference,
  env: Environment,
  uid: number,
): Promise<SignaturePlaces> {
  const sections = await readSections(env);
  // The narrowest section counts, with all that it does not say.
  const scope = scopesOf(reference).find((name) => sections.docker.has(name));
  const section = scope === undefined ? sections.fallback : sections.docker.get(scope);
  if (section === undefined) return { attachments: true, lookaside: usualPlace(env, uid) };
  // `sigstore` is the older name, of before there was a sigstore.
  const lookaside = section.lookaside ?? section.sigstore;
  return { attachments: section[KEY] !== false, lookaside: typeof lookaside === "string" ? lookaside : undefined };
}

function usualPlace(env: Environment, uid: number): string | undefined {
  if (uid === 0) return "file:///var/lib/containers/sigstore";
  const home = env.HOME && isAbsolute(env.HOME) ? env.HOME : undefined;
  return home && pathToFileURL(join(home, ".local/share/containers/sigstore")).href;
}

type Section = Readonly<Record<string, unknown>>;

async function readSections(env: Environment) {
  const sections = { fallback: undefined as Section | undefined, docker: new Map<string, Section>() };
  for (const path of files(env)) {
    const document = await readYaml(path);
    if (document === null || document === undefined) continue;
    if (!isObject(document)) throw invalid("not a mapping", path);
    if (document["default-docker"] !== undefined) {
      if (sections.fallback !== undefined) throw invalid("a second default-docker", path);
      sections.fallback = sectionOf(document["default-docker"], path);
    }
    for (const [scope, value] of Object.entries(isObject(document.docker) ? document.docker : {})) {
      if (sections.docker.has(scope)) throw invalid(`a second section ${escapeText(scope.slice(0, 200))}`, path);
      sections.docker.set(scope, sectionOf(value, path));
    }
  }
  return sections;
}

function sectionOf(value: unknown, path: string): Section {
  if (!isObject(value)) throw invalid("a section that is no mapping", path);
  if (value[KEY] !== undefined && typeof value[KEY] !== "boolean") throw invalid(`${KEY} is true or false`, path);
  return value;
}

/** The user's directory, else the machine's. */
function files(env: Environment): string[] {
  const own = env.HOME && isAbsolute(env.HOME) ? [join(env.HOME, ".config/containers/registries.d")] : [];
  const directory = [...own, "/etc/containers/registries.d"].find((path) => existsSync(path));
  if (directory === undefined) return [];
  try {
    const names = readdirSync(directory).filter((name) => name.endsWith(".yaml"));
    return names.sort().map((name) => join(directory, name));
  } catch (error) {
    throw invalid(errnoOf(error) ?? "it cannot be read", directory);
  }
}

/** The reader of YAML is loaded only if there is such a file. */
async function readYaml(path: string): Promise<unknown> {
  try {
    if (statSync(path).size > LARGEST_FILE) throw invalid("it is too long", path);
    const { parse } = await import("../../base/yaml.ts");
    return parse(readFileSync(path, "utf8"), { logLevel: "error" });
  } catch (error) {
    throw error instanceof Failure ? error : invalid(errnoOf(error) ?? "not valid YAML", path);
  }
}

const invalid = (what: string, where: string): Failure =>
  new Failure("E_SETTING", `a file of registries.d cannot be used: ${what}`, {
    where,
    mend: "see containers-registries.d(5)",
  });
