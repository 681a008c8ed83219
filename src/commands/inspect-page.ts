/** The page of `inspect --html`: one file without anything from elsewhere, to be looked at rather than read. */
import { escapeHtml, formatBytes } from "../base/text.ts";
import type { LayerReport, SizedFile } from "../image/inspect.ts";
import type { ImageReport } from "./inspect.ts";
import { colourOf, drawTreemap } from "./inspect-treemap.ts";

const LONGEST_STEP = 400;
const FILES_SHOWN = 25;

const percent = (part: number, whole: number): string => (whole === 0 ? "0" : ((100 * part) / whole).toFixed(1));

/** Kept and wasted bytes of a layer, beside those of the largest one. */
function layerBar({ index, bytes, wasted }: LayerReport, largest: number): string {
  const part = (kind: string, part: number) =>
    part === 0
      ? ""
      : `<i class="${kind}" style="width:${percent(part, largest)}%;background-color:${colourOf(index)}"></i>`;
  return `<div class="bar">${part("kept", bytes - wasted)}${part("wasted", wasted)}</div>`;
}

function layerTable({ inspection: { layers } }: ImageReport): string {
  const largest = Math.max(...layers.map(({ bytes }) => bytes));
  const rows = layers.map((layer) => {
    const { index, label, digest, stored, bytes, files, wasted, createdBy = "" } = layer;
    const about =
      createdBy === "" ? "" : `<br><span class="step">${escapeHtml(createdBy.slice(0, LONGEST_STEP))}</span>`;
    const cells = [
      stored === undefined ? "–" : formatBytes(stored),
      formatBytes(bytes),
      String(files),
      wasted > 0 ? formatBytes(wasted) : "–",
    ];
    return (
      `<tr data-layer="${index}" tabindex="0"><td><span class="swatch" style="background:${colourOf(index)}"></span>${index + 1}</td>` +
      `<td><code>${escapeHtml(digest?.slice(0, "sha256:".length + 12) ?? label)}</code>${about}</td>` +
      `${cells.map((cell) => `<td class="number">${cell}</td>`).join("")}<td>${layerBar(layer, largest)}</td></tr>`
    );
  });
  const head = ["Stored", "Files’ bytes", "Files", "Wasted"].map((name) => `<th class="number">${name}</th>`).join("");
  return `<table id="layers"><thead><tr><th>Layer</th><th></th>${head}<th>Kept and <span class="wasted">wasted</span></th></tr></thead><tbody>${rows.join("")}</tbody></table>`;
}

function fileTable(files: readonly SizedFile[]): string {
  const rows = files
    .slice(0, FILES_SHOWN)
    .map(
      ({ path, layer, bytes }) =>
        `<tr><td class="number">${formatBytes(bytes)}</td><td><span class="swatch" style="background:${colourOf(layer)}"></span>${layer + 1}</td>` +
        `<td><code>/${escapeHtml(path)}</code></td></tr>`,
    );
  return `<table><thead><tr><th class="number">Bytes</th><th>Layer</th><th>File</th></tr></thead><tbody>${rows.join("")}</tbody></table>`;
}

const STYLE = `
:root{color-scheme:light dark;--text:#1b1f24;--quiet:#5b6470;--page:#fff;--line:#e3e6ea;--cell:#f3f4f6;--edge:#9aa1ab;--chosen:#eaf2fb}
@media(prefers-color-scheme:dark){:root{--text:#e6e8eb;--quiet:#9aa3ae;--page:#15181c;--line:#2c3138;--cell:#23272d;--edge:#4a525c;--chosen:#223044}}
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:1200px;padding:0 1rem;color:var(--text);background:var(--page)}
h1{font-size:1.5rem;margin:0;overflow-wrap:anywhere}h2{font-size:1.1rem;margin:1.8rem 0 .5rem}p{margin:.3rem 0}
code{font:13px ui-monospace,monospace;overflow-wrap:anywhere}.quiet,.step{color:var(--quiet)}.step{font-size:13px;overflow-wrap:anywhere}
svg{width:100%;height:auto;display:block;margin:1rem 0 .3rem;border-radius:4px}
svg .directory{fill:var(--cell);stroke:var(--edge);stroke-width:.6}svg .leaf{stroke:none}svg .leaf:hover{opacity:.75}
svg text{font:11px system-ui,sans-serif;fill:var(--text);pointer-events:none}svg text.on{fill:#10161d}svg tspan{opacity:.65}
svg .dim,svg .dim+text,svg .dim+text+text{opacity:.12}
#here{min-height:1.45em;font-size:13px;overflow-wrap:anywhere}
.wide{overflow-x:auto}table{border-collapse:collapse}th{text-align:left;font-weight:600;white-space:nowrap}
td,th{padding:.3rem 1.1rem .3rem 0;border-bottom:1px solid var(--line);vertical-align:top}
.number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
#layers tbody tr{cursor:pointer}#layers tr.chosen{background:var(--chosen)}td:first-child{white-space:nowrap}
.swatch{display:inline-block;width:.9em;height:.9em;border-radius:2px;margin-right:.5em;vertical-align:-.1em}
.bar{display:flex;gap:1px;width:14rem;height:.9em;margin-top:.25em}.bar i{display:block;min-width:1px;border-radius:2px}
.wasted{background-image:repeating-linear-gradient(135deg,#0000 0 3px,#0006 3px 6px)}th .wasted{background-color:var(--edge);padding:0 .3em;border-radius:2px}`;

/** A layer that is chosen dims the bytes of the others; what the pointer is on is told below the picture. */
const SCRIPT = `
const rows=[...document.querySelectorAll('#layers tbody tr')];
const choose=row=>{
  const chosen=!row.classList.contains('chosen');
  for(const other of rows)other.classList.toggle('chosen',chosen&&other===row);
  for(const leaf of document.querySelectorAll('svg .leaf'))leaf.classList.toggle('dim',chosen&&!leaf.classList.contains('l'+row.dataset.layer));
};
for(const row of rows){
  row.addEventListener('click',()=>choose(row));
  row.addEventListener('keydown',event=>{if(event.key==='Enter'||event.key===' '){event.preventDefault();choose(row)}});
}
const here=document.getElementById('here'),hint=here.textContent;
document.querySelector('svg').addEventListener('mouseover',event=>{here.textContent=event.target.querySelector('title')?.textContent??hint});`;

/** The whole page. Names of the image are untrusted: every one is escaped. */
export function inspectPage(report: ImageReport): string {
  const { name, digest, platform, inspection } = report;
  const { bytes, wasted, files, layers, largestFiles, wastedFiles } = inspection;
  const share = percent(wasted, bytes + wasted);
  const nothing = "<p>No layer overwrites or deletes what one below it brought.</p>";
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>${escapeHtml(name)} – rootling inspect</title><style>${STYLE}</style></head><body>
<h1>${escapeHtml(name)}</h1>
<p class="quiet"><code>${escapeHtml(digest)}</code> · ${escapeHtml(platform)}</p>
<p><b>${formatBytes(bytes)}</b> in ${files} files, ${layers.length} ${layers.length === 1 ? "layer" : "layers"}; <b>${formatBytes(wasted)}</b> wasted (${share} %)</p>
${drawTreemap(inspection)}
<p id="here" class="quiet">Areas are bytes, colours are layers. Point at one to see what it is.</p>
<h2>Layers</h2><p class="quiet">Choose one to see where its bytes are.</p><div class="wide">${layerTable(report)}</div>
<h2>Overwritten or deleted</h2>${wastedFiles.length === 0 ? nothing : `<div class="wide">${fileTable(wastedFiles)}</div>`}
<h2>Largest files</h2><div class="wide">${fileTable(largestFiles)}</div>
<script>${SCRIPT}</script></body></html>
`;
}
