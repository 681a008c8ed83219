/** What this machine's apt has packages from: its sources of a suite, as mirrors of mmdebstrap (sources.list(5)). */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { Failure } from "../../base/errors.ts";
import type { OpenContext } from "./source.ts";

/** An entry: one URI and suite, in either form of file. */
export interface AptSource {
  readonly uri: string;
  readonly suite: string;
  readonly components: readonly string[];
  /** As they stand between brackets. */
  readonly options: readonly string[];
  /** The key stands in the file itself, which no line of sources.list can say. */
  readonly inlineKey?: string;
}

const DIRECTORY = "/etc/apt/sources.list.d";

/**
 * Mirrors for `suite`: the machine's sources of it, its updates and security among them. Where it has none, the
 * archive that it has its own suite from is asked; that has no updates. Throws E_NOT_FOUND where there is nothing.
 */
export function aptMirrors(suite: string, context: Pick<OpenContext, "warn">): string[] {
  const sources = readSources();
  const wanted = [suite, `${suite}-updates`, `${suite}-security`, `${suite}/updates`];
  if (sources.some((source) => source.suite === suite)) {
    const own = sources.filter((source) => wanted.includes(source.suite));
    return [...new Set(own.map((source) => source.inlineKey ?? lineOf(source)))];
  }
  const [base] = sources.filter(({ suite: own }) => own !== "./" && !/[-/](?:updates|security|backports)$/.test(own));
  if (base === undefined) {
    throw new Failure("E_NOT_FOUND", "this machine's apt has no sources of packages", {
      where: "/etc/apt",
      mend: "name a mirror: debootstrap:SUITE?mirror=URI",
    });
  }
  context.warn(`this machine's apt has no sources of ${suite}: ${base.uri} is asked for it, without its updates`);
  return [lineOf({ ...base, suite })];
}

/** The machine's entries for binary packages, in the order of apt. */
function readSources(): AptSource[] {
  const names = existsSync(DIRECTORY) ? readdirSync(DIRECTORY).sort() : [];
  const files = names.filter((name) => /\.(?:list|sources)$/.test(name)).map((name) => `${DIRECTORY}/${name}`);
  return ["/etc/apt/sources.list", ...files].flatMap((file) => {
    try {
      const text = readFileSync(file, "utf8");
      return file.endsWith(".sources") ? parseStanzas(text, file) : parseLines(text);
    } catch {
      // Not there, or not ours to read.
      return [];
    }
  });
}

/** Lines `deb [OPTIONS] URI SUITE COMPONENT…`. */
export function parseLines(text: string): AptSource[] {
  return text.split("\n").flatMap((line) => {
    const [, brackets = "", rest = ""] = /^\s*deb\s+(?:\[([^\]]*)\]\s*)?([^#]*)/.exec(line) ?? [];
    const [uri, suite, ...components] = rest.split(/\s+/).filter(Boolean);
    if (uri === undefined || suite === undefined) return [];
    return [{ uri, suite, components, options: brackets.split(/\s+/).filter(Boolean) }];
  });
}

/** Stanzas of deb822. A field goes on in lines that begin with a blank; # begins a line that says nothing. */
export function parseStanzas(text: string, file: string): AptSource[] {
  const lines = text.split("\n").filter((line) => !line.startsWith("#"));
  return lines
    .join("\n")
    .split(/\n\s*\n/)
    .flatMap((stanza) => {
      const fields = new Map<string, string>();
      for (const [, name = "", value = ""] of stanza.matchAll(/^([A-Za-z0-9-]+):((?:.*)(?:\n[ \t].*)*)/gm)) {
        fields.set(name.toLowerCase(), value.trim());
      }
      const list = (name: string) => (fields.get(name) ?? "").split(/\s+/).filter(Boolean);
      if (!list("types").includes("deb") || fields.get("enabled") === "no") return [];
      const signedBy = fields.get("signed-by") ?? "";
      const inline = /BEGIN PGP/.test(signedBy);
      const options = [
        ...(signedBy === "" || inline ? [] : [`signed-by=${signedBy.split(/\s+/).join(",")}`]),
        ...(fields.get("trusted") === "yes" ? ["trusted=yes"] : []),
      ];
      return list("uris").flatMap((uri) =>
        list("suites").map((suite) => ({
          ...{ uri, suite, components: list("components"), options },
          ...(inline ? { inlineKey: file } : {}),
        })),
      );
    });
}

/** As a line of sources.list. Which architectures the machine wants of it is no matter of another root. */
function lineOf({ uri, suite, components, options }: AptSource): string {
  const kept = options.filter((option) => !/^arch[+-]?=/.test(option));
  return ["deb", ...(kept.length === 0 ? [] : [`[${kept.join(" ")}]`]), uri, suite, ...components].join(" ");
}
