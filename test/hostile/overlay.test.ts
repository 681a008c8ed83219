/** What would steer overlayfs, in an image that is run: no file vanishes, no error comes later (threats.md row 28). */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { emptyBox } from "../support/boxes.ts";
import { bytes, type Given, tarOf, writeLayout } from "../support/image-support.ts";
import { userKinds } from "../support/users.ts";

const steering = (name: string, value = "y"): Pick<Given, "xattrs"> => ({
  xattrs: new Map(["user", "trusted"].map((space) => [bytes(`${space}.overlay.${name}`), Buffer.from(value)])),
});

const layers: Given[][] = [
  [
    { path: "bin/busybox", content: readFileSync("/bin/busybox"), mode: 0o755 },
    { path: "opaque/below", content: "x" },
    { path: "redirect/below", content: "x" },
    { path: "same", content: "x" },
    { path: "device", content: "x" },
    { path: "metacopy", content: "whole" },
  ],
  [
    { path: "opaque", kind: "directory", mode: 0o755, ...steering("opaque") },
    { path: "redirect", kind: "directory", mode: 0o755, ...steering("redirect", "/bin") },
    { path: "same", content: "", ...steering("whiteout") },
    { path: "metacopy", content: "whole too", ...steering("metacopy", "") },
    { path: "origin", content: "x", ...steering("origin", "\0\xfb") },
    { path: "marked", kind: "directory", mode: 0o755, ...steering("whiteouts") },
    { path: "marked/inside", content: "x", ...steering("whiteout") },
    { path: "device", kind: "character", major: 0, minor: 0 },
  ],
];

const expected = [
  ...["./bin/busybox", "./marked/inside", "./metacopy", "./opaque/below", "./opaque/new", "./origin"],
  ...["./redirect/below", "./redirect/new", "./same"],
];

for (const kind of userKinds) {
  test(`attributes and devices of overlayfs in an image steer no container, as ${kind}`, async (t) => {
    const box = await emptyBox(kind);
    t.after(box.remove);
    writeLayout(
      join(box.scratch, "layout"),
      layers.map((layer) => tarOf(layer)),
    );
    await box.must(["import", `oci:${box.scratch}/layout`, "--name", "steering"]);
    await box.must(["create", "steering", "--name", "box"]);
    const script =
      "cd /; b=/bin/busybox; echo y >opaque/new; echo y >redirect/new; $b mv marked moved && $b mv moved marked; " +
      "$b find . -xdev -type f | $b sort; $b cat metacopy";
    const root = ["--root", "box", "/bin/busybox", "sh", "-c", script];
    const lines = (await box.must(["start", "--rw", ...root])).split("\n");
    assert.deepEqual(
      lines.filter((line) => line.startsWith("./") && !/^\.\/(dev|etc|proc|run|sys|tmp)\//.test(line)),
      expected,
    );
    assert.equal(lines.at(-1), "whole too");
    // And once more, above what the first start has changed.
    assert.match(await box.must(["start", "--root", "box", "/bin/busybox", "ls", "/redirect"]), /below\nnew/);
  });
}
