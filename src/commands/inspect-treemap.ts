/** The picture of `inspect --html`: rectangles within rectangles, their areas by bytes, their colours by layer. */
import { type HierarchyRectangularNode, hierarchy, treemap, treemapSquarify } from "d3-hierarchy";
import { escapeHtml, formatBytes } from "../base/text.ts";
import type { DirectoryReport, Inspection, SizedFile } from "../image/inspect.ts";

/** A rectangle: a directory, a large file, or the other files of one layer directly in a directory. */
interface Cell {
  path: string;
  name: string;
  bytes: number;
  /** Of a cell that is not divided further. */
  layer?: number;
  children?: Cell[];
}

const WIDTH = 1200;
const HEIGHT = 680;
/** Cells below this share of the whole cannot be seen: they are summed up. */
const LEAST_SHARE = 1 / 4000;
/** Where a directory has room for its name: the least width and height, and what the name takes of the latter. */
const NAMED = { width: 34, height: 34, line: 15 } as const;
/** An estimate, since nothing is measured here: of the fonts' widths, the widest that is usual. */
const LETTER = 6.2;

/** Colours that keep apart, also for the colour-blind (Okabe and Ito's eight, lightened for text on them). */
const COLOURS = ["#56b4e9", "#e69f00", "#2fb58d", "#f0e442", "#d793b8", "#e8803c", "#95a1da", "#b8b8b8"];
export const colourOf = (layer: number): string => COLOURS[layer % COLOURS.length] ?? "#b8b8b8";

/** The picture as SVG. Names of the image are untrusted: every one is escaped. */
export function drawTreemap(inspection: Inspection): string {
  const cells = toCell(inspection.root, "/", filesByDirectory(inspection), inspection.bytes * LEAST_SHARE);
  const root = hierarchy(cells)
    .sum((cell) => (cell.children ? 0 : cell.bytes))
    .sort((a, b) => (b.value ?? 0) - (a.value ?? 0));
  const layout = treemap<Cell>()
    .tile(treemapSquarify)
    .size([WIDTH, HEIGHT])
    .paddingInner(1)
    .paddingOuter(2)
    .paddingTop((node) => (isNamed(node) ? NAMED.line : 2));
  const drawn = layout(root).descendants().map(drawCell).join("");
  return `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="Sizes by directory and layer">${drawn}</svg>`;
}

function filesByDirectory({ largestFiles }: Inspection): Map<string, SizedFile[]> {
  const found = new Map<string, SizedFile[]>();
  for (const file of largestFiles) {
    const directory = `/${file.path.slice(0, file.path.lastIndexOf("/") + 1)}`;
    found.set(directory, [...(found.get(directory) ?? []), file]);
  }
  return found;
}

function toCell(directory: DirectoryReport, path: string, files: Map<string, SizedFile[]>, least: number): Cell {
  const below = [...directory.children.values()].map((child) => toCell(child, `${path}${child.name}/`, files, least));
  const children = [...ownCells(directory, path, files, least), ...below].filter(({ bytes }) => bytes > 0);
  const bytes = children.reduce((sum, child) => sum + child.bytes, 0);
  const { name } = directory;
  if (bytes >= least) return { path, name, bytes, children };
  return { path, name, bytes, layer: largestLayer(children) };
}

/** The files directly in a directory: each one that can be seen, and the others together. */
function ownCells(directory: DirectoryReport, path: string, files: Map<string, SizedFile[]>, least: number): Cell[] {
  const rest = [...directory.own];
  const shown = (files.get(path) ?? []).filter(({ bytes }) => bytes >= least);
  const cells = shown.map(({ path: file, bytes, layer }): Cell => {
    rest[layer] = (rest[layer] ?? 0) - bytes;
    return { path: `/${file}`, name: file.slice(file.lastIndexOf("/") + 1), bytes, layer };
  });
  const others = (bytes: number, layer: number): Cell => ({ path: `${path}…`, name: "…", bytes, layer });
  // Sparse: a layer that brought nothing is no element.
  return [...cells, ...rest.map((bytes = 0, layer) => others(bytes, layer))];
}

/** The layer with the most bytes of a cell that is too small to be divided. */
function largestLayer(cells: readonly Cell[]): number {
  const byLayer = new Map<number, number>();
  for (const { layer = 0, bytes } of cells) byLayer.set(layer, (byLayer.get(layer) ?? 0) + bytes);
  return [...byLayer].sort((a, b) => b[1] - a[1])[0]?.[0] ?? 0;
}

type Node = HierarchyRectangularNode<Cell>;

const isNamed = ({ x0, y0, x1, y1 }: Node): boolean => x1 - x0 >= NAMED.width && y1 - y0 >= NAMED.height;

function drawCell(node: Node): string {
  const { x0, y0, x1, y1, data } = node;
  const [width, height] = [x1 - x0, y1 - y0];
  if (width < 0.5 || height < 0.5) return "";
  const size = formatBytes(data.bytes);
  const layer = data.layer === undefined ? "" : `, layer ${data.layer + 1}`;
  const title = `<title>${escapeHtml(data.path)}: ${size}${layer}</title>`;
  const place = `x="${x0.toFixed(1)}" y="${y0.toFixed(1)}" width="${width.toFixed(1)}" height="${height.toFixed(1)}"`;
  if (data.layer === undefined) {
    const name = isNamed(node) ? write(x0 + 4, y0 + 11, width - 6, data.name, size) : "";
    return `<rect ${place} class="directory">${title}</rect>${name}`;
  }
  const rectangle = `<rect ${place} class="leaf l${data.layer}" fill="${colourOf(data.layer)}">${title}</rect>`;
  if (data.name === "…" || width < NAMED.width || height < NAMED.line) return rectangle;
  // The size below the name, where there is room, else behind it.
  if (height < 2 * NAMED.line) return rectangle + write(x0 + 4, y0 + 11, width - 6, data.name, size, "on");
  // A size that is cut would be another one.
  const fits = size.length * LETTER <= width - 6;
  const below = fits ? write(x0 + 4, y0 + 24, width - 6, size, "", "on") : "";
  return rectangle + write(x0 + 4, y0 + 11, width - 6, data.name, "", "on") + below;
}

/** A name, shortened to the width, and what is said of it where there is room for that as well. */
function write(x: number, y: number, width: number, name: string, about: string, kind = ""): string {
  const letters = Math.max(1, Math.floor(width / LETTER));
  const shown = name.length > letters ? `${name.slice(0, letters - 1)}…` : name;
  const more = about !== "" && name.length + about.length + 1 <= letters ? ` <tspan>${about}</tspan>` : "";
  const place = `x="${x.toFixed(1)}" y="${y.toFixed(1)}"`;
  return `<text ${place}${kind === "" ? "" : ` class="${kind}"`}>${escapeHtml(shown)}${more}</text>`;
}
