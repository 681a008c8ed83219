/** The generated filter does what the table says, for each number and argument, on both architectures. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { seccompProgram } from "../../src/boot/seccomp.ts";
import { callNumbers, type FilterArchitecture } from "../../src/boot/seccomp-numbers.ts";
import { COMPAT, PROFILES, type Rule, STRICT, type Test, type Verdict } from "../../src/boot/seccomp-profile.ts";
import { runFilter, verifyFilter } from "../support/bpf.ts";

const AUDIT = { x64: 0xc000003e, arm64: 0xc00000b7, i386: 0x40000003, arm: 0x40000028 };

/** What the kernel is told for a verdict (linux/seccomp.h, asm-generic/errno.h). */
const RESULTS: Readonly<Record<Verdict, number>> = {
  allow: 0x7fff0000,
  success: 0x50000,
  kill: 0x80000000,
  EPERM: 0x50000 | 1,
  ENOSYS: 0x50000 | 38,
  EAFNOSUPPORT: 0x50000 | 97,
};

const low = (value: bigint | undefined): number => Number(BigInt.asUintN(32, value ?? 0n));

const holds = (test: Test, args: readonly bigint[]): boolean => {
  const value = low(args[test.argument]);
  return "anyBitOf" in test ? (value & test.anyBitOf) !== 0 : test.oneOf.includes(value);
};

/** The table, read as a person does. */
function verdictOf(
  rules: readonly Rule[],
  unknown: Verdict,
  name: string | undefined,
  args: readonly bigint[],
): Verdict {
  const rule = rules.find(({ calls }) => name !== undefined && calls.split(" ").includes(name));
  if (rule === undefined) return unknown;
  return rule.cases.find(({ when }) => when.every((test) => holds(test, args)))?.verdict ?? rule.otherwise;
}

test("each call is named once, and exists", () => {
  const tables = [
    ...Object.values(PROFILES).map(({ rules }) => ({ rules, architectures: ["x64", "arm64"] as const })),
    { rules: COMPAT.narrow ?? [], architectures: ["i386", "arm"] as const },
  ];
  for (const { rules, architectures } of tables) {
    const names = rules.flatMap(({ calls }) => calls.split(" "));
    assert.deepEqual(
      names.filter((name, index) => names.indexOf(name) !== index),
      [],
    );
    const known = new Set(architectures.flatMap((architecture) => [...callNumbers(architecture).keys()]));
    assert.deepEqual(
      names.filter((name) => !known.has(name)),
      [],
    );
  }
});

for (const architecture of ["x64", "arm64"] satisfies FilterArchitecture[]) {
  const program = seccompProgram(STRICT, architecture);
  const names = new Map([...callNumbers(architecture)].map(([name, number]) => [number, name]));
  const result = (number: number, args: readonly bigint[] = []) =>
    runFilter(program, { architecture: AUDIT[architecture], number, args });

  test(`${architecture}: the kernel would take the program`, () => verifyFilter(program));

  test(`${architecture}: every number has the verdict of the table`, () => {
    for (let number = 0; number < 1024; number++) {
      const name = names.get(number);
      assert.equal(result(number), RESULTS[verdictOf(STRICT.rules, STRICT.unknown, name, [])], `${name ?? number}`);
    }
  });

  test(`${architecture}: so has every argument`, () => {
    const interesting = STRICT.rules.flatMap(({ cases }) =>
      cases.flatMap(({ when }) => when.flatMap((test) => ("oneOf" in test ? test.oneOf : [test.anyBitOf]))),
    );
    const argument = fc
      .tuple(
        fc.oneof(
          fc.constantFrom(...interesting),
          fc.nat(64),
          fc.integer({ min: 0, max: 31 }).map((bit) => (1 << bit) >>> 0),
        ),
        fc.bigInt(0n, 0xffffffffn),
        fc.boolean(),
      )
      .map(([value, high, wide]) => BigInt(value) + (wide ? high << 32n : 0n));
    const ruled = STRICT.rules
      .filter(({ cases }) => cases.length > 0)
      .flatMap(({ calls }) => calls.split(" "))
      .map((name) => callNumbers(architecture).get(name) ?? -1);
    fc.assert(
      fc.property(fc.constantFrom(...ruled), fc.array(argument, { minLength: 6, maxLength: 6 }), (number, args) => {
        assert.equal(
          result(number, args),
          RESULTS[verdictOf(STRICT.rules, STRICT.unknown, names.get(number), args)],
          `${names.get(number)} ${args}`,
        );
      }),
      { numRuns: 20_000 },
    );
  });

  test(`${architecture}: calls by the table of another architecture end the process; x32 does not exist`, () => {
    for (const other of [AUDIT.i386, AUDIT.arm, architecture === "x64" ? AUDIT.arm64 : AUDIT.x64, 0])
      for (const number of [0, 1, 20, 39, 102, 0x40000000])
        assert.equal(runFilter(program, { architecture: other, number }), RESULTS.kill);
    for (let number = 0; number < 600; number++)
      assert.equal(result((0x40000000 | number) >>> 0), RESULTS.ENOSYS, `x32 ${number}`);
    assert.equal(result(0xffffffff), RESULTS.ENOSYS);
  });

  test(`${architecture}: what matters most, in words`, () => {
    const number = (name: string) => callNumbers(architecture).get(name) ?? assert.fail(name);
    const { EPERM, ENOSYS, EAFNOSUPPORT, allow } = RESULTS;
    for (const name of ["mount", "keyctl", "bpf", "userfaultfd", "setns", "ptrace", "perf_event_open", "move_mount"])
      assert.equal(result(number(name)), EPERM, name);
    for (const name of ["clone3", "io_uring_setup", "io_uring_enter", "io_uring_register"])
      assert.equal(result(number(name)), ENOSYS, name);
    for (const high of [0n, 1n << 32n, 0xffffffffn << 32n]) {
      assert.equal(result(number("ioctl"), [0n, 0x5412n + high]), EPERM);
      assert.equal(result(number("ioctl"), [0n, 0x541cn + high]), EPERM);
      assert.equal(result(number("ioctl"), [0n, 0x5413n + high]), allow);
      assert.equal(result(number("socket"), [40n + high]), EAFNOSUPPORT);
    }
    assert.equal(result(number("clone"), [0x10000000n]), EPERM);
    assert.equal(result(number("clone"), [0x11n]), allow);
    // A thread, as libraries make them.
    assert.equal(result(number("clone"), [0x3d0f00n]), allow);
    assert.equal(result(number("unshare"), [0x80n]), EPERM);
    assert.equal(result(number("unshare"), [0x400n]), allow);
  });
}

/** What answers success whatever its arguments; to setfsuid and setfsgid, -1 is a question. */
const PRETENDED = new Set(
  "chown fchown lchown fchownat setuid setgid setreuid setregid setresuid setresgid setgroups setfsuid setfsgid".split(
    " ",
  ),
);

for (const [architecture, native] of [
  ["x64", "x64"],
  ["i386", "x64"],
  ["arm64", "arm64"],
  ["arm", "arm64"],
] as const) {
  test(`compat, ${architecture}: owners and ids seem to change, and everything else is as it was`, () => {
    const program = seccompProgram(COMPAT, native);
    verifyFilter(program);
    const names = new Map([...callNumbers(architecture)].map(([name, number]) => [number, name]));
    const result = (number: number, first: bigint) =>
      runFilter(program, { architecture: AUDIT[architecture], number, args: [first, 0n] });
    let pretended = 0;
    for (let number = 0; number < 1024; number++) {
      const name = names.get(number)?.replace(/32$/, "");
      const expected = name !== undefined && PRETENDED.has(name) ? RESULTS.success : RESULTS.allow;
      if (expected === RESULTS.success) pretended++;
      for (const id of [0n, 7n, 0xfffen]) assert.equal(result(number, id), expected, `${name ?? number} ${id}`);
      const asks = name?.startsWith("setfs") ? RESULTS.allow : expected;
      assert.equal(result(number, 0xffffffffn), asks, `${name ?? number} -1`);
    }
    assert.equal(pretended, { x64: 13, arm64: 11, i386: 25, arm: 25 }[architecture]);
    for (const number of [0x40000069, 0xffffffff]) assert.equal(result(number, 0n), RESULTS.allow);
    const other = native === "x64" ? AUDIT.arm : AUDIT.i386;
    assert.equal(runFilter(program, { architecture: other, number: 23 }), RESULTS.allow);
  });
}
