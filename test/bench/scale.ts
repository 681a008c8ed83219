/** Images of many small files, for how time and memory grow with the number of entries. */
import { closeSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { ImageLayout } from "../support/images.ts";

/** Entries of the images `entries-N`, and in how many layers. */
export const SCALES = [
  { entries: 10_000, layers: 1 },
  { entries: 100_000, layers: 20 },
  { entries: 1_000_000, layers: 20 },
] as const;

export const scaleTag = (entries: number): string => `entries-${entries}`;

const BLOCK = 512;
/** Bytes of each file. */
const CONTENT = 100;

/** A ustar entry of one small file: header and content, as POSIX.1 has it. */
function fileEntry(name: string): Buffer {
  const bytes = Buffer.alloc(2 * BLOCK);
  bytes.write(name, 0);
  const number = (value: number, at: number, digits: number) =>
    bytes.write(value.toString(8).padStart(digits, "0"), at);
  number(0o644, 100, 7);
  number(0, 108, 7);
  number(0, 116, 7);
  number(CONTENT, 124, 11);
  number(1_700_000_000, 136, 11);
  bytes.write(" ".repeat(8), 148);
  bytes.write("ustar", 257);
  bytes.write("00", 263);
  const sum = bytes.subarray(0, BLOCK).reduce((total, byte) => total + byte, 0);
  number(sum, 148, 6);
  bytes[154] = 0;
  bytes.fill(name, BLOCK, BLOCK + CONTENT);
  return bytes;
}

/** Makes the image of `entries` files, a hundred a directory, spread over the layers. */
export async function makeScaleImage(
  layout: ImageLayout,
  entries: number,
  layers: number,
  scratch: string,
): Promise<void> {
  const tag = scaleTag(entries);
  await layout.image(tag);
  const each = entries / layers;
  for (let layer = 0; layer < layers; layer++) {
    const tar = join(scratch, `${tag}-${layer}.tar`);
    const file = openSync(tar, "w");
    let parts: Buffer[] = [];
    for (let i = layer * each; i < (layer + 1) * each; i++) {
      parts.push(fileEntry(`srv/d${Math.floor(i / 10_000)}/e${Math.floor(i / 100) % 100}/file-${i}`));
      if (parts.length < 4096 && i + 1 < (layer + 1) * each) continue;
      writeSync(file, Buffer.concat(parts));
      parts = [];
    }
    writeSync(file, Buffer.alloc(2 * BLOCK));
    closeSync(file);
    await layout.addLayer(tag, tar);
  }
}
