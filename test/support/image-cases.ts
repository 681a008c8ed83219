/** Beginnings that tests of sources, sinks and hostile images share: an image in a layout, and imports of it. */
import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { importToFile } from "../../src/commands/import-image.ts";
import {
  bytes,
  describeTree,
  type Given,
  type LayoutOptions,
  scratch,
  tarOf,
  testContext,
  writeLayout,
} from "./image-support.ts";

/** A directory with an image of these layers in a layout, and a store of the test's own. */
export function preparedImage(
  t: TestContext,
  layers: readonly (readonly Given[])[],
  { env = {}, ...options }: LayoutOptions & { env?: Record<string, string> } = {},
) {
  const directory = scratch(t);
  writeLayout(
    join(directory, "layout"),
    layers.map((layer) => tarOf(layer)),
    options,
  );
  return { directory, source: `oci:${directory}/layout`, ...testContext(directory, env) };
}

/** The program of `importWords`. */
export const importScript = join(import.meta.dirname, "image-import.ts");

/** The words that import in a process of its own: for tests that need another user, a signal or standard input. */
export const importWords = (source: string, output: string, format: string): string[] => [
  process.execPath,
  importScript,
  ...[source, output, format],
];

export interface ImportProcess {
  child: ChildProcess;
  ended: Promise<{ status: number | null; said: string }>;
}

/** Runs `importWords` with a store in `directory`. */
export function startImport(
  directory: string,
  [file = "", ...words]: readonly string[],
  stdin: "pipe" | "ignore" | number = "ignore",
): ImportProcess {
  const child = spawn(file, words, {
    env: { ...process.env, IMAGE_TEST_DIRECTORY: directory, ROOTLING_TEMP_PATH: directory },
    stdio: [stdin, "ignore", "pipe"],
  });
  let said = "";
  child.stderr?.on("data", (chunk) => (said += chunk));
  const ended = new Promise<{ status: number | null; said: string }>((resolve) =>
    child.on("close", (status) => resolve({ status, said })),
  );
  return { child, ended };
}

export const configOfAll = { Env: ["A=b"], Cmd: ["tool"], Labels: { note: "$(touch /canary)\n" } };

const lower: Given[] = [
  { path: "./", kind: "directory", mode: 0o711 },
  { path: "etc", kind: "directory", mode: 0o750, uid: 3, gid: 4 },
  { path: "etc/file", content: "x".repeat(5000), mode: 0o4755, uid: 1000, gid: 70 },
  { path: "gone" },
];
const upper: Given[] = [
  { path: ".wh.gone" },
  { path: "etc/link", kind: "link", target: "etc/file" },
  { path: "null", kind: "character", major: 1, minor: 3 },
  { path: "pipe", kind: "fifo", mode: 0o600 },
  { path: 'name \\ "x', content: "y", xattrs: new Map([[bytes("user.note"), Buffer.from("\xff\0=\n", "latin1")]]) },
  { path: "symlink", kind: "symlink", mode: 0o777, target: "a b\\c" },
];

/** An image with a file of every kind in a layout, and its tree in a directory. Temporary files go there as well. */
export async function imageOfAll(t: TestContext) {
  const directory = scratch(t);
  const { context, layout, warnings } = testContext(directory, { ROOTLING_TEMP_PATH: directory });
  writeLayout(join(directory, "layout"), [tarOf(lower), tarOf(upper)], { config: configOfAll });
  const tree = join(directory, "tree");
  await importToFile(context, layout, `oci:${directory}/layout`, { output: tree, format: "dir" });
  return { directory, context, layout, warnings, tree, expected: await describeTree(tree) };
}

/** `docker25.tar` of the layout in `directory`: as of Docker 25, an OCI layout with a manifest.json beside it. */
export function dockerOfToday(directory: string): void {
  const blobs = join(directory, "layout/blobs/sha256");
  const index = JSON.parse(readFileSync(join(directory, "layout/index.json"), "utf8"));
  const path = (digest: string) => `blobs/sha256/${digest.slice("sha256:".length)}`;
  const manifest = JSON.parse(readFileSync(join(blobs, index.manifests[0].digest.slice(7)), "utf8"));
  const saved = [
    {
      Config: path(manifest.config.digest),
      RepoTags: ["team/app:latest"],
      Layers: manifest.layers.map(({ digest }: { digest: string }) => path(digest)),
    },
  ];
  const files = readdirSync(blobs).map(
    (name): Given => ({ path: `blobs/sha256/${name}`, content: readFileSync(join(blobs, name)) }),
  );
  const documents = ["index.json", "oci-layout"].map(
    (name): Given => ({ path: name, content: readFileSync(join(directory, "layout", name)) }),
  );
  const list: Given[] = [...files, ...documents, { path: "manifest.json", content: JSON.stringify(saved) }];
  writeFileSync(join(directory, "docker25.tar"), tarOf(list));
}
