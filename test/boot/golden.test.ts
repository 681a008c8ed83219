/**
 * Golden plans: no kernel. Each case is an intent, the facts of a host, and the plan that must come of them. To
 * accept a change on purpose: ROOTLING_WRITE_GOLDEN=1 node --test test/boot/golden.test.ts, then read the diff.
 */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { Facts } from "../../src/boot/facts.ts";
import type { Intent } from "../../src/boot/intent.ts";
import { lower } from "../../src/boot/lower.ts";
import { type HostLook, readSubhost } from "../../src/boot/read-subhost.ts";
import { parseConf } from "../../src/boot/subhost-conf.ts";
import { subhostIntent } from "../../src/boot/subhost-intent.ts";
import { check } from "../../src/plan/check.ts";
import type { Plan } from "../../src/plan/plan.ts";

const CASES = join(import.meta.dirname, "cases");

const read = <T>(name: string, file: string): T => JSON.parse(readFileSync(join(CASES, name, file), "utf8")) as T;

/** A host on which every path is a directory of one file system. */
const anyHost: HostLook = {
  kind: () => "directory",
  real: (path) => path,
  mountOf: () => "1",
  hasInterface: () => true,
  names: () => ["ssh_host_rsa_key", "sshd_config"],
};

/** What a case asks for: an intent, or the configuration of a subhost. */
function inputOf(name: string): Intent {
  if (!existsSync(join(CASES, name, "input.conf"))) return read<Intent>(name, "input.json");
  const conf = parseConf(readFileSync(join(CASES, name, "input.conf"), "utf8"), "/opt/subhost/demo/demo.conf");
  const { subhost, mistakes } = readSubhost(conf, anyHost);
  assert.ok(subhost !== undefined && mistakes.length === 0, JSON.stringify(mistakes));
  return subhostIntent(subhost, ["CONFIG=/opt/subhost/demo/demo.conf"]);
}

const planOf = (name: string): Plan => check(lower(inputOf(name), read<Facts>(name, "facts.json")));

/** A plan a step a line, so that a difference is a line of a diff. */
const show = (plan: Plan): string =>
  `{\n  "version": 1,\n  "topology": "${plan.topology}",\n  "remarks": ${JSON.stringify(plan.remarks)},\n  "ops": [\n${plan.ops
    .map(({ verb, fields, origin }) => `    ${JSON.stringify({ verb, fields, origin })}`)
    .join(",\n")}\n  ]\n}\n`;

for (const name of readdirSync(CASES)) {
  test(`plan of ${name}`, () => {
    const file = join(CASES, name, "plan.json");
    const plan = planOf(name);
    if (process.env.ROOTLING_WRITE_GOLDEN === "1") writeFileSync(file, show(plan));
    assert.ok(existsSync(file), `${file} is missing`);
    assert.equal(show(plan), readFileSync(file, "utf8"));
  });
}

/**
 * The same container in the words of four systems. What may differ from enroot's plan, and why; everything else,
 * origins apart, must be the same.
 */
const SAME_CONTAINER: Readonly<Record<string, readonly { line: RegExp; why: string }[]>> = {
  "same-as-lcboot": [],
  "same-as-overlay-boot": [
    { line: /^mount tmpfs rootling \/run /, why: "overlay-boot gives a subhost a tmpfs on /run (RAM_SIZE)" },
  ],
  "same-as-oci": [
    { line: /^mount mqueue mqueue \/dev\/mqueue /, why: "runtimes of config.json mount a message queue file system" },
  ],
};

const lines = (name: string): string[] => planOf(name).ops.map(({ verb, fields }) => [verb, ...fields].join(" "));

for (const [name, allowed] of Object.entries(SAME_CONTAINER)) {
  test(`${name}: the same plan as that of enroot's words`, () => {
    const reference = lines("same-as-enroot");
    const others = lines(name);
    const differs = (line: string) => allowed.some((entry) => entry.line.test(line));
    assert.deepEqual(
      others.filter((line) => !differs(line)),
      reference,
    );
    for (const { line, why } of allowed)
      assert.ok(
        others.some((other) => line.test(other)),
        `no longer differs: ${why}`,
      );
  });
}
