/** What the image side's tests share: layers, layouts, contexts, and trees as comparable text. */
import { createHash } from "node:crypto";
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { type ByteString, fromText } from "../../src/base/bytes.ts";
import type { Context } from "../../src/base/context.ts";
import { Failure, type FailureCode } from "../../src/base/errors.ts";
import { capture } from "../../src/base/process.ts";
import { silentProgress } from "../../src/base/progress.ts";
import { readSettings } from "../../src/base/settings.ts";
import { digestHex, digestOf } from "../../src/image/digest.ts";
import { TarReader } from "../../src/image/tar-read.ts";
import { END_OF_ARCHIVE, encodeEntry, paddingAfter } from "../../src/image/tar-write.ts";
import type { Digest, Entry, EntryKind } from "../../src/image/types.ts";
import { type Layout, layoutOf } from "../../src/store/layout.ts";

/** A directory that goes with the test. */
export function scratch(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "rootling-image-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** A context and store of the test's own; `warnings` collects what it was told. */
export function testContext(directory: string, env: Record<string, string> = {}) {
  const settings = readSettings(
    {
      ROOTLING_DATA_PATH: join(directory, "data"),
      ROOTLING_CACHE_PATH: join(directory, "cache"),
      ROOTLING_RUNTIME_PATH: join(directory, "runtime"),
      ...env,
    },
    process.getuid?.() ?? 0,
  );
  const warnings: string[] = [];
  const stop = new AbortController();
  const context: Context = {
    settings,
    signal: stop.signal,
    progress: silentProgress,
    warn: (message) => warnings.push(message),
  };
  const layout: Layout = layoutOf(settings);
  return { context, layout, warnings, stop };
}

/** An entry as tests write it: a path, a kind, and what differs from the usual. */
export type Given = { path: string; kind?: EntryKind; content?: string | Buffer; target?: string } & Partial<
  Omit<Entry, "path" | "kind" | "target" | "size">
>;

/** The tar bytes of entries. Names are taken as they are, hostile ones too. */
export function tarOf(entries: readonly Given[], end = true): Buffer {
  const parts: Buffer[] = [];
  for (const given of entries) {
    const { path, content = "", target, kind = "file", ...rest } = given;
    const body = Buffer.from(content as string);
    const entry: Entry = {
      mode: kind === "directory" ? 0o755 : 0o644,
      uid: 0,
      gid: 0,
      mtime: 1_700_000_000,
      ...rest,
      kind,
      path: fromText(path),
      size: body.length,
      ...(target === undefined ? {} : { target: fromText(target) }),
    };
    parts.push(encodeEntry(entry), body, paddingAfter(body.length) ?? Buffer.alloc(0));
  }
  if (end) parts.push(END_OF_ARCHIVE);
  return Buffer.concat(parts);
}

export type ReadEntry = Entry & { content: string };

/** What a tar holds, read in pieces of `piece` bytes; content as one character a byte. */
export function readTar(archive: Buffer, piece = archive.length, strict = true): ReadEntry[] {
  const found: ReadEntry[] = [];
  const reader = new TarReader("test", {
    entry: (entry) => {
      found.push({ ...entry, path: bytes(entry.path.replace(/\/$/, "")), content: "" });
      return true;
    },
    data: (slice) => {
      const last = found.at(-1);
      if (last !== undefined) last.content += slice.toString("latin1");
    },
    end: () => {},
  });
  for (let at = 0; at < archive.length; at += piece) reader.write(archive.subarray(at, at + piece));
  reader.end(strict);
  return found;
}

export interface LayoutOptions {
  compression?: "gzip" | "zstd" | "none";
  ref?: string;
  config?: object;
  /** Of the manifest, and of what the index says of it. */
  annotations?: Record<string, string>;
}

/** Writes an OCI image layout with these layers, lowest first. Returns the manifest's digest. */
export function writeLayout(directory: string, layers: readonly Buffer[], options: LayoutOptions = {}): Digest {
  const blobs = join(directory, "blobs", "sha256");
  mkdirSync(blobs, { recursive: true });
  const put = (bytes: Buffer) => {
    writeFileSync(join(blobs, digestHex(digestOf(bytes))), bytes);
    return { digest: digestOf(bytes), size: bytes.length };
  };
  const { compression = "gzip", ref = "latest" } = options;
  const pack = { gzip: (b: Buffer) => gzipSync(b, { level: 1 }), zstd: zstdCompressSync, none: (b: Buffer) => b }[
    compression
  ];
  const suffix = { gzip: "+gzip", zstd: "+zstd", none: "" }[compression];
  const config = put(
    Buffer.from(
      JSON.stringify({
        architecture: process.arch === "arm64" ? "arm64" : "amd64",
        os: "linux",
        config: options.config ?? {},
        rootfs: { type: "layers", diff_ids: layers.map(digestOf) },
      }),
    ),
  );
  const manifest = put(
    Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: "application/vnd.oci.image.manifest.v1+json",
        config: { mediaType: "application/vnd.oci.image.config.v1+json", ...config },
        layers: layers.map((layer) => ({
          mediaType: `application/vnd.oci.image.layer.v1.tar${suffix}`,
          ...put(pack(layer)),
        })),
        annotations: options.annotations,
      }),
    ),
  );
  writeFileSync(join(directory, "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
  const annotations = { ...options.annotations, "org.opencontainers.image.ref.name": ref };
  writeFileSync(
    join(directory, "index.json"),
    JSON.stringify({
      schemaVersion: 2,
      manifests: [{ mediaType: "application/vnd.oci.image.manifest.v1+json", ...manifest, annotations }],
    }),
  );
  return manifest.digest;
}

/** A tree as lines of text, one a name: kind, mode, owner, links, time, device, target or content, xattrs. */
export async function describeTree(root: string, options: { rootTime?: boolean } = {}): Promise<string[]> {
  const xattrs = await xattrsBelow(root);
  const lines: string[][] = [];
  /** Names by inode: other trees may have the same files, which is not theirs to show. */
  const names = new Map<number, number>();
  const visit = (path: Buffer, name: string) => {
    const stat = lstatSync(path);
    const kind = stat.mode & 0o170000;
    let detail = "";
    if (stat.isFile()) detail = createHash("sha256").update(readFileSync(path)).digest("hex").slice(0, 16);
    if (stat.isSymbolicLink()) detail = `-> ${readlinkSync(path, "buffer").toString("latin1")}`;
    if (stat.isCharacterDevice() || stat.isBlockDevice()) detail = `device ${stat.rdev}`;
    const time = name === "" && !options.rootTime ? "" : Math.floor(stat.mtimeMs / 1000);
    const inode = stat.isDirectory() ? "" : String(stat.ino);
    if (inode !== "") names.set(stat.ino, (names.get(stat.ino) ?? 0) + 1);
    const permissions = `${kind.toString(8)} ${(stat.mode & 0o7777).toString(8)}`;
    lines.push([name, permissions, `${stat.uid}:${stat.gid}`, inode, String(time), detail, xattrs.get(name) ?? ""]);
    if (!stat.isDirectory()) return;
    for (const child of readdirSync(path, { encoding: "buffer" })) {
      const childName = child.toString("latin1");
      visit(Buffer.concat([path, Buffer.from("/"), child]), name === "" ? childName : `${name}/${childName}`);
    }
  };
  visit(Buffer.from(root), "");
  return lines
    .map((line) => line.map((part, at) => (at === 3 ? (names.get(Number(part)) ?? "") : part)).join("|"))
    .sort();
}

/** All xattrs of a tree, as getfattr lists them, by name. Names are ASCII in these tests. */
async function xattrsBelow(root: string): Promise<Map<string, string>> {
  const text = await capture("getfattr", ["-R", "-d", "-m", "-", "-h", "-e", "hex", "--absolute-names", root]);
  const found = new Map<string, string>();
  for (const block of text.split("\n\n")) {
    const [first = "", ...values] = block.trim().split("\n");
    if (!first.startsWith("# file: ")) continue;
    found.set(first.slice("# file: ".length + root.length + 1), values.sort().join(","));
  }
  return found;
}

/** For assert.rejects and assert.throws: a Failure with this code. */
export const failsWith =
  (code: FailureCode, text?: RegExp) =>
  (error: unknown): boolean => {
    if (!(error instanceof Failure)) throw error;
    if (error.code !== code) throw new Error(`${error.code} instead of ${code}: ${error.what} (${error.where})`);
    if (text !== undefined && !text.test(`${error.what} ${error.where ?? ""} ${error.mend ?? ""}`)) {
      throw new Error(`unexpected words: ${error.what} | ${error.where} | ${error.mend}`);
    }
    return true;
  };

export const bytes = (text: string): ByteString => text as ByteString;
