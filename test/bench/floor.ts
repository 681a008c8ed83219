/**
 * What no import can do without: every stored byte is hashed, inflated and hashed again. Several layers at once, on
 * the thread pool, as an import does; nothing is parsed and nothing written.
 *
 *     node floor.ts BLOB…
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { createGunzip } from "node:zlib";

async function readLayer(path: string): Promise<void> {
  const stored = createHash("sha256");
  const unpacked = createHash("sha256");
  const input = createReadStream(path, { highWaterMark: 1 << 20 });
  input.on("data", (chunk) => stored.update(chunk));
  for await (const chunk of input.pipe(createGunzip({ chunkSize: 1 << 20 }))) unpacked.update(chunk as Buffer);
  stored.digest();
  unpacked.digest();
}

for (const path of process.argv.slice(2)) await readLayer(path);
