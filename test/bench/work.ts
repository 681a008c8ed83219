/**
 * The image that imports are measured with: four layers, about 800 MB and 17,000 names unpacked, with whiteouts, an
 * opaque directory and replaced files. It is made from a seed, so every machine measures with the same bytes.
 */
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { must } from "../support/command.ts";
import type { ImageLayout } from "../support/images.ts";

/** Named in the cache directory: another content needs another number. */
export const WORK_VERSION = 3;

const POOL = 48 << 20;

/** mulberry32: 32 bits of state are plenty for choosing sizes and words. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Words as in sources and documentation: gzip makes them about a third. */
function textPool(random: () => number): Buffer {
  const letters = "etaoinshrdlucmfwypvbgkjqxz";
  const words = Array.from({ length: 6000 }, () =>
    Array.from(
      { length: 2 + Math.floor(random() * 9) },
      () => letters[Math.floor(random() ** 2 * letters.length)],
    ).join(""),
  );
  const pool = Buffer.alloc(POOL);
  for (let at = 0; at < POOL; ) {
    const word = words[Math.floor(random() ** 3 * words.length)] ?? "";
    at += pool.write(random() < 0.12 ? `${word}\n  ` : `${word} `, at, "latin1") || POOL;
  }
  return pool;
}

/** Records that repeat in part, as in programs: gzip makes them about a half. */
function binaryPool(random: () => number): Buffer {
  const pool = Buffer.alloc(POOL);
  for (let at = 0; at < POOL; ) {
    const back = at - Math.floor(random() * 24_000);
    const length = random() < 0.72 && back >= 0 ? 6 + Math.floor(random() * 26) : 0;
    if (length > 0) pool.copy(pool, at, back, Math.min(back + length, at));
    for (let i = length; i < 12 && at + i < POOL; i++) pool[at + i] = random() * 256;
    at += Math.max(length, 12);
  }
  return pool;
}

interface Maker {
  root: string;
  random: () => number;
  text: Buffer;
  binary: Buffer;
}

function fill(maker: Maker, name: string, size: number): void {
  const file = join(maker.root, name);
  mkdirSync(dirname(file), { recursive: true });
  const pool = maker.random() < 0.66 ? maker.text : maker.binary;
  const start = Math.floor(maker.random() * (POOL - size));
  writeFileSync(file, pool.subarray(start, start + size), { mode: maker.random() < 0.15 ? 0o755 : 0o644 });
}

/** Most files are small, a few make most of the bytes. */
const sizeOf = (random: () => number, mean: number): number =>
  Math.min(
    Math.floor(mean * 0.18 * Math.exp(2.05 * Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(6.283 * random()))),
    24 << 20,
  );

function files(maker: Maker, prefix: string, count: number, mean: number): void {
  for (let i = 0; i < count; i++) {
    const name = `${prefix}/d${i % 61}/e${i % 7}/file-${i}${i % 5 === 0 ? ".so" : ".txt"}`;
    fill(maker, name, sizeOf(maker.random, mean));
    if (i % 40 === 0) symlinkSync(`file-${i}${i % 5 === 0 ? ".so" : ".txt"}`, join(maker.root, `${name}.link`));
  }
}

const layers: readonly ((maker: Maker) => void)[] = [
  (maker) => files(maker, "usr/lib/base", 7200, 42_000),
  (maker) => files(maker, "usr/share/middle", 4400, 37_000),
  (maker) => {
    files(maker, "opt/tools", 2000, 42_000);
    // Replaced, removed one by one, removed as a directory, and hidden by an opaque one.
    for (let i = 0; i < 500; i++)
      fill(maker, `usr/lib/base/d${i % 61}/e${i % 7}/file-${i}${i % 5 === 0 ? ".so" : ".txt"}`, 20_000);
    for (let i = 1000; i < 1300; i++) {
      fill(maker, `usr/lib/base/d${i % 61}/e${i % 7}/.wh.file-${i}${i % 5 === 0 ? ".so" : ".txt"}`, 0);
    }
    fill(maker, "usr/lib/base/.wh.d60", 0);
    fill(maker, "usr/share/middle/d0/.wh..wh..opq", 0);
  },
  (maker) => {
    files(maker, "srv/app", 950, 48_000);
    for (let i = 0; i < 60; i++)
      fill(maker, `opt/tools/d${i}/e${i % 7}/.wh.file-${i}${i % 5 === 0 ? ".so" : ".txt"}`, 0);
  },
];

/** The top layers of next versions: all are made of other files than the last of `layers`. */
const tops: Readonly<Record<string, (maker: Maker) => void>> = {
  /** The same thing, made again: it removes what the old one removed. */
  next: (maker) => {
    layers.at(-1)?.(maker);
    for (let i = 60; i < 120; i++) fill(maker, `opt/tools/d${i % 61}/e${i % 7}/file-${i}.txt`, 20_000);
  },
  /** What the old one removed of a lower layer is there again. */
  uncovering: (maker) => files(maker, "srv/app", 950, 48_000),
};

/**
 * The images, by tag: `work`; `next` and `uncovering`, which differ from it in the last of four layers; and `change`,
 * the last layer of `next` alone.
 */
export const WORK_TAGS = ["work", "next", "uncovering", "change"] as const;

/** Makes the images of WORK_TAGS in a layout. It takes a minute, most of it compression by umoci. */
export async function makeWorkImages(layout: ImageLayout, scratch: string): Promise<void> {
  const random = randomFrom(20_240_229);
  const pools = { text: textPool(random), binary: binaryPool(random) };
  for (const tag of WORK_TAGS) await layout.image(tag);
  const last = layers.length - 1;
  const topTags = Object.keys(tops);
  for (const [index, fillLayer] of [...layers, ...Object.values(tops)].entries()) {
    const root = join(scratch, `layer-${index}`);
    mkdirSync(root, { recursive: true });
    fillLayer({ root, random, ...pools });
    const tar = join(scratch, `layer-${index}.tar`);
    await must([
      "tar",
      "--create",
      `--file=${tar}`,
      `--directory=${root}`,
      "--sort=name",
      "--mtime=@1700000000",
      "--owner=0",
      "--group=0",
      "--numeric-owner",
      ".",
    ]);
    await must(["rm", "-rf", root]);
    const top = topTags[index - last - 1];
    const tags = index < last ? ["work", ...topTags] : top === undefined ? ["work"] : [top];
    if (top === "next") tags.push("change");
    for (const tag of tags) await layout.addLayer(tag, tar);
    await must(["rm", tar]);
  }
  for (const tag of WORK_TAGS) await layout.configure(tag, { cmd: ["/bin/sh"] });
}
