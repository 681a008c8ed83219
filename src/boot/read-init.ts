/**
 * The front end of init.yml: strict, since nobody may be there to see what a misread file does. Unknown keys, wrong
 * types, overlapping maps are failures with line and column. executor/guest/init-file.c reads the same in guests, where
 * no JavaScript runs; tests hold both against each other.
 */
import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseAllDocuments,
  type Scalar,
  type YAMLMap,
} from "yaml";
import { Failure } from "../base/errors.ts";
import { type GuestCommand, type GuestIntent, type GuestRange, SETUP_MODES, type SetupMode } from "./guest-intent.ts";
import { from, type Value } from "./intent.ts";
import { splitWords, UnclosedQuote } from "./shell-words.ts";

/** The largest id there is: 2^32 - 1 means "none". */
const MOST = 4294967294;
/** Lines of a map that the kernel takes: user_namespaces(7). */
const MOST_RANGES = 340;
const OURSELVES = "rootling";

/** What a front end says on its command line: words for the command, in place of it or behind it. */
export interface InitWords {
  readonly words: readonly string[];
  /** `words` replace the configured command. */
  readonly override: boolean;
}

/** Reads the text of init.yml, called `name` in origins. Throws E_INIT. */
export function readInit(text: string, name: string, asked: InitWords = { words: [], override: false }): GuestIntent {
  const file = new InitFile(text, name);
  return withWords(file.read(), asked);
}

function withWords(intent: GuestIntent, { words, override }: InitWords): GuestIntent {
  if (words.length === 0) return intent;
  const { command } = intent;
  if (override) return { ...intent, command: { words, origin: "--override-exec" } };
  return { ...intent, command: { ...command, words: [...command.words, ...words] } };
}

/** A node of the file. An absent one has none. */
type At = Node | undefined;

class InitFile {
  readonly #text: string;
  readonly #name: string;
  readonly #lines = new LineCounter();
  /** What aliases stand for. */
  #resolve: (node: Node) => Node = (node) => node;

  constructor(text: string, name: string) {
    this.#text = text;
    this.#name = name;
  }

  /** In the order of executor/guest/init-file.c, so that of several things that are wrong both say the same. */
  read(): GuestIntent {
    const known = ["root", "id_map", "initctl", "devices", "setup", "exec", "on_error"];
    const top = this.#keys(this.#parse(), known, "the file");
    const root = this.#root(top.root);
    const idMap = this.#idMap(top.id_map);
    const initctl = this.#flag(top.initctl, "initctl");
    const devices = this.#keys(top.devices, ["exclude", "rexclude"], "devices");
    return {
      ...root,
      ...(idMap === undefined ? {} : { idMap }),
      initctl,
      exclude: this.#texts(devices.exclude, "devices.exclude"),
      rexclude: this.#texts(devices.rexclude, "devices.rexclude"),
      ...this.#setup(top.setup),
      ...this.#exec(top.exec),
      onError: this.#choice(top.on_error, ["exit", "shell"] as const, "exit", "on_error"),
    };
  }

  #root(node: At): Pick<GuestIntent, "root" | "rootMode"> {
    const { path, mode } = this.#short(node, "path", ["path", "mode"], "root");
    return {
      root: this.#path(path),
      rootMode: this.#choice(mode, ["pivot", "chroot", "none"] as const, "pivot", "root.mode"),
    };
  }

  #setup(node: At): Pick<GuestIntent, "setup" | "setupBefore"> {
    const { mode, before } = this.#short(node, "mode", ["mode", "before"], "setup");
    return { setup: this.#setupMode(mode), setupBefore: this.#commands(before, "setup.before") };
  }

  #exec(node: At): Pick<GuestIntent, "execBefore" | "command"> {
    const { before, command } = this.#short(node, "command", ["before", "command"], "exec");
    return {
      execBefore: this.#commands(before, "exec.before"),
      command: this.#absent(command)
        ? { words: ["/sbin/init"], origin: OURSELVES }
        : this.#command(command as Node, "exec.command"),
    };
  }

  #parse(): At {
    // All scalars are texts: what each means is said below, in one place, not by rules for what looks like a number.
    const documents = parseAllDocuments(this.#text, {
      schema: "failsafe",
      lineCounter: this.#lines,
      uniqueKeys: false,
      merge: false,
      prettyErrors: false,
    });
    if (!Array.isArray(documents)) return undefined;
    const [document, second] = documents;
    for (const each of documents) {
      const [error] = each.errors;
      if (error !== undefined) throw this.#failureAt(error.pos[0], `not valid YAML: ${error.message}`);
    }
    if (second !== undefined) {
      throw this.#failureAt((second.contents ?? second).range?.[0] ?? 0, "more than one document");
    }
    this.#resolve = (node) => {
      if (!isAlias(node)) return node;
      const target = document?.contents === null ? undefined : node.resolve(document as never);
      if (target === undefined)
        throw this.#failureAt(node.range?.[0] ?? 0, `not valid YAML: nothing is called ${node.source}`);
      return target;
    };
    const contents = document?.contents as Node | null | undefined;
    return contents ?? undefined;
  }

  #failureAt(offset: number, what: string): Failure {
    const { line, col } = this.#lines.linePos(offset);
    return new Failure("E_INIT", what, {
      where: `${this.#name}:${Math.max(line, 1)}:${Math.max(col, 1)}`,
      mend: "see `rootling init --help` for what init.yml may hold",
    });
  }

  /** Where a node begins, its anchor included; of an alias, what it stands for. */
  #start(node: Node): number {
    const target = this.#resolve(node);
    const at = target.range?.[0] ?? 0;
    const anchor = "anchor" in target && target.anchor ? this.#text.lastIndexOf(`&${target.anchor}`, at) : -1;
    return anchor < 0 ? at : anchor;
  }

  #failure(node: Node, what: string): Failure {
    return this.#failureAt(this.#start(node), what);
  }

  #origin(node: Node): string {
    return `${this.#name}:${this.#lines.linePos(this.#start(node)).line}`;
  }

  /** Nothing there, or a plain `null`, `~` or nothing behind the colon. */
  #absent(node: At): boolean {
    if (node === undefined) return true;
    const plain = this.#resolve(node);
    return isScalar(plain) && plain.type === "PLAIN" && /^(|~|null|Null|NULL)$/.test(String(plain.value));
  }

  #isPlain(node: Node, pattern: RegExp): boolean {
    const scalar = this.#resolve(node);
    return isScalar(scalar) && scalar.type === "PLAIN" && pattern.test(String(scalar.value));
  }

  #scalar(node: Node, what: string): string {
    const scalar = this.#resolve(node);
    if (!isScalar(scalar) || this.#absent(node)) throw this.#failure(node, `${what} has to be a text`);
    const text = String((scalar as Scalar).value);
    if (text.includes("\0")) throw this.#failure(node, `${what} has a NUL character`);
    return text;
  }

  /** The values of a mapping by their keys, of which there are no others and each but once. */
  #keys(node: At, known: readonly string[], what: string): Record<string, At> {
    if (this.#absent(node)) return {};
    const map = this.#resolve(node as Node);
    if (!isMap(map)) throw this.#failure(node as Node, `${what} has to be a mapping`);
    const found: Record<string, At> = {};
    for (const { key, value } of (map as YAMLMap<Node, Node | null>).items) {
      const name = this.#scalar(key, "a key");
      if (!known.includes(name))
        throw this.#failure(key, `unknown key ${JSON.stringify(name)}: ${what} has ${known.join(", ")}`);
      if (Object.hasOwn(found, name)) throw this.#failure(key, `the key ${JSON.stringify(name)} comes twice`);
      found[name] = value ?? undefined;
    }
    return found;
  }

  /** The same of a mapping that may be given as the value of its main key alone. */
  #short(node: At, main: string, known: readonly string[], what: string): Record<string, At> {
    if (this.#absent(node) || isMap(this.#resolve(node as Node))) return this.#keys(node, known, what);
    return { [main]: node };
  }

  #path(node: At): Value<string> {
    if (this.#absent(node)) return from("/mnt/root", OURSELVES);
    const path = this.#scalar(node as Node, "root.path");
    if (!path.startsWith("/")) throw this.#failure(node as Node, "root.path has to begin with a slash");
    return from(path, this.#origin(node as Node));
  }

  #choice<T extends string>(node: At, known: readonly T[], fallback: T, what: string): Value<T> {
    if (this.#absent(node)) return from(fallback, OURSELVES);
    const text = this.#scalar(node as Node, what);
    const value = known.find((each) => each === text);
    if (value === undefined) throw this.#failure(node as Node, `${what} is one of ${known.join(", ")}`);
    return from(value, this.#origin(node as Node));
  }

  /** `guess` is the older word for `auto`. */
  #setupMode(node: At): Value<SetupMode> {
    if (!this.#absent(node) && this.#isPlain(node as Node, /^guess$/)) return from("auto", this.#origin(node as Node));
    return this.#choice(node, SETUP_MODES, "auto", "setup.mode");
  }

  #flag(node: At, what: string): Value<boolean> {
    if (this.#absent(node)) return from(false, OURSELVES);
    if (this.#isPlain(node as Node, /^(true|True|TRUE)$/)) return from(true, this.#origin(node as Node));
    if (this.#isPlain(node as Node, /^(false|False|FALSE)$/)) return from(false, this.#origin(node as Node));
    throw this.#failure(node as Node, `${what} is true or false`);
  }

  /** A list, or one thing in place of a list of one. */
  #items(node: At): readonly Node[] {
    if (this.#absent(node)) return [];
    const list = this.#resolve(node as Node);
    return isSeq(list) ? (list.items as Node[]) : [node as Node];
  }

  #texts(node: At, what: string): Value<readonly string[]> {
    if (this.#absent(node)) return from([], OURSELVES);
    return from(
      this.#items(node).map((item) => this.#scalar(item, `an entry of ${what}`)),
      this.#origin(node as Node),
    );
  }

  #commands(node: At, what: string): readonly GuestCommand[] {
    if (this.#absent(node)) return [];
    const list = this.#resolve(node as Node);
    if (!isSeq(list)) return [this.#command(node as Node, what)];
    return (list.items as Node[]).map((item) => this.#command(item, `an entry of ${what}`));
  }

  /** A text that is split into words, a list of words, or `{command, input}`. */
  #command(node: Node, what: string): GuestCommand {
    const inner = this.#resolve(node);
    if (!isMap(inner)) return { words: this.#words(node, what), origin: this.#origin(node) };
    const { command, input } = this.#keys(node, ["command", "input"], what);
    if (command === undefined || this.#absent(command)) throw this.#failure(node, `${what} has no command`);
    const words = this.#words(command, `the command of ${what}`);
    if (input === undefined || this.#absent(input)) return { words, origin: this.#origin(node) };
    return { words, input: this.#scalar(input, `the input of ${what}`), origin: this.#origin(node) };
  }

  #words(node: Node, what: string): string[] {
    const inner = this.#resolve(node);
    const words = isSeq(inner)
      ? (inner.items as Node[]).map((item) => this.#scalar(item, `a word of ${what}`))
      : this.#split(node, what);
    if (words.length === 0 || words[0] === "") throw this.#failure(node, `${what} names no program`);
    return words;
  }

  #split(node: Node, what: string): string[] {
    const text = this.#scalar(node, what);
    try {
      return splitWords(text);
    } catch (error) {
      if (error instanceof UnclosedQuote) throw this.#failure(node, error.message);
      throw error;
    }
  }

  #idMap(node: At): GuestIntent["idMap"] {
    if (this.#absent(node) || this.#isPlain(node as Node, /^(false|False|FALSE)$/)) return undefined;
    const { users, groups } = this.#keys(node, ["users", "groups"], "id_map");
    return from(
      {
        users: this.#ranges(users, node as Node, "id_map.users"),
        groups: this.#ranges(groups, node as Node, "id_map.groups"),
      },
      this.#origin(node as Node),
    );
  }

  /** A text, a list of three or two numbers, a mapping; or a list of such. */
  #ranges(node: At, above: Node, what: string): readonly GuestRange[] {
    const ranges = this.#absent(node)
      ? []
      : this.#rangeNodes(node as Node).map((item) => ({ item, range: this.#range(item, what) }));
    if (ranges.length > MOST_RANGES) throw this.#failure(above, `${what} has more than ${MOST_RANGES} ranges`);
    for (const [at, { item, range }] of ranges.entries()) {
      for (const { range: other } of ranges.slice(0, at)) {
        const overlap = (a: number, b: number) => a < b + other.count && b < a + range.count;
        if (overlap(range.inside, other.inside)) throw this.#failure(item, `ranges of ${what} overlap inside`);
        if (overlap(range.outside, other.outside)) throw this.#failure(item, `ranges of ${what} overlap outside`);
      }
    }
    const found = ranges.map(({ range }) => range);
    if (found.some(({ inside }) => inside === 0)) return found;
    // A guest without root would not get far.
    if (found.some(({ outside }) => outside === 0)) {
      throw this.#failure(above, `${what} does not map 0, and gives away the 0 outside`);
    }
    return [{ inside: 0, outside: 0, count: 1 }, ...found];
  }

  /** A list of numbers is one range, not a list of ranges. */
  #rangeNodes(node: Node): readonly Node[] {
    const list = this.#resolve(node);
    if (!isSeq(list)) return [node];
    const items = list.items as Node[];
    const numbers = items.length > 0 && items.every((item) => this.#isPlain(item, /^[0-9]+$/));
    return numbers ? [node] : items;
  }

  #range(node: Node, what: string): GuestRange {
    const [inside, outside, count = 1] = this.#numbers(node, what);
    if (inside === undefined || outside === undefined)
      throw this.#failure(node, `a range of ${what} is INSIDE OUTSIDE [SIZE]`);
    if (count < 1) throw this.#failure(node, `a range of ${what} has no ids`);
    if (inside + count - 1 > MOST || outside + count - 1 > MOST)
      throw this.#failure(node, `a range of ${what} ends beyond ${MOST}`);
    return { inside, outside, count };
  }

  #numbers(node: Node, what: string): readonly (number | undefined)[] {
    const inner = this.#resolve(node);
    if (isMap(inner)) {
      const { internal, external, size } = this.#keys(node, ["internal", "external", "size"], `a range of ${what}`);
      return [internal, external, size].map((each) =>
        each === undefined || this.#absent(each) ? undefined : this.#number(each, this.#scalar(each, "an id"), what),
      );
    }
    const texts = isSeq(inner)
      ? (inner.items as Node[]).map((item) => this.#scalar(item, `a number of ${what}`))
      : this.#scalar(node, `a range of ${what}`)
          .split(/[ \t\n\r]+/)
          .filter((text) => text !== "");
    if (texts.length > 3) throw this.#failure(node, `a range of ${what} is INSIDE OUTSIDE [SIZE]`);
    return texts.map((text) => this.#number(node, text, what));
  }

  #number(node: Node, text: string, what: string): number {
    if (/^[0-9]{1,10}$/.test(text) && Number(text) <= MOST) return Number(text);
    throw this.#failure(node, `a number of ${what} is not one from 0 to ${MOST}`);
  }
}
