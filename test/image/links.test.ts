/** Hard links between layers: each row is a stack and what has to come out, links and content. */
import assert from "node:assert/strict";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import fc from "fast-check";
import { importToFile } from "../../src/commands/import-image.ts";
import { buildImage } from "../../src/image/build.ts";
import { digestOf } from "../../src/image/digest.ts";
import type { Sink } from "../../src/image/sinks/sink.ts";
import type { Entry } from "../../src/image/types.ts";
import { failsWith, type Given, scratch, tarOf, testContext, writeLayout } from "../support/image-support.ts";

const file = (path: string, content: string): Given => ({ path, content });
const link = (path: string, target: string): Given => ({ path, kind: "link", target });
const gone = (path: string): Given => ({ path: `.wh.${path}` });

/** Lowest layer first; then the groups of names that are one file, with its content. */
const rows: Record<string, { layers: Given[][]; files: [string[], string][] }> = {
  "in its own layer": { layers: [[file("a", "1"), link("b", "a"), link("c", "b")]], files: [[["a", "b", "c"], "1"]] },
  "to a lower layer": {
    layers: [[file("a", "1")], [link("b", "a")], [link("c", "b")]],
    files: [[["a", "b", "c"], "1"]],
  },
  "to a file that was removed above": {
    layers: [[file("a", "1"), link("b", "a"), link("c", "a")], [gone("a")]],
    files: [[["b", "c"], "1"]],
  },
  "to a file that was replaced above": {
    layers: [[file("a", "1"), link("b", "a"), link("c", "b")], [file("a", "2")]],
    files: [
      [["b", "c"], "1"],
      [["a"], "2"],
    ],
  },
  "to a link that was replaced above": {
    layers: [[file("a", "1"), link("b", "a")], [link("c", "b")], [file("b", "2")]],
    files: [
      [["a", "c"], "1"],
      [["b"], "2"],
    ],
  },
  "to a file of two layers down, replaced in between": {
    layers: [[file("a", "1")], [link("b", "a")], [file("a", "2")], [link("c", "a")], [gone("a")]],
    files: [
      [["b"], "1"],
      [["c"], "2"],
    ],
  },
  "to the old file of a name that its layer replaces later": {
    layers: [[file("a", "1")], [link("b", "a"), file("a", "2")]],
    files: [
      [["b"], "1"],
      [["a"], "2"],
    ],
  },
  "that became a directory above": {
    layers: [
      [file("a", "1"), link("b", "a")],
      [gone("a"), { path: "a", kind: "directory" }, file("a/x", "2")],
    ],
    files: [
      [["b"], "1"],
      [["a/x"], "2"],
    ],
  },
};

for (const [what, { layers, files }] of Object.entries(rows)) {
  test(`a hard link ${what}`, async (t) => {
    const directory = scratch(t);
    writeLayout(
      join(directory, "layout"),
      layers.map((layer) => tarOf(layer)),
    );
    const { context, layout } = testContext(directory);
    const output = join(directory, "out");
    await importToFile(context, layout, `oci:${directory}/layout`, { output, format: "dir" });
    for (const [names, content] of files) {
      const inodes = new Set(names.map((name) => statSync(join(output, name)).ino));
      assert.equal(inodes.size, 1);
      assert.equal(statSync(join(output, names[0] ?? "")).nlink, names.length);
      assert.equal(readFileSync(join(output, names[0] ?? ""), "utf8"), content);
    }
    // mksquashfs crashes on links before their file: it has to accept the stream as well.
    await importToFile(context, layout, `oci:${directory}/layout`, {
      output: `${output}.squashfs`,
      format: "squashfs",
    });
  });
}

/** What the merge passes on, as it has to be for whoever unpacks it in order: by name, the identity of its file. */
async function unpacked(t: TestContext, layers: readonly (readonly Given[])[]): Promise<Map<string, string>> {
  const tree = new Map<string, string>();
  let content = "";
  let open: Entry | undefined;
  const sink: Sink = {
    entry: (entry) => {
      assert.ok(!tree.has(entry.path), `${entry.path} comes twice`);
      if (entry.kind === "link") {
        const target = tree.get(entry.target ?? "");
        assert.ok(target !== undefined, `${entry.path} is a link to ${entry.target}, which did not come yet`);
        tree.set(entry.path, target);
      }
      open = entry;
      content = "";
    },
    data: (slice) => void (content += slice),
    end: () => {
      if (open?.kind === "file") tree.set(open.path, content);
    },
    flush: () => undefined,
    commit: async () => {},
    abort: async () => {},
  };
  const archives = layers.map((layer) => tarOf(layer));
  const image = {
    digest: digestOf("test"),
    name: "test",
    run: {},
    platform: { os: "linux", architecture: "amd64" },
    layers: archives.map((archive, index) => ({
      label: `layer ${index + 1}`,
      open: async () =>
        (async function* () {
          yield archive;
        })(),
    })),
    close: async () => {},
  };
  const openSink = async () => {
    tree.clear();
    return sink;
  };
  await buildImage(image, openSink, testContext(scratch(t)).context);
  return tree;
}

/** The same, layer upon layer as extraction does it. Undefined where a link has no file. */
function extracted(layers: readonly (readonly Given[])[]): Map<string, string> | undefined {
  let below = new Map<string, string>();
  for (const layer of layers) {
    const own = new Map<string, string>();
    for (const { path, kind, target = "", content = "" } of layer) {
      if (path.startsWith(".wh.")) continue;
      const found = own.get(target) ?? below.get(target);
      if (kind === "link" && (found === undefined || target === path)) return undefined;
      own.set(path, kind === "link" ? (found ?? "") : String(content));
    }
    const hidden = layer.filter(({ path }) => path.startsWith(".wh.")).map(({ path }) => path.slice(4));
    below = new Map([...[...below].filter(([name]) => !hidden.includes(name)), ...own]);
  }
  return below;
}

test("hard links of any stack of layers end as extraction has them, or the merge itself refuses them", async (t) => {
  const name = fc.constantFrom("a", "b", "c", "d");
  const entry = fc.oneof(
    { weight: 3, arbitrary: fc.record({ path: name, kind: fc.constant("link" as const), target: name }) },
    { weight: 2, arbitrary: fc.record({ path: name, content: fc.uuid() }) },
    { weight: 1, arbitrary: name.map((path) => gone(path)) },
  );
  const once = fc.uniqueArray(entry, { selector: ({ path }) => path, maxLength: 5 });
  const repeated = fc.array(entry, { maxLength: 5 });
  const stacks = (layer: typeof once) => fc.array(layer, { minLength: 1, maxLength: 5 });
  const readOrRefused = (layers: readonly (readonly Given[])[]) =>
    unpacked(t, layers).catch((error: unknown) => {
      failsWith("E_LAYER", /hard link/)(error);
    });
  const check = async (layers: readonly (readonly Given[])[]) => {
    const expected = extracted(layers);
    const found = await readOrRefused(layers);
    // A link that is hidden above may lead nowhere: nobody follows it.
    if (expected !== undefined) assert.deepEqual(new Map([...(found ?? [])].sort()), new Map([...expected].sort()));
  };
  await fc.assert(fc.asyncProperty(stacks(once), check), { numRuns: 2000 });
  const checkRepeated = async (layers: readonly (readonly Given[])[]) => void (await readOrRefused(layers));
  await fc.assert(fc.asyncProperty(stacks(repeated), checkRepeated), { numRuns: 2000 });
});

const refused: Record<string, Given[][]> = {
  "over one layer": [[link("a", "b"), link("b", "a")]],
  "over two layers": [[link("a", "b")], [link("b", "a")]],
  "over three layers": [[link("a", "c")], [link("b", "a")], [link("c", "b")]],
  "over three layers, through a name that is covered": [
    [link("c", "b"), link("b", "c")],
    [file("c", "2")],
    [link("d", "b")],
  ],
  "over three layers, through two names that are covered": [
    [link("a", "b"), link("b", "c"), link("c", "a")],
    [gone("a"), file("b", "2")],
    [link("d", "c")],
  ],
};

for (const [what, layers] of Object.entries(refused)) {
  test(`hard links in a loop ${what} are refused by the merge`, async (t) => {
    await assert.rejects(unpacked(t, layers), failsWith("E_LAYER", /hard links? .*(each other|not there)/));
  });
}

test("a covered name that its layer gives twice: a link between has the first file", async (t) => {
  const lower = [file("a", "1"), link("b", "a"), file("a", "2"), link("c", "a")];
  const tree = await unpacked(t, [lower, [file("a", "3")]]);
  assert.deepEqual(Object.fromEntries(tree), { a: "3", b: "1", c: "2" });
});
