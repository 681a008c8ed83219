/** bin/rootling and the package: found through symlinks, run by a Node that fits, installed from its tarball. */
import assert from "node:assert/strict";
import {
  chmodSync,
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { command, must } from "./support/command.ts";
import { tempDirectory } from "./support/temp.ts";

const checkout = join(import.meta.dirname, "..");
const own = `node-linux-${process.arch}`;

/** A program that says a version as Node does and otherwise what it was asked to run. */
function fakeNode(file: string, version: string): string {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `#!/bin/sh\nif [ "$1" = --version ]; then echo ${version}; else echo "${version}" "$@"; fi\n`);
  chmodSync(file, 0o755);
  return file;
}

/** A package as it is after an installation, without a Node. */
function fakePackage(root: string): string {
  mkdirSync(join(root, "dist"), { recursive: true });
  writeFileSync(join(root, "dist/entry.cjs"), "");
  cpSync(join(checkout, "bin"), join(root, "bin"), { recursive: true });
  return join(root, "bin/rootling");
}

const start = (program: string, path: string, env: Record<string, string> = {}) =>
  command([program, "a word", "$x"], { env: { PATH: path, ...env } });

/** A directory with nothing but a `node` of this version. */
const pathWith = (t: TestContext, version: string): string =>
  dirname(fakeNode(join(tempDirectory(t), "node"), version));

for (const [version, fits] of [
  ["v20.20.2", false],
  ["v24.14.9", false],
  ["v24.15.0", true],
  ["v24.100.1", true],
  ["v25.9.0", false],
  ["v26.0.0", true],
  ["v30.1.0-nightly", true],
] as const) {
  test(`the Node on PATH ${fits ? "is taken" : "is refused"}: ${version}`, async (t) => {
    const program = fakePackage(tempDirectory(t));
    const outcome = await start(program, pathWith(t, version));
    if (fits) {
      assert.equal(outcome.stderr, "");
      assert.match(outcome.stdout, new RegExp(`^${version} .*/dist/entry.cjs a word \\$x\n$`));
      return;
    }
    assert.equal(outcome.status, 125);
    assert.equal(outcome.stdout, "");
    assert.match(outcome.stderr, new RegExp(`the one on PATH is ${version}`));
    assert.match(outcome.stderr, /mend: run 'npm install'.*\n.*install a newer Node.js, or set ROOTLING_NODE/);
  });
}

test("without any Node it says so", async (t) => {
  const outcome = await start(fakePackage(tempDirectory(t)), tempDirectory(t));
  assert.equal(outcome.status, 125);
  assert.match(outcome.stderr, /there is none on PATH/);
});

test("ROOTLING_NODE wins, and is refused where it names no program", async (t) => {
  const root = tempDirectory(t);
  const program = fakePackage(root);
  fakeNode(join(root, "node_modules", own, "bin/node"), "v26.0.0");
  const chosen = fakeNode(join(root, "chosen"), "v1.0.0");
  assert.match((await start(program, "/none", { ROOTLING_NODE: chosen })).stdout, /^v1\.0\.0 /);
  const refused = await start(program, "/none", { ROOTLING_NODE: join(root, "missing") });
  assert.equal(refused.status, 125);
  assert.match(refused.stderr, /ROOTLING_NODE names .*missing, which is no program\n {2}mend: /);
});

for (const [where, place] of [
  ["inside the package", "lib/node_modules/rootling/node_modules"],
  ["hoisted beside it", "lib/node_modules"],
] as const) {
  test(`the Node of the package ${own} is found ${where}, before an old one on PATH`, async (t) => {
    const root = tempDirectory(t);
    fakePackage(join(root, "lib/node_modules/rootling"));
    fakeNode(join(root, place, own, "bin/node"), "v26.1.0");
    mkdirSync(join(root, "bin"));
    symlinkSync("../lib/node_modules/rootling/bin/rootling", join(root, "bin/rootling"));
    mkdirSync(join(root, "lib/node_modules/.bin"));
    symlinkSync("../rootling/bin/rootling", join(root, "lib/node_modules/.bin/rootling"));
    // Both links of npm need no other program; any other link needs readlink.
    for (const link of ["bin/rootling", "lib/node_modules/.bin/rootling"]) {
      assert.match((await start(join(root, link), pathWith(t, "v20.20.2"))).stdout, /^v26\.1\.0 .*a word \$x\n$/, link);
    }
    symlinkSync(join(root, "bin/rootling"), join(root, "mine"));
    const linked = await command(["sh", "-c", 'cd "$1" && PATH="$1:$PATH" && ./mine a && mine b', "sh", root]);
    assert.match(linked.stdout, /^v26\.1\.0 .* a\nv26\.1\.0 .* b\n$/);
  });
}

test("in a checkout the sources run where they are newer than the bundle, or there is none", async (t) => {
  const root = tempDirectory(t);
  const program = fakePackage(root);
  const env = { ROOTLING_NODE: fakeNode(join(root, "node"), "v26.0.0") };
  const deep = join(root, "src/image/sources/docker.ts");
  mkdirSync(dirname(deep), { recursive: true });
  for (const file of [deep, join(root, "src/entry.ts")]) writeFileSync(file, "");
  const ran = async () => (await start(program, "/none", env)).stdout;
  const at = (file: string, seconds: number) => utimesSync(file, seconds, seconds);
  at(join(root, "src/entry.ts"), 1000);
  at(deep, 1000);
  at(join(root, "dist/entry.cjs"), 2000);
  assert.match(await ran(), /dist\/entry\.cjs/);
  at(deep, 3000);
  assert.match(await ran(), /src\/entry\.ts/);
  at(deep, 1000);
  await must(["rm", join(root, "dist/entry.cjs")]);
  assert.match(await ran(), /src\/entry\.ts/);
});

test("from the checkout it runs with nothing on PATH", async () => {
  const outcome = await command([join(checkout, "bin/rootling"), "version", "--json"], {
    env: { PATH: "/none", HOME: "/none" },
  });
  assert.equal(outcome.stderr, "");
  assert.equal(outcome.status, 0);
  const { version } = JSON.parse(readFileSync(join(checkout, "package.json"), "utf8"));
  assert.equal(JSON.parse(outcome.stdout).rootling, version);
});

test("it runs from its tarball, installed for all, with an old Node first on PATH", async (t) => {
  const directory = tempDirectory(t);
  const env = { ...process.env, npm_config_update_notifier: "false" } as Record<string, string>;
  const npm = (...words: string[]) => must(["npm", "--loglevel=error", ...words], { env, cwd: checkout });
  await npm("pack", "--pack-destination", directory);
  const { version } = JSON.parse(readFileSync(join(checkout, "package.json"), "utf8"));
  const tarball = join(directory, `rootling-${version}.tgz`);
  const names = (await must(["tar", "--list", "--file", tarball])).split("\n");
  const programs = ["executor", "disk"].map((name) => `package/dist/${name}-${process.arch}`);
  for (const name of ["package/bin/rootling", "package/dist/entry.cjs", ...programs]) {
    assert.ok(names.includes(name), name);
  }
  assert.deepEqual(
    names.filter((name) => /^package\/(src|test|scripts|\.ci)\//.test(name)),
    [],
  );
  const prefix = join(directory, "prefix");
  await npm("install", "--global", "--prefix", prefix, "--prefer-offline", "--no-audit", "--no-fund", tarball);
  assert.ok(existsSync(join(prefix, "lib/node_modules/rootling/node_modules", own)), "npm nests what it needs");
  const outcome = await command([join(prefix, "bin/rootling"), "version", "--json"], {
    env: { PATH: `${pathWith(t, "v20.20.2")}:/usr/bin:/bin`, HOME: directory },
  });
  assert.equal(outcome.stderr, "");
  assert.equal(JSON.parse(outcome.stdout).rootling, version);
  await useLibrary(join(prefix, "lib"), version);
});

/** A program in TypeScript, of somebody who has no types of Node's. */
const consumer = `import { bootstrap, Failure, type ProgressStatus, version } from "rootling";

export async function make(): Promise<string> {
  const work = bootstrap({ uri: "docker://ubuntu", dest: "/tmp/foo", format: "qcow2", uidMap: [[0, 1000, 10]] });
  for await (const progress of work) show(progress);
  const { digest } = await work;
  return \`\${digest} \${version}\`;
}
const show = ({ status, value }: ProgressStatus): [string, number] => [status, value];
// @ts-expect-error: no such format
bootstrap({ uri: "", dest: "", format: "zip" });
// @ts-expect-error: there is no such code
export const wrong = (failure: Failure): boolean => failure.code === "E_NONE";
`;

/** The library of an installed package: its types are whole, and both ways to load it give the same. */
async function useLibrary(directory: string, version: string): Promise<void> {
  writeFileSync(join(directory, "program.mts"), consumer);
  const options = ["--strict", "--noEmit", "--module", "nodenext", "--lib", "esnext,dom", "--types", ""];
  const tsc = join(checkout, "node_modules/typescript/bin/tsc");
  await must([process.execPath, tsc, ...options, "program.mts"], { cwd: directory });
  for (const [type, load] of [
    ["module", 'import * as library from "rootling";'],
    ["commonjs", 'const library = require("rootling");'],
  ] as const) {
    const shown = `${load} console.log(library.version, typeof library.importImage, "E_USAGE" in library.failureCodes);`;
    const said = await must([process.execPath, `--input-type=${type}`, "--eval", shown], { cwd: directory });
    assert.equal(said, `${version} function true\n`);
  }
}

test("each name of the library has a page, with all that it has: npm run docs:library", () => {
  const types = readFileSync(join(checkout, "dist/index.d.ts"), "utf8");
  const pages = globSync("docs/reference/library/*/*.md", { cwd: checkout });
  const declared = [
    ...types.matchAll(/^export (?:declare )?(?:const|class|function|interface|type) (\w+)([\s\S]*?)\n(?=\n|$)/gm),
  ];
  assert.ok(declared.length > 20);
  assert.deepEqual(pages.map((path) => basename(path, ".md")).sort(), declared.map(([, name]) => name).sort());
  for (const [, name, body = ""] of declared) {
    // Codes have a page that is made with each of them: error-codes.md.
    if (name === "failureCodes") continue;
    const page = readFileSync(join(checkout, pages.find((path) => basename(path, ".md") === name) ?? ""), "utf8");
    for (const [, member = ""] of body.matchAll(/^ {4}(?:readonly )?(\w+)\??:/gm)) {
      assert.ok(page.includes(member), `${member} of ${name}`);
    }
  }
});
