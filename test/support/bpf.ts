/** Runs a seccomp filter as the kernel does, over one system call: enough of classic BPF for what seccomp takes. */

export interface Call {
  /** AUDIT_ARCH_* of linux/audit.h. */
  readonly architecture: number;
  readonly number: number;
  /** 64 bits each; up to six. */
  readonly args?: readonly bigint[];
}

/** struct seccomp_data. */
function dataOf({ architecture, number, args = [] }: Call): Buffer {
  const data = Buffer.alloc(64);
  data.writeUInt32LE(number >>> 0, 0);
  data.writeUInt32LE(architecture, 4);
  args.forEach((value, index) => data.writeBigUInt64LE(BigInt.asUintN(64, value), 16 + 8 * index));
  return data;
}

const decode = (program: Buffer, index: number) => ({
  code: program.readUInt16LE(8 * index),
  ifTrue: program.readUInt8(8 * index + 2),
  ifFalse: program.readUInt8(8 * index + 3),
  value: program.readUInt32LE(8 * index + 4),
});

/** Throws for a program that the kernel would refuse: unknown instructions, jumps out of it, an end without a result. */
export function verifyFilter(program: Buffer): void {
  const length = program.length / 8;
  if (!Number.isInteger(length) || length < 1 || length > 4096) throw new Error(`${program.length} bytes`);
  for (let index = 0; index < length; index++) {
    const { code, ifTrue, ifFalse, value } = decode(program, index);
    const reaches = code === 0x05 ? [value] : [0x15, 0x35, 0x45].includes(code) ? [ifTrue, ifFalse] : undefined;
    if (reaches === undefined && code !== 0x20 && code !== 0x06) throw new Error(`instruction ${index}: code ${code}`);
    if (reaches?.some((reach) => index + 1 + reach >= length)) throw new Error(`instruction ${index} jumps out`);
    if (code === 0x20 && (value > 60 || value % 4 !== 0)) throw new Error(`instruction ${index} loads from ${value}`);
    if (index === length - 1 && code !== 0x06) throw new Error("the last instruction is no return");
  }
}

/** The result of the filter for a call: SECCOMP_RET_*. */
export function runFilter(program: Buffer, call: Call): number {
  const data = dataOf(call);
  let accumulator = 0;
  for (let at = 0; ; at++) {
    const { code, ifTrue, ifFalse, value } = decode(program, at);
    if (code === 0x06) return value;
    if (code === 0x20) accumulator = data.readUInt32LE(value);
    else if (code === 0x05) at += value;
    else if (code === 0x15) at += accumulator === value ? ifTrue : ifFalse;
    else if (code === 0x35) at += accumulator >= value ? ifTrue : ifFalse;
    else if (code === 0x45) at += (accumulator & value) !== 0 ? ifTrue : ifFalse;
    else throw new Error(`instruction ${at}: code ${code}`);
  }
}
