/**
 * From a profile to the program that the kernel runs before each system call (seccomp(2), classic BPF as in
 * linux/filter.h). Pure. Every path through the program is short: a binary search over the numbers, whose leaves end
 * it, so that there is nothing to jump back to.
 */
import { callNumbers, type FilterArchitecture, type NarrowArchitecture } from "./seccomp-numbers.ts";
import type { Profile, Rule, Test, Verdict } from "./seccomp-profile.ts";

/** struct sock_filter. */
interface Instruction {
  readonly code: number;
  readonly ifTrue: number;
  readonly ifFalse: number;
  readonly value: number;
}

/** BPF_LD|W|ABS, JMP|JA, JMP|JEQ|K, JMP|JGE|K, JMP|JSET|K, RET|K. */
const LOAD = 0x20;
const JUMP = 0x05;
const IF_EQUAL = 0x15;
const IF_AT_LEAST = 0x35;
const IF_ANY_BIT = 0x45;
const RETURN = 0x06;

/** Offsets in struct seccomp_data; arguments are 64 bits wide, the low half first on both architectures. */
const NUMBER = 0;
const ARCHITECTURE = 4;
const lowHalf = (argument: number): number => 16 + 8 * argument;

/** The furthest that a conditional jump reaches. */
const REACH = 255;

/** AUDIT_ARCH_* of linux/audit.h. */
const AUDIT: Readonly<Record<FilterArchitecture | NarrowArchitecture, number>> = {
  x64: 0xc000003e,
  arm64: 0xc00000b7,
  i386: 0x40000003,
  arm: 0x40000028,
};

const NARROW: Readonly<Record<FilterArchitecture, NarrowArchitecture>> = { x64: "i386", arm64: "arm" };

/** SECCOMP_RET_*; an errno is in the low half of SECCOMP_RET_ERRNO. */
const RESULTS: Readonly<Record<Verdict, number>> = {
  allow: 0x7fff0000,
  success: 0x00050000,
  kill: 0x80000000,
  EPERM: 0x00050001,
  ENOSYS: 0x00050026,
  EAFNOSUPPORT: 0x00050061,
};

const instruction = (code: number, value: number, ifTrue = 0, ifFalse = 0): Instruction => ({
  code,
  ifTrue,
  ifFalse,
  value,
});

const end = (verdict: Verdict): Instruction => instruction(RETURN, RESULTS[verdict]);

/** Goes on behind itself where the test is true, else `rest` instructions further. */
function compileTest(test: Test, rest: number): Instruction[] {
  const load = instruction(LOAD, lowHalf(test.argument));
  if ("anyBitOf" in test) return [load, instruction(IF_ANY_BIT, test.anyBitOf, 0, rest)];
  const last = test.oneOf.length - 1;
  return [
    load,
    ...test.oneOf.map((value, index) => instruction(IF_EQUAL, value, last - index, index === last ? rest : 0)),
  ];
}

/** From its end: how far a test that fails has to go is the length of what comes after it. */
function compileCase({ when, verdict }: Rule["cases"][number]): Instruction[] {
  const code = [end(verdict)];
  for (const test of when.toReversed()) code.unshift(...compileTest(test, code.length));
  return code;
}

const compileRule = (rule: Rule): Instruction[] => [...rule.cases.flatMap(compileCase), end(rule.otherwise)];

/** Numbers from `start` on, to the next segment's, have one rule. */
interface Segment {
  readonly start: number;
  readonly rule: Rule;
}

const sameRule = (a: Rule, b: Rule): boolean =>
  a === b || (a.cases.length === 0 && b.cases.length === 0 && a.otherwise === b.otherwise);

/** The rules by number, from 0 to infinity. Numbers of x32 are 2^30 and more: no rule names one. */
function segments(
  rules: readonly Rule[],
  otherwise: Verdict,
  architecture: FilterArchitecture | NarrowArchitecture,
): Segment[] {
  const byNumber = new Map<number, Rule>();
  const numbers = callNumbers(architecture);
  for (const rule of rules) {
    for (const name of rule.calls.split(" ")) {
      const number = numbers.get(name);
      if (number !== undefined) byNumber.set(number, rule);
    }
  }
  const unknown: Rule = { calls: "", cases: [], otherwise };
  const result: Segment[] = [];
  const beyond = Math.max(...byNumber.keys()) + 1;
  for (let start = 0; start <= beyond; start++) {
    const rule = byNumber.get(start) ?? unknown;
    const before = result.at(-1);
    if (before === undefined || !sameRule(before.rule, rule)) result.push({ start, rule });
  }
  return result;
}

/** A binary search; the accumulator holds the number. */
function search(parts: readonly Segment[]): Instruction[] {
  const middle = parts.length >> 1;
  const pivot = parts[middle];
  if (pivot === undefined) return [];
  if (middle === 0) return compileRule(pivot.rule);
  const below = search(parts.slice(0, middle));
  const above = search(parts.slice(middle));
  const jump =
    below.length <= REACH
      ? [instruction(IF_AT_LEAST, pivot.start, below.length, 0)]
      : [instruction(IF_AT_LEAST, pivot.start, 0, 1), instruction(JUMP, below.length)];
  return [...jump, ...below, ...above];
}

/** What becomes of calls that do not come by the processor's own table. */
function compileForeign({ narrow, unknown, foreign }: Profile, architecture: FilterArchitecture): Instruction[] {
  if (narrow === undefined) return [end(foreign)];
  const other = NARROW[architecture];
  const code = [instruction(LOAD, NUMBER), ...search(segments(narrow, unknown, other))];
  return [instruction(IF_EQUAL, AUDIT[other], 0, code.length), ...code, end(foreign)];
}

/** The program as the kernel reads it: eight bytes an instruction, little-endian. */
export function seccompProgram(profile: Profile, architecture: FilterArchitecture): Buffer {
  const foreign = compileForeign(profile, architecture);
  const program = [
    instruction(LOAD, ARCHITECTURE),
    instruction(IF_EQUAL, AUDIT[architecture], foreign.length, 0),
    ...foreign,
    instruction(LOAD, NUMBER),
    ...search(segments(profile.rules, profile.unknown, architecture)),
  ];
  const bytes = Buffer.alloc(8 * program.length);
  program.forEach(({ code, ifTrue, ifFalse, value }, index) => {
    bytes.writeUInt16LE(code, 8 * index);
    bytes.writeUInt8(ifTrue, 8 * index + 2);
    bytes.writeUInt8(ifFalse, 8 * index + 3);
    bytes.writeUInt32LE(value, 8 * index + 4);
  });
  return bytes;
}
