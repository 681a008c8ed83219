/**
 * From the declarations that tsc makes of each file to the one of the library: those that index.d.ts names, and those
 * that these name. So no type of Node's, and none that is not part of the library, reaches its users.
 * usage: types.mjs DIRECTORY     where index.d.ts is the beginning; what comes of it goes to standard output
 */
import { readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";

/** A declaration at the top of a file, with its comment. */
const NAME = /^(?:export )?(?:declare )?(?:abstract )?(?:const|class|function|interface|type|enum) ([A-Za-z_$][\w$]*)/m;
const IMPORT = /^(?:import|export)(?: type)? \{([^}]*)\} from "(.*)";$/gm;

const files = new Map();

/** What a file declares and imports: texts and places by name. */
function read(path) {
  const known = files.get(path);
  if (known !== undefined) return known;
  const text = readFileSync(path, "utf8");
  const imports = new Map();
  const exported = [];
  for (const [statement, names, from] of text.matchAll(IMPORT)) {
    for (const name of names.split(",").map((part) => part.trim().replace(/^type /, ""))) {
      if (name === "") continue;
      if (/ as /.test(name)) throw new Error(`${path}: ${name} is renamed, which this does not follow`);
      imports.set(name, resolve(dirname(path), from.replace(/\.ts$/, ".d.ts")));
      if (statement.startsWith("export")) exported.push(name);
    }
  }
  const declared = new Map();
  for (const statement of statementsOf(text.replace(IMPORT, ""))) {
    const name = NAME.exec(statement.replace(/^\/\*\*[\s\S]*?\*\/\n/, ""))?.[1];
    if (name === undefined) continue;
    declared.set(name, [...(declared.get(name) ?? []), statement]);
    if (/^export /m.test(statement)) exported.push(name);
  }
  const file = { imports, declared, exported };
  files.set(path, file);
  return file;
}

/** tsc begins each statement at the first column and indents the rest of it. */
function statementsOf(text) {
  const statements = [];
  let comment = "";
  for (const part of text.split(/\n(?=\/\*\*|export |declare |interface |type |class )/)) {
    const piece = part.trimEnd();
    if (/^\/\*\*[\s\S]*\*\/$/.test(piece) && !/\*\/\n/.test(piece)) comment = `${piece}\n`;
    else {
      statements.push(`${comment}${piece}`);
      comment = "";
    }
  }
  return statements;
}

const [, , directory = ""] = process.argv;
const start = join(directory, "index.d.ts");
const taken = new Map();

/** The file where `name` is declared, seen from `path`. */
function placeOf(path, name) {
  const { declared, imports } = read(path);
  if (declared.has(name)) return path;
  return imports.has(name) ? placeOf(imports.get(name), name) : undefined;
}

function take(path, name) {
  const place = placeOf(path, name);
  if (place === undefined) return;
  if (taken.has(name)) {
    if (taken.get(name).place !== place)
      throw new Error(`${name} is declared by ${place} and ${taken.get(name).place}`);
    return;
  }
  const text = read(place).declared.get(name).join("\n");
  taken.set(name, { place, text });
  const code = text.replaceAll(/\/\*\*[\s\S]*?\*\//g, "");
  for (const [word] of code.matchAll(/[A-Za-z_$][\w$]*/g)) if (word !== name) take(place, word);
}

const { exported } = read(start);
for (const name of exported) take(start, name);
const texts = [...taken].map(([name, { text }]) =>
  exported.includes(name) ? text : text.replace(/^export (declare )?/m, (_, declare) => declare ?? ""),
);
process.stdout.write(`${texts.join("\n\n")}\n\nexport {};\n`);
