/** What is made from the tables: pages, man pages, completions. All are up to date, and their readers take them. */
import assert from "node:assert/strict";
import { globSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { before, describe, type TestContext, test } from "node:test";
import { choices } from "../scripts/reference/completion.ts";
import { generatedDirectories, generatedFiles } from "../scripts/reference/files.ts";
import { checkout, packageDirectory } from "./support/cli.ts";
import { command, must } from "./support/command.ts";
import { tempDirectory } from "./support/temp.ts";

const read = (path: string) => readFileSync(join(checkout, path), "utf8");

test("the reference, man pages and completions are what the tables make: npm run docs", async () => {
  const files = await generatedFiles();
  for (const [path, text] of files) assert.equal(read(path), text, path);
  const there = generatedDirectories.flatMap((directory) =>
    globSync(`${directory}/**`, { cwd: checkout, withFileTypes: true }).filter((entry) => entry.isFile()),
  );
  assert.deepEqual(
    there.map(({ parentPath, name }) => relative(checkout, join(parentPath, name))).filter((path) => !files.has(path)),
    [],
    "nothing is left of what is made no more",
  );
});

test("groff has nothing to say about the man pages, and shows what they say", async () => {
  const paths = globSync("share/**/man1/*.1", { cwd: checkout });
  assert.ok(paths.length > 20, "there are some");
  const outcome = await command(["groff", "-man", "-ww", "-Tutf8", ...paths.map((path) => join(checkout, path))]);
  assert.equal(outcome.stderr, "");
  const start = await must(["man", "-l", join(checkout, "share/man/man1/rootling-start.1")], {
    env: { ...process.env, MANWIDTH: "100", LC_ALL: "C.UTF-8" },
  });
  assert.match(start, /^NAME\n\s+rootling-start - start a container$/m);
  assert.match(start, /^\s+-e, --env variable$/m);
  assert.match(start, /^\s+rootling start --pid --mount \/srv\/data:\/data web sh -c 'ls \/data'$/m);
});

test("the list at the end of a description is what a word may be", () => {
  assert.deepEqual(choices("where it lies: tmpfs or disk"), ["tmpfs", "disk"]);
  assert.deepEqual(choices("get, or release"), ["get", "release"]);
  assert.deepEqual(choices("a file"), []);
  assert.deepEqual(choices("share of processor time: 1 to 10000, others have 100"), []);
});

/** Stand-ins that list names, one of them hostile, and show the words that they get. */
const standIn = (containers: string): string => `#!/bin/sh
case $*- in
  list-) printf '${containers}' ;;
  images-) printf 'NAME  DIGEST\\ndebian:12  sha256:0\\ndebian:13  sha256:1\\n' ;;
  *) printf '<%s>' "$@"; echo ;;
esac
`;
const standIns = {
  rootling: standIn("NAME  STATE\\nweb  exited\\nwork  created\\n$(touch\\tbad)  x\\n"),
  enroot: standIn("web\\nwork\\n$(touch\\tbad)\\n"),
};

describe("in a shell on a terminal", () => {
  let path: string;
  let directory: string;
  const shell = async (words: readonly string[], begin: string, typed: readonly string[], t: TestContext) => {
    directory = tempDirectory(t);
    const bin = join(directory, "bin");
    mkdirSync(bin);
    for (const [name, text] of Object.entries(standIns)) writeFileSync(join(bin, name), text, { mode: 0o755 });
    path = `${bin}:${process.env.PATH}`;
    const { stdout } = await command(["script", "--quiet", "--flush", "--command", words.join(" "), "/dev/null"], {
      input: `${begin}\n${typed.map((line) => `${line}\n`).join("")}exit\n`,
      cwd: directory,
      env: { PATH: path, HOME: directory, TERM: "dumb", LC_ALL: "C.UTF-8" },
    });
    return stdout;
  };

  const common = [
    ["rootling imag\t --json", "<images><--json>"],
    ["rootling start --mount a:b --detac\t web", "<start><--mount><a:b><--detach><web>"],
    ["rootling wait we\two\t", "<wait><web><work>"],
    ["rootling help impo\ter", "<help><importer>"],
    ["rootling completion fi\t", "<completion><fish>"],
    ["rootling exec web cat fil\t", "<exec><web><cat><file-of-here>"],
    ["enroot start --roo\t we\t", "<start><--root><web>"],
  ] as const;

  const shells = {
    bash: {
      words: ["bash", "--norc", "--noprofile", "-i"],
      begin: (files: readonly string[]) => `PS1=; touch file-of-here; ${files.map((file) => `. ${file}`).join("; ")}`,
      files: ["bash-completion/completions/rootling", "compat/bash-completion/completions/enroot"],
      more: [
        ["rootling start --prog\tpl\t web", "<start><--progress><plain><web>"],
        ["rootling start --pid=pri\t web", "<start><--pid=private><web>"],
        ["rootling run debian:13\t", "<run><debian:13>"],
        ["rootling run debian:1\t3", "<run><debian:13>"],
      ],
    },
    zsh: {
      words: ["zsh", "-f", "-i"],
      begin: (files: readonly string[]) =>
        `PS1=; touch file-of-here; autoload -U compinit; compinit -D -u; ${files.map((file) => `. ${file}`).join("; ")}`,
      files: ["zsh/site-functions/_rootling", "compat/zsh/site-functions/_enroot"],
      more: [["rootling start --prog\tpl\t web", "<start><--progress=plain><web>"]],
    },
  } as const;

  for (const [name, { words, begin, files, more }] of Object.entries(shells)) {
    test(name, async (t) => {
      const sources = files.map((file) => join(packageDirectory(), "share", file));
      const cases = [...common, ...more];
      const shown = await shell(
        words,
        begin(sources),
        cases.map(([typed]) => typed),
        t,
      );
      for (const [typed, said] of cases) {
        assert.ok(shown.includes(said), `${JSON.stringify(typed)} is not ${said} in\n${shown}`);
      }
      assert.deepEqual(globSync("*bad*", { cwd: directory }), [], "what is listed is data");
    });
  }

  test("fish", async (t) => {
    const directory = tempDirectory(t);
    const file = join(packageDirectory(), "share/fish/vendor_completions.d/rootling.fish");
    writeFileSync(join(directory, "rootling"), standIns.rootling, { mode: 0o755 });
    const complete = (line: string) =>
      must(["fish", "--no-config", "-c", `source ${file}; complete -C '${line}'`], {
        cwd: directory,
        env: { HOME: directory, PATH: `${directory}:${process.env.PATH}` },
      });
    assert.match(await complete("rootling ima"), /^images\tlist stored images\n$/);
    assert.match(await complete("rootling start --progress pl"), /^plain\t/);
    assert.match(await complete("rootling wait we"), /^web\n/);
  });
});

describe("rootling completion", () => {
  let program: string;
  before(() => (program = join(packageDirectory(), "bin/rootling")));

  test("prints what the package holds", async () => {
    for (const [words, path] of [
      [["bash"], "share/bash-completion/completions/rootling"],
      [["zsh", "enroot"], "share/compat/zsh/site-functions/_enroot"],
      [["fish"], "share/fish/vendor_completions.d/rootling.fish"],
    ] as const) {
      assert.equal(await must([program, "completion", ...words]), read(path));
    }
  });

  test("refuses other shells and names", async () => {
    for (const words of [["tcsh"], ["bash", "docker"], ["bash", "../enroot"]]) {
      const { status, stderr } = await command([program, "completion", ...words]);
      assert.equal(status, 2);
      assert.match(stderr, /E_USAGE.*\n {2}from: completion\n {2}mend: use /);
    }
  });
});
