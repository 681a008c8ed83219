/** The rules of the house, as functions over a directory, so that they can be tried on a planted violation. */
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";

export type Rule = (root: string) => string[];

const MAXIMAL_LINES = 500;

/** What each room may import, itself aside. */
const rooms: Readonly<Record<string, readonly string[]>> = {
  base: [],
  plan: ["base"],
  boot: ["plan", "base"],
  image: ["plan", "base"],
  store: ["plan", "base"],
  web: ["base"],
  commands: ["boot", "image", "store", "web", "plan", "base"],
  compat: ["commands", "boot", "image", "store", "plan", "base"],
};

const sources = (root: string): { file: string; text: string }[] =>
  globSync("src/**/*.ts", { cwd: root })
    .sort()
    .map((file) => ({ file, text: readFileSync(join(root, file), "utf8") }));

/** The module names that a source imports: statically, dynamically, or for its types. */
const importsOf = (text: string): string[] =>
  [...text.matchAll(/(?:\bfrom\s*|\bimport\s*\(\s*|\bimport\s+|\bgetBuiltinModule\(\s*)["']([^"']+)["']/g)].map(
    (match) => match[1] ?? "",
  );

/** The room of a file of src: its top directory; `main` for the files beside main.ts. */
const roomOf = (file: string): string => {
  const parts = file.split("/");
  return parts.length > 2 ? (parts[1] ?? "") : "main";
};

const importsPointDown: Rule = (root) =>
  sources(root).flatMap(({ file, text }) => {
    const room = roomOf(file);
    if (room === "main") return [];
    const allowed = rooms[room];
    if (allowed === undefined) return [`${file}: the room ${room} has no place in the house`];
    return importsOf(text)
      .filter((name) => name.startsWith("."))
      .map((name) => join(file, "..", name))
      .filter((target) => {
        const other = roomOf(target);
        return other !== room && !allowed.includes(other);
      })
      .map((target) => `${file} imports ${target}: imports point down only`);
  });

const importsHaveEndings: Rule = (root) =>
  sources(root).flatMap(({ file, text }) =>
    importsOf(text)
      .filter((name) => name.startsWith(".") && !/\.(ts|json)$/.test(name))
      .map((name) => `${file} imports ${name} without its ending`),
  );

const onlyOneStartsPrograms: Rule = (root) =>
  sources(root)
    .filter(({ file }) => file !== "src/base/process.ts")
    .filter(({ text }) => importsOf(text).some((name) => /^(node:)?child_process$/.test(name)))
    .map(({ file }) => `${file} imports child_process: only src/base/process.ts may`);

const onlyMainExits: Rule = (root) =>
  sources(root)
    .filter(({ file, text }) => file !== "src/main.ts" && /\bprocess\s*\.\s*(exit|reallyExit|abort)\b\s*\(/.test(text))
    .map(({ file }) => `${file} ends the process: only src/main.ts may`);

const lockFileHasNoAddresses: Rule = (root) =>
  readFileSync(join(root, "package-lock.json"), "utf8")
    .split("\n")
    .flatMap((line, index) =>
      /"resolved"/.test(line) ? [`package-lock.json:${index + 1} holds a download address`] : [],
    );

const filesAreShort: Rule = (root) =>
  globSync(["src/**/*.ts", "{executor,helpers}/**/*.{c,h,def}"], { cwd: root }).flatMap((file) => {
    const lines = readFileSync(join(root, file), "utf8").split("\n").length - 1;
    return lines > MAXIMAL_LINES ? [`${file} has ${lines} lines: ${MAXIMAL_LINES} at most`] : [];
  });

const nothingIsLeftOver: Rule = (root) => {
  // Put together here, so that this file does not hold the words itself.
  const words = new RegExp(`\\b(${["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"].join("|")})\\b`);
  return globSync(
    [
      "src/**/*.ts",
      "test/**/*.{ts,py}",
      "scripts/**/*.{sh,mjs,ts}",
      "{executor,helpers}/**/*.{c,h,def}",
      "bin/*",
      "docs/**/*.md",
      "*.md",
    ],
    { cwd: root, exclude: ["**/node_modules/**"] },
  ).flatMap((file) =>
    readFileSync(join(root, file), "utf8")
      .split("\n")
      .flatMap((line, index) => (words.test(line) ? [`${file}:${index + 1} holds a marker of unfinished work`] : [])),
  );
};

export const houseRules: Readonly<Record<string, Rule>> = {
  "imports point down": importsPointDown,
  "imports have their endings": importsHaveEndings,
  "only base/process.ts starts programs": onlyOneStartsPrograms,
  "only main.ts ends the process": onlyMainExits,
  "the lock file holds no download addresses": lockFileHasNoAddresses,
  "files are short": filesAreShort,
  "nothing is left over": nothingIsLeftOver,
};
