/** Hard links between layers: each row is a stack and what has to come out, links and content. */
import assert from "node:assert/strict";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { importToFile } from "../../src/commands/import-image.ts";
import { type Given, scratch, tarOf, testContext, writeLayout } from "../support/image-support.ts";

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
