import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { houseRules } from "./support/house.ts";
import { tempDirectory } from "./support/temp.ts";

const checkout = join(import.meta.dirname, "..");

for (const [name, rule] of Object.entries(houseRules)) {
  test(`the house: ${name}`, () => assert.deepEqual(rule(checkout), []));
}

/** What each rule has to find: a file with a violation, and one that only looks like it. */
const planted: Readonly<Record<string, readonly (readonly [file: string, text: string])[]>> = {
  "imports point down": [
    ["src/base/a.ts", 'import { x } from "../plan/b.ts";'],
    ["src/plan/b.ts", 'export * from "../boot/c.ts";'],
    ["src/boot/c.ts", 'const x = await import("../image/d.ts");'],
    ["src/image/sources/d.ts", 'import type { X } from "../../store/e.ts";'],
    ["src/store/e.ts", 'import "../commands/f.ts";'],
    ["src/commands/f.ts", 'import { x } from "../main.ts";'],
    ["src/web/h.ts", 'import { x } from "../boot/c.ts";'],
    ["src/attic/g.ts", ""],
  ],
  "imports have their endings": [["src/base/a.ts", 'import { x } from "./b";']],
  "only base/process.ts starts programs": [
    ["src/image/a.ts", 'import { spawn } from "node:child_process";'],
    ["src/image/b.ts", 'const { spawn } = await import("child_process");'],
    ["src/image/c.ts", 'process.getBuiltinModule("node:child_process").spawn(file);'],
  ],
  "only main.ts ends the process": [["src/boot/a.ts", "if (bad) process.exit(3);"]],
  "the lock file holds no download addresses": [["package-lock.json", '{\n"resolved": "somewhere"\n}']],
  "files are short": [
    ["src/base/a.ts", "x;\n".repeat(501)],
    ["executor/a.c", "x;\n".repeat(501)],
  ],
  "nothing is left over": [["src/base/a.ts", `// ${"TO"}DO later`]],
};

const harmless: readonly (readonly [file: string, text: string])[] = [
  ["package-lock.json", "{}\n"],
  ["src/main.ts", 'import { a } from "./commands/a.ts";\nprocess.exit(a());\n'],
  ["src/commands/a.ts", 'import { b } from "../boot/b.ts";\nimport { c } from "./c.ts";\n'],
  ["src/boot/b.ts", 'import { run } from "../base/process.ts";\nimport { plan } from "../plan/plan.ts";\n'],
  ["src/base/process.ts", 'import { spawn } from "node:child_process";\n'],
  ["src/base/long.ts", "x;\n".repeat(500)],
];

const plant = (root: string, files: readonly (readonly [file: string, text: string])[]) => {
  for (const [file, text] of files) {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    writeFileSync(join(root, file), text);
  }
};

for (const [name, rule] of Object.entries(houseRules)) {
  test(`the rule finds what breaks it: ${name}`, (t) => {
    const root = tempDirectory(t);
    plant(root, harmless);
    assert.deepEqual(rule(root), []);
    const violations = planted[name] ?? [];
    assert.ok(violations.length > 0, "each rule has something planted");
    plant(root, violations);
    const found = rule(root);
    for (const [file] of violations) {
      assert.equal(found.filter((line) => line.startsWith(file)).length, 1, `${file} in ${found.join("\n")}`);
    }
    assert.equal(found.length, violations.length);
  });
}
