/** SOURCE texts of roots that are made when they are asked for: by mmdebstrap, or by virt-builder. */
import type { Failure } from "../../base/errors.ts";
import { escapeText } from "../../base/text.ts";

/** A Debian or a relative of it, from packages. */
export interface DebootstrapReference {
  readonly kind: "debootstrap";
  readonly suite: string;
  /** Which packages, in mmdebstrap's words; undefined for its default. */
  readonly variant: string | undefined;
  readonly include: readonly string[];
  /** URIs, or lines of sources.list; none for what this machine's apt uses. */
  readonly mirrors: readonly string[];
  /** Of mirrors that are URIs. */
  readonly components: readonly string[];
}

/** A template of virt-builder. */
export interface VirtBuilderReference {
  readonly kind: "virt-builder";
  readonly template: string;
}

type Fail = (why: string) => Failure;

/** Nothing that a program could take for an option, or apt for more than one word. */
const SUITE = /^[A-Za-z0-9][A-Za-z0-9.+_-]*$/;
/** Policy manual, 5.6.1, and what apt-get(8) takes behind a name: an architecture, a version, a release, + or -. */
const PACKAGE = /^[a-z0-9][a-z0-9+.-]*(?::[a-z0-9-]+)?(?:[=/][A-Za-z0-9.+:~-]+)?$/;
const COMPONENT = /^[a-z0-9][a-z0-9./-]*$/;
const VARIANT = /^(?:-|extract|custom|essential|apt|required|minbase|buildd|important|debootstrap|standard)$/;
const MIRROR = /^(?:[a-z][a-z0-9+.-]*:\/\/[^\s\p{Cc}]+|deb \P{Cc}+)$/u;

const KEYS = ["variant", "include", "mirror", "components"] as const;

/** `SUITE[?KEY=VALUE&…]`, where include, components and mirror may come several times. Throws what `fail` makes. */
export function parseDebootstrap(text: string, fail: Fail): DebootstrapReference {
  const [, suite = "", query = ""] = /^([^?]*)(?:\?(.*))?$/s.exec(text) ?? [];
  if (!SUITE.test(suite)) throw fail("not the name of a suite");
  const given = parseQuery(query, fail);
  const variants = given.get("variant") ?? [];
  if (variants.length > 1) throw fail("two variants");
  return {
    kind: "debootstrap",
    suite,
    variant: checked(variants, VARIANT, "a variant of mmdebstrap", fail)[0],
    include: checked(words(given.get("include")), PACKAGE, "a package", fail),
    mirrors: checked(given.get("mirror") ?? [], MIRROR, "a mirror: its URI, or a line of sources.list", fail),
    components: checked(words(given.get("components")), COMPONENT, "a component", fail),
  };
}

/** A query of a URI. A + stands for itself: names of packages have it. */
function parseQuery(query: string, fail: Fail): Map<string, string[]> {
  const given = new Map<string, string[]>();
  for (const part of query === "" ? [] : query.split("&")) {
    const [, key = "", value = ""] = /^([^=]*)=(.*)$/s.exec(part) ?? [];
    if (!(KEYS as readonly string[]).includes(key)) throw fail(`the part behind ? has only ${KEYS.join(", ")}`);
    try {
      given.set(key, [...(given.get(key) ?? []), decodeURIComponent(value)]);
    } catch {
      throw fail("a % that does not begin an escape");
    }
  }
  return given;
}

const words = (lists: readonly string[] = []): string[] => lists.flatMap((list) => list.split(","));

function checked(values: string[], pattern: RegExp, what: string, fail: Fail): string[] {
  const wrong = values.find((value) => !pattern.test(value));
  if (wrong !== undefined) throw fail(`not ${what} (${escapeText(wrong.slice(0, 100))})`);
  return values;
}

/** A template's name, as virt-builder's index has it (virt-builder(1)). Throws what `fail` makes. */
export function parseVirtBuilder(text: string, fail: Fail): VirtBuilderReference {
  if (/^[A-Za-z0-9][A-Za-z0-9._+-]*$/.test(text) && text.length <= 255) return { kind: "virt-builder", template: text };
  throw fail("not the name of a template");
}
