/** The page of `inspect --html`: one file without scripts from elsewhere, to be looked at rather than read. */
import { type HierarchyRectangularNode, hierarchy, treemap, treemapSquarify } from "d3-hierarchy";
import { escapeText, formatBytes } from "../base/text.ts";
import type { DirectoryReport } from "../image/inspect.ts";
import type { ImageReport } from "./inspect.ts";

/** A rectangle of the treemap: a directory, or the bytes of one layer directly in it. */
interface Cell {
  path: string;
  bytes: number;
  layer?: number;
  children?: Cell[];
}

const WIDTH = 1200;
const HEIGHT = 680;
/** Cells below this share of the whole cannot be seen: they are summed up. */
const LEAST_SHARE = 1 / 4000;

/** Colours that keep apart, also for the colour-blind (Okabe and Ito's eight, lightened for text on them). */
const COLOURS = ["#56b4e9", "#e69f00", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#7f8ec9", "#b0b0b0"];
const colourOf = (layer: number): string => COLOURS[layer % COLOURS.length] ?? "#b0b0b0";

const escapeHtml = (text: string): string =>
  escapeText(text).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);

function toCell(directory: DirectoryReport, path: string, least: number): Cell {
  const own = directory.own.flatMap((bytes, layer): Cell[] => (bytes > 0 ? [{ path, bytes, layer }] : []));
  const below = [...directory.children.values()].map((child) => toCell(child, `${path}${child.name}/`, least));
  const children = [...own, ...below];
  const bytes = children.reduce((sum, child) => sum + child.bytes, 0);
  if (bytes >= least) return { path, bytes, children: children.filter((child) => child.bytes > 0) };
  return { path, bytes, layer: largestLayer(children) };
}

/** The layer with the most bytes of a cell that is too small to be divided. */
function largestLayer(cells: readonly Cell[]): number {
  const byLayer = new Map<number, number>();
  for (const { layer = 0, bytes } of cells) byLayer.set(layer, (byLayer.get(layer) ?? 0) + bytes);
  return [...byLayer].sort((a, b) => b[1] - a[1])[0]?.[0] ?? 0;
}

function drawCell(node: HierarchyRectangularNode<Cell>): string {
  const { x0, y0, x1, y1, data } = node;
  const [width, height] = [x1 - x0, y1 - y0];
  if (width < 0.5 || height < 0.5) return "";
  const title = `<title>${escapeHtml(data.path)}: ${formatBytes(data.bytes)}${data.layer === undefined ? "" : `, layer ${data.layer}`}</title>`;
  const place = `x="${x0.toFixed(1)}" y="${y0.toFixed(1)}" width="${width.toFixed(1)}" height="${height.toFixed(1)}"`;
  if (data.layer !== undefined)
    return `<rect ${place} class="leaf l${data.layer}" fill="${colourOf(data.layer)}">${title}</rect>`;
  const name = data.path.split("/").at(-2) ?? "/";
  const fits = width > 40 && height > 24;
  const letters = Math.max(1, Math.floor(width / 6.5));
  const shown = name.length > letters ? `${name.slice(0, letters - 1)}…` : name;
  const label = fits ? `<text x="${(x0 + 3).toFixed(1)}" y="${(y0 + 11).toFixed(1)}">${escapeHtml(shown)}</text>` : "";
  return `<g><rect ${place} class="directory">${title}</rect>${label}</g>`;
}

function drawTreemap(report: ImageReport): string {
  const { inspection } = report;
  const cells = toCell(inspection.root, "/", inspection.bytes * LEAST_SHARE);
  const root = hierarchy(cells)
    .sum((cell) => (cell.children ? 0 : cell.bytes))
    .sort((a, b) => (b.value ?? 0) - (a.value ?? 0));
  const layout = treemap<Cell>()
    .tile(treemapSquarify)
    .size([WIDTH, HEIGHT])
    .paddingInner(1)
    .paddingOuter(2)
    .paddingTop(14);
  const drawn = layout(root).descendants().map(drawCell).join("");
  return `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="Sizes by directory and layer">${drawn}</svg>`;
}

function layerTable({ inspection }: ImageReport): string {
  const rows = inspection.layers.map(
    ({ index, label, stored, bytes, files, wasted }) =>
      `<tr data-layer="${index}"><td><span class="swatch" style="background:${colourOf(index)}"></span>${index}</td>` +
      `<td><code>${escapeHtml(label.slice(0, 40))}</code></td><td>${stored === undefined ? "–" : formatBytes(stored)}</td>` +
      `<td>${formatBytes(bytes)}</td><td>${files}</td><td>${wasted > 0 ? formatBytes(wasted) : "–"}</td></tr>`,
  );
  return `<table id="layers"><thead><tr><th>Layer</th><th></th><th>Stored</th><th>Files’ bytes</th><th>Files</th><th>Wasted</th></tr></thead><tbody>${rows.join("")}</tbody></table>`;
}

function wastedTable({ inspection }: ImageReport): string {
  if (inspection.wastedFiles.length === 0) return "<p>No layer overwrites or deletes what one below it brought.</p>";
  const rows = inspection.wastedFiles
    .slice(0, 25)
    .map(
      ({ path, layer, bytes }) =>
        `<tr><td>${formatBytes(bytes)}</td><td>${layer}</td><td><code>/${escapeHtml(path)}</code></td></tr>`,
    );
  return `<table><thead><tr><th>Wasted</th><th>Layer</th><th>File</th></tr></thead><tbody>${rows.join("")}</tbody></table>`;
}

const STYLE = `
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:1200px;padding:0 1rem;color:#1b1f24;background:#fff}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:1.8rem 0 .5rem}p{margin:.3rem 0}code{font:13px ui-monospace,monospace}
svg{width:100%;height:auto;display:block;margin:1rem 0;border-radius:4px}
svg .directory{fill:#f3f4f6;stroke:#9aa1ab;stroke-width:.6}svg .leaf{stroke:#fff;stroke-width:.4}svg .leaf:hover{opacity:.7}
svg text{font:10px system-ui,sans-serif;fill:#333;pointer-events:none}svg .dim{opacity:.12}
table{border-collapse:collapse}th{text-align:left;font-weight:600}td,th{padding:.25rem .9rem .25rem 0;border-bottom:1px solid #e3e6ea}
#layers tbody tr{cursor:pointer}#layers tr.chosen{background:#eef4fb}
.swatch{display:inline-block;width:.9em;height:.9em;border-radius:2px;margin-right:.5em;vertical-align:-.1em}
.facts b{font-weight:600}
@media(prefers-color-scheme:dark){body{background:#15181c;color:#e6e8eb}svg .directory{fill:#23272d;stroke:#4a525c}svg text{fill:#d5d8dc}td,th{border-color:#2c3138}#layers tr.chosen{background:#223044}}`;

/** A click on a layer of the table dims the bytes of the others. */
const SCRIPT = `
const rows=[...document.querySelectorAll('#layers tbody tr')];
for(const row of rows)row.addEventListener('click',()=>{
  const chosen=!row.classList.contains('chosen');
  for(const other of rows)other.classList.toggle('chosen',chosen&&other===row);
  for(const leaf of document.querySelectorAll('svg .leaf'))leaf.classList.toggle('dim',chosen&&!leaf.classList.contains('l'+row.dataset.layer));
});`;

/** The whole page. Names of the image are untrusted: every one is escaped. */
export function inspectPage(report: ImageReport): string {
  const { name, digest, platform, inspection } = report;
  const share =
    inspection.bytes + inspection.wasted > 0 ? (100 * inspection.wasted) / (inspection.bytes + inspection.wasted) : 0;
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>${escapeHtml(name)} – rootling inspect</title><style>${STYLE}</style></head><body>
<h1>${escapeHtml(name)}</h1>
<p><code>${escapeHtml(digest)}</code> · ${escapeHtml(platform)}</p>
<p class="facts"><b>${formatBytes(inspection.bytes)}</b> in ${inspection.files} files, ${inspection.layers.length} ${inspection.layers.length === 1 ? "layer" : "layers"}; <b>${formatBytes(inspection.wasted)}</b> wasted (${share.toFixed(1)} %)</p>
${drawTreemap(report)}
<h2>Layers</h2><p>A click on a layer shows where its bytes are.</p>${layerTable(report)}
<h2>Overwritten or deleted</h2>${wastedTable(report)}
<script>${SCRIPT}</script></body></html>
`;
}
