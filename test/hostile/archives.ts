/** Hostile and broken archives from a seed. Each is what somebody could write who wants to do harm, or a disk that fails. */
import { gzipSync, zstdCompressSync } from "node:zlib";
import { formatPaxRecord } from "../../src/image/pax.ts";
import { generateStack, randomFrom } from "../support/image-stacks.ts";
import { bytes, tarOf } from "../support/image-support.ts";

export interface HostileImage {
  /** How it was made, for whoever looks into a failure. */
  kind: string;
  /** Layers as stored, lowest first. */
  layers: Buffer[];
}

const BLOCK = 512;

interface Raw {
  name?: string;
  type?: string;
  target?: string;
  content?: Buffer | string;
  /** Bytes of fields that take the place of what would be right. */
  fields?: Partial<Record<FieldName, Buffer>>;
  gnu?: boolean;
}

const FIELDS = {
  name: [0, 100],
  mode: [100, 8],
  uid: [108, 8],
  gid: [116, 8],
  size: [124, 12],
  mtime: [136, 12],
  checksum: [148, 8],
  type: [156, 1],
  target: [157, 100],
  magic: [257, 8],
  user: [265, 32],
  group: [297, 32],
  major: [329, 8],
  minor: [337, 8],
  prefix: [345, 155],
} as const satisfies Record<string, readonly [number, number]>;

type FieldName = keyof typeof FIELDS;

function fixChecksum(block: Buffer): void {
  block.fill(0x20, 148, 156);
  let sum = 0;
  for (const byte of block.subarray(0, BLOCK)) sum += byte;
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, 8, "latin1");
}

function header(raw: Raw): Buffer {
  const block = Buffer.alloc(BLOCK);
  const content = Buffer.from((raw.content ?? "") as string);
  block.write(raw.name ?? "file", 0, 100, "latin1");
  block.write("0000644\0" + "0000000\0" + "0000000\0", 100, "latin1");
  block.write(`${content.length.toString(8).padStart(11, "0")}\0`, 124, "latin1");
  block.write("14524606000\0", 136, "latin1");
  block.write(raw.type ?? "0", 156, 1, "latin1");
  block.write(raw.target ?? "", 157, 100, "latin1");
  block.write(raw.gnu ? "ustar  \0" : "ustar\0" + "00", 257, 8, "latin1");
  for (const [name, value] of Object.entries(raw.fields ?? {})) {
    const [at, length] = FIELDS[name as FieldName];
    block.fill(0, at, at + length);
    value.copy(block, at, 0, length);
  }
  if (raw.fields?.checksum === undefined) fixChecksum(block);
  return block;
}

function entry(raw: Raw): Buffer {
  const content = Buffer.from((raw.content ?? "") as string, "latin1");
  const padding = Buffer.alloc((BLOCK - (content.length % BLOCK)) % BLOCK);
  return Buffer.concat([header({ ...raw, content }), content, padding]);
}

const END = Buffer.alloc(2 * BLOCK);
const archive = (entries: readonly Raw[]): Buffer => Buffer.concat([...entries.map(entry), END]);

/** GNU's base-256: a signed big-endian number. */
function base256(value: bigint, length: number): Buffer {
  const buffer = Buffer.alloc(length);
  let rest = value;
  for (let i = length - 1; i >= 0; i--) {
    buffer[i] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  buffer[0] = (buffer[0] as number) | 0x80;
  return buffer;
}

type Random = () => number;
const pick = <T>(random: Random, list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
const upTo = (random: Random, most: number): number => Math.floor(random() * (most + 1));

const hostileNumber = (random: Random, length: number): Buffer =>
  pick(random, [
    () => base256(-1n, length),
    () => base256(-512n * BigInt(1 + upTo(random, 3)), length),
    () => base256(-BigInt(upTo(random, 5000)), length),
    () => base256(1n << BigInt(upTo(random, length * 8 - 2)), length),
    () => base256((1n << 53n) - BigInt(upTo(random, 1024)), length),
    () => Buffer.from("7".repeat(length)),
    () => Buffer.from("7".repeat(length - 1)),
    () => Buffer.from("-0000001".slice(0, length)),
    () => Buffer.from("+17"),
    () => Buffer.from("0x10"),
    () => Buffer.from("9".repeat(length - 1)),
    () => Buffer.alloc(length, 0x20),
    () => Buffer.alloc(length),
    () => Buffer.from([0x80, ...Array(length - 1).fill(0)]),
    () => Buffer.from([0xff, ...Array(length - 1).fill(0xff)]),
    () => Buffer.from(` ${upTo(random, 4096).toString(8)} `),
  ])();

/** `canary`: an absolute path outside of every tree, which must never change. */
const partsFor = (canary: string): readonly string[] => [
  ..."a b c d é A".split(" "),
  ...["..", "..", ".", "", "...", " ", "\\", "..\\..", "a\0b", "~", "$(touch /rootling-canary)", "-rf", "--help", "*"],
  ...[".wh.a", ".wh.b", ".wh..", ".wh...", ".wh.", ".wh..wh..opq", ".wh..wh.plnk", ".wh..wh.aufs", ".wh..wh..wh.a"],
  ...[
    "\u001b[2J",
    "\u202e",
    "x\ny",
    "a".repeat(255),
    "a".repeat(256),
    ".rootling",
    ".WH.a",
    "A\u0300",
    "\xc0\xae\xc0\xae",
  ],
  canary.slice(1),
  "../../outside/canary",
  "proc/self/root",
  "proc/self/cwd",
];

function hostileName(random: Random, canary: string): string {
  const special = random();
  if (special < 0.04) return canary;
  if (special < 0.08) return `../../outside/${pick(random, ["canary", "secret", "directory/inside", "new"])}`;
  if (special < 0.1) return "a/".repeat(upTo(random, 2100));
  if (special < 0.12)
    return pick(random, ["", "/", ".", "./", "..", "//", "./.", "/..", "./../", "/etc/rootling-canary"]);
  const parts = partsFor(canary);
  const name = Array.from({ length: 1 + upTo(random, 4) }, () => pick(random, parts)).join("/");
  return pick(random, ["", "", "/", "./", "//"]) + name + pick(random, ["", "", "", "/", "/."]);
}

const plainName = (random: Random): string =>
  Array.from({ length: 1 + upTo(random, 2) }, () => pick(random, ["a", "b", "c", "d"])).join("/");

/** The ways in which an archive can give a name. */
function named(random: Random, name: string, raw: Raw): Raw[] {
  const body = Buffer.from(name, "latin1");
  return pick<() => Raw[]>(random, [
    () => [{ ...raw, name }],
    () => [{ name: "././@LongLink", type: "L", gnu: true, content: Buffer.concat([body, Buffer.alloc(1)]) }, raw],
    () => [{ name: "pax", type: "x", content: formatPaxRecord(bytes("path"), body) }, raw],
    () => [{ ...raw, name: name.slice(-100), fields: { ...raw.fields, prefix: body.subarray(0, 155) } }],
  ])();
}

function targeted(random: Random, target: string, raw: Raw): Raw[] {
  const body = Buffer.from(target, "latin1");
  return pick<() => Raw[]>(random, [
    () => [{ ...raw, target }],
    () => [{ name: "././@LongLink", type: "K", gnu: true, content: body }, raw],
    () => [{ name: "pax", type: "x", content: formatPaxRecord(bytes("linkpath"), body) }, raw],
  ])();
}

const TYPES = ["0", "0", "\0", "1", "2", "3", "4", "5", "5", "6", "7"] as const;

/** A valid stack of layers, to be spoilt. */
const goodLayers = (random: Random): Buffer[] =>
  generateStack(1 + upTo(random, 1 << 30), 1 + upTo(random, 2)).map((entries) => tarOf(entries));

const garbage = (random: Random, length: number): Buffer =>
  Buffer.from(Array.from({ length }, () => Math.floor(random() * 256)));

const PAX_KEYS = [
  ...["path", "linkpath", "size", "uid", "gid", "mtime", "atime", "ctime", "uname", "charset", "hdrcharset", "comment"],
  ...["GNU.sparse.major", "GNU.sparse.minor", "GNU.sparse.name", "GNU.sparse.realsize", "GNU.sparse.size"],
  ...["GNU.sparse.numblocks", "GNU.sparse.offset", "GNU.sparse.numbytes", "GNU.sparse.map", "SCHILY.realsize"],
  ...[
    "SCHILY.xattr.",
    "SCHILY.xattr.user.a",
    "SCHILY.xattr.user.overlay.opaque",
    "SCHILY.xattr.trusted.overlay.redirect",
  ],
  ...["SCHILY.xattr.security.capability", "SCHILY.xattr.a\0b", "SCHILY.xattr.user.a=b", "SCHILY.xattr.nonsense"],
  ...[
    "SCHILY.xattr.system.posix_acl_access",
    "SCHILY.acl.access",
    "SCHILY.fflags",
    "LIBARCHIVE.xattr.user.a",
    "\0",
    "x y",
  ],
  ...["SCHILY.devmajor", "SCHILY.devminor", "SCHILY.filetype", "__proto__", "MSWINDOWS.rawsd", "RHT.security.selinux"],
];

const PAX_VALUES = [
  ...["", "0", "-1", "1", "18446744073709551616", "9007199254740993", "1e9", "0x1", " 1", "1\n", "1.5", "-1.999999999"],
  ...[
    "99999999999999999999.9",
    ".",
    "-",
    "NaN",
    "../../outside/canary",
    "/etc/rootling-canary",
    "a\0b",
    "y",
    "\xff\xfe",
  ],
  ...["4294967295", "4294967296", "-0", "1.", "BINARY", "ISO-IR 10646 2000 UTF-8", "0,1,2", "9999999999999999999,1"],
];

function paxRecord(random: Random): Buffer {
  const key = pick(random, PAX_KEYS);
  const value = random() < 0.1 ? garbage(random, upTo(random, 300)) : Buffer.from(pick(random, PAX_VALUES), "latin1");
  const record = formatPaxRecord(bytes(key), value);
  const spoil = random();
  if (spoil < 0.7) return record;
  const length = pick(random, [
    "0",
    "-5",
    "1",
    "99999",
    "4294967296",
    "007",
    "",
    "5 5",
    "\0",
    String(record.length + 1),
  ]);
  return Buffer.concat([Buffer.from(length), record.subarray(record.indexOf(" "))]);
}

const strategies: Record<string, (random: Random, canary: string) => Buffer[]> = {
  "flipped bytes": (random) =>
    goodLayers(random).map((layer) => {
      for (let i = 0; i <= upTo(random, 6); i++) layer[upTo(random, layer.length - 1)] = upTo(random, 255);
      return layer;
    }),

  "hostile fields": (random) =>
    goodLayers(random).map((layer) => {
      const headers = [];
      for (let at = 0; at + BLOCK <= layer.length; at += BLOCK) {
        if (layer.toString("latin1", at + 257, at + 262) === "ustar") headers.push(at);
      }
      for (let i = 0; i <= upTo(random, 2) && headers.length > 0; i++) {
        const block = layer.subarray(pick(random, headers)).subarray(0, BLOCK);
        const field = pick(random, Object.keys(FIELDS) as FieldName[]);
        const [start, length] = FIELDS[field];
        if (field === "type")
          block[start] = pick(
            random,
            [..."0123456789xgXLKSVDMNA\0 \xff"].map((c) => c.charCodeAt(0)),
          );
        else if (length === 8 || length === 12) hostileNumber(random, length).copy(block, start, 0, length);
        else garbage(random, length).copy(block, start);
        if (field !== "checksum") fixChecksum(block);
      }
      return layer;
    }),

  truncated: (random) => goodLayers(random).map((layer) => layer.subarray(0, upTo(random, layer.length))),

  spliced: (random) =>
    goodLayers(random).map((layer) => {
      const blocks = Array.from({ length: layer.length / BLOCK }, (_, i) => layer.subarray(i * BLOCK, (i + 1) * BLOCK));
      for (let i = 0; i <= upTo(random, 3); i++) {
        const from = upTo(random, blocks.length - 1);
        const some = blocks.slice(from, from + 1 + upTo(random, 4));
        blocks.splice(
          upTo(random, blocks.length),
          pick(random, [0, 0, some.length]),
          ...(random() < 0.7 ? some : [END]),
        );
      }
      return Buffer.concat(blocks);
    }),

  "escaping names": (random, canary) =>
    Array.from({ length: 1 + upTo(random, 2) }, () =>
      archive(
        Array.from({ length: 1 + upTo(random, 5) }, () => {
          const hostile = random() < 0.6;
          const name = hostile ? hostileName(random, canary) : plainName(random);
          const type = pick(random, TYPES);
          const raw: Raw = { name: "x", type, content: "012".includes(type) && type === "0" ? "overwritten" : "" };
          const target = random() < 0.5 ? hostileName(random, canary) : plainName(random);
          return named(random, name, raw).flatMap((one) =>
            one === raw || one.name === name ? targeted(random, target, one) : [one],
          );
        }).flat(),
      ),
    ),

  "links that lead out": (random, canary) => {
    const out = () =>
      pick(random, [
        "../../outside",
        "/",
        canary.slice(0, canary.lastIndexOf("/")),
        canary,
        "..",
        "a",
        "/proc/self/root",
      ]);
    const first = ["a", "b", "c"].flatMap((name): Raw[] => [
      {
        name,
        type: pick(random, ["2", "2", "1", "5"]),
        target: random() < 0.7 ? out() : pick(random, ["a", "b", "c"]),
      },
    ]);
    const through = Array.from({ length: 1 + upTo(random, 4) }, (): Raw => {
      const name = `${pick(random, ["a", "b", "c", "a/b", "c/b/a"])}${pick(random, ["", "/canary", "/secret", "/new", "/directory/inside"])}`;
      return {
        name,
        type: pick(random, TYPES),
        content: "",
        target: pick(random, ["a", "b", "c", "a/canary", canary]),
      };
    });
    return random() < 0.5 ? [archive([...first, ...through])] : [archive(first), archive(through)];
  },

  "links in loops": (random) =>
    Array.from({ length: 1 + upTo(random, 3) }, () =>
      archive(
        Array.from({ length: 2 + upTo(random, 12) }, (): Raw => {
          const type = pick(random, ["1", "1", "1", "2", "0", "5"]);
          return { name: plainName(random), type, target: plainName(random), content: type === "0" ? "x" : "" };
        }),
      ),
    ),

  "names given twice": (random) =>
    Array.from({ length: 1 + upTo(random, 3) }, () =>
      archive(
        Array.from({ length: 4 + upTo(random, 16) }, (): Raw => {
          const type = pick(random, TYPES);
          const whiteout = random() < 0.2;
          const path = plainName(random);
          const name = whiteout ? path.replace(/([^/]*)$/, pick(random, [".wh.$1", ".wh..wh..opq"])) : path;
          return { name, type, target: plainName(random), content: type === "0" ? name.repeat(upTo(random, 40)) : "" };
        }),
      ),
    ),

  devices: (random) => [
    archive(
      Array.from({ length: 1 + upTo(random, 4) }, (_, i): Raw => {
        const number = () =>
          random() < 0.5
            ? hostileNumber(random, 8)
            : Buffer.from(
                pick(random, [0, 1, 255, 256, 4095, 4096, 8192, 0o1777777, 0o4000000, 0o7777777]).toString(8),
              );
        return {
          name: `device${i}`,
          type: pick(random, ["3", "3", "4"]),
          fields: { major: number(), minor: number() },
        };
      }),
    ),
  ],

  "extended headers": (random) =>
    Array.from({ length: 1 + upTo(random, 1) }, () =>
      archive(
        Array.from({ length: 1 + upTo(random, 5) }, (_, i): Raw[] => {
          const type = pick(random, ["x", "x", "x", "g", "X", "L", "K"]);
          const body = Buffer.concat(Array.from({ length: upTo(random, 5) }, () => paxRecord(random)));
          const fields = random() < 0.15 ? { size: hostileNumber(random, 12) } : {};
          const kind = pick(random, TYPES);
          const file: Raw = { name: `file${i}`, type: kind, target: "file0", content: kind === "0" ? "content" : "" };
          return random() < 0.9 ? [{ type, content: body, fields }, file] : [{ type, content: body, fields }];
        }).flat(),
      ),
    ),

  "huge numbers": (random) => [
    archive(
      Array.from({ length: 1 + upTo(random, 3) }, (_, i): Raw => {
        const field = pick(random, ["mode", "uid", "gid", "size", "mtime", "size"] as const);
        return {
          name: `file${i}`,
          type: pick(random, TYPES),
          target: "file0",
          content: random() < 0.3 ? "x".repeat(upTo(random, 2000)) : "",
          fields: { [field]: hostileNumber(random, FIELDS[field][1]) },
        };
      }),
    ),
  ],

  bombs: (random) =>
    pick<() => Buffer[]>(random, [
      // Names whose directories nobody counts.
      () => [
        archive(
          Array.from({ length: 40 }, (_, i) =>
            named(random, `${`${i}/`.repeat(100 + upTo(random, 380))}x`, { name: "x" }),
          ).flat(),
        ),
      ],
      () => [archive(Array.from({ length: 3000 }, (_, i): Raw => ({ name: `f${i}` })))],
      () => [archive(Array.from({ length: 3000 }, (_, i): Raw => ({ name: `.wh.${i}/a/b`.replace("/a/b", "") })))],
      () => [archive(Array.from({ length: 3000 }, (): Raw => ({ name: "same" })))],
      () => [archive([{ name: "zeros", content: Buffer.alloc(16 << 20) }])],
      // The same attributes for every entry that follows.
      () => [
        archive([
          { type: "g", content: formatPaxRecord(bytes("SCHILY.xattr.user.big"), Buffer.alloc(900_000, "x")) },
          ...Array.from({ length: 1500 }, (_, i): Raw => ({ name: `f${i}` })),
        ]),
      ],
      () => [
        archive(
          Array.from(
            { length: 60 },
            (_, i): Raw => ({
              type: "g",
              content: formatPaxRecord(bytes(`comment.${i}`), Buffer.alloc(1_000_000)),
            }),
          ),
        ),
      ],
      () => [
        archive(
          Array.from(
            { length: 60 },
            (_, i): Raw => ({
              type: "x",
              content: formatPaxRecord(bytes(`comment.${i}`), Buffer.alloc(1_000_000)),
            }),
          ),
        ),
      ],
      () => [Buffer.concat([archive([{ name: "a" }]), Buffer.alloc(8 << 20)])],
      () =>
        Array.from({ length: 60 }, (_, i) => archive([{ name: `a${i % 3}`, type: "1", target: `a${(i + 1) % 3}` }])),
    ])(),

  "no archive at all": (random) => [
    pick<() => Buffer>(random, [
      () => Buffer.alloc(0),
      () => Buffer.alloc(upTo(random, 3) * BLOCK),
      () => garbage(random, upTo(random, 4000)),
      () => Buffer.from("<!DOCTYPE html><html>".repeat(upTo(random, 100))),
      () => Buffer.from("BZh91AY&SY"),
      () => Buffer.from("fd377a585a000004", "hex"),
      () => Buffer.from("07070100000000", "latin1"),
    ])(),
  ],
};

const names = Object.keys(strategies);

/** How the bytes of a layer are stored; broken in one of four. */
function stored(random: Random, layer: Buffer): Buffer {
  const pack = random();
  const packed = pack < 0.6 ? layer : pack < 0.8 ? gzipSync(layer, { level: 1 }) : zstdCompressSync(layer);
  if (pack < 0.6 || random() < 0.75 || packed.length === 0) return packed;
  return pick<() => Buffer>(random, [
    () => packed.subarray(0, upTo(random, packed.length)),
    () => Buffer.concat([packed, garbage(random, 1 + upTo(random, 600))]),
    () => Buffer.concat([packed, packed]),
    () => Buffer.concat([packed, Buffer.from("5a2a4d18ffffffff", "hex")]),
    () => {
      packed[upTo(random, packed.length - 1)] = upTo(random, 255);
      return packed;
    },
  ])();
}

/** The hostile image of a seed. */
export function hostileImage(seed: number, canary: string): HostileImage {
  const random = randomFrom(seed);
  const kind = pick(random, names);
  const layers = strategies[kind]?.(random, canary) ?? [];
  return { kind, layers: layers.map((layer) => stored(random, layer)) };
}
