/** `inspect`: sizes, waste, and the page in a real browser. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { emptyBox } from "./support/boxes.ts";
import { must } from "./support/command.ts";
import { ImageLayout, layeredImage } from "./support/images.ts";

/** Three layers: `keep` stays; `twice` is overwritten; `gone` is deleted. */
const layers = [
  [
    { name: "srv/", type: "directory" as const },
    { name: "srv/keep", content: "k".repeat(1000) },
    { name: "srv/twice", content: "1".repeat(500) },
    { name: "srv/gone", content: "g".repeat(200) },
    { name: "srv/<script>alert(1)", content: "g".repeat(300) },
  ],
  [{ name: "srv/twice", content: "2".repeat(700) }],
  [
    { name: "srv/.wh.gone", content: "" },
    { name: "etc/x", content: "x".repeat(100) },
  ],
];

test("layers, sizes and waste; the page draws them and runs no script of the image's", async (t) => {
  const box = await emptyBox("plain");
  t.after(box.remove);
  const layout = await ImageLayout.create(join(box.scratch, "layout"));
  await layeredImage(layout, "three", box.scratch, layers);
  await must(["chmod", "-R", "a+rX", layout.directory]);
  const nothing = await box.run(["inspect", "nothing"]);
  assert.match(nothing.stderr, /no image and no container is named nothing \[E_NOT_FOUND\]/);
  const source = `oci:${layout.reference("three")}`;

  const report = JSON.parse(await box.must(["inspect", source, "--json"]));
  assert.equal(report.bytes, 1000 + 700 + 100 + 300);
  assert.equal(report.wasted, 700);
  assert.deepEqual(
    report.layers.map(({ bytes, wasted }: { bytes: number; wasted: number }) => [bytes, wasted]),
    [
      [2000, 700],
      [700, 0],
      [100, 0],
    ],
  );
  assert.deepEqual(report.wastedFiles, [
    { path: "srv/twice", layer: 0, bytes: 500 },
    { path: "srv/gone", layer: 0, bytes: 200 },
  ]);

  assert.deepEqual(
    report.largestFiles.map(({ path, layer }: { path: string; layer: number }) => [path, layer]),
    [
      ["srv/keep", 0],
      ["srv/twice", 1],
      ["srv/<script>alert(1)", 0],
      ["etc/x", 2],
    ],
  );
  assert.match(report.layers[0].createdBy, /umoci/);

  const page = join(box.user.home, "page.html");
  await box.must(["inspect", source, "--html", page]);
  const text = readFileSync(page, "utf8");
  assert.ok(!text.includes("<script>alert"), "names are escaped");
  assert.ok(!/(src|href)=/.test(text), "the page is whole in itself");
  const browser = [
    ...["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
    ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
    ...[`--user-data-dir=${join(box.scratch, "browser")}`, "--virtual-time-budget=2000"],
  ];
  // A click on the first layer: the bytes of the others are dimmed.
  const clicked = text.replace(
    "</body>",
    "<script>document.querySelector('#layers tbody tr').click();" +
      "document.querySelector('svg .l2').dispatchEvent(new Event('mouseover',{bubbles:true}))</script></body>",
  );
  const copy = join(box.scratch, "clicked.html");
  await must(["sh", "-c", 'cat >"$1"', "sh", copy], { input: clicked });
  const dom = await must([...browser, "--dump-dom", pathToFileURL(copy).href]);
  assert.match(dom, /<tr data-layer="0" tabindex="0" class="chosen">/);
  assert.equal(dom.match(/class="leaf l1 dim"/g)?.length, 1);
  assert.equal(dom.match(/class="leaf l0"/g)?.length, 2);
  assert.match(dom, /<p id="here"[^>]*>\/etc\/x: 100 B, layer 3</);
  assert.match(dom, /<i class="wasted" style="width: ?35\.0%/);
  assert.match(dom, /<rect[^>]*class="directory"><title>\/srv\//);
  const picture = join(box.scratch, "page.png");
  await must([...browser, `--screenshot=${picture}`, "--window-size=1280,1200", pathToFileURL(page).href]);
  assert.ok(readFileSync(picture).length > 10_000, "something was drawn");
});
