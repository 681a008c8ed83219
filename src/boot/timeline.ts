/** Where the time of a boot went, as a picture: from the executor's record (executor/timeline.c) to SVG. Pure. */
import { escapeText } from "../base/text.ts";
import { type Verb, verbTable } from "../plan/plan.ts";

/** A bar: what took from `begin` to `end`, in milliseconds since the first of them began. */
export interface Span {
  readonly name: string;
  /** More about it: who asked for it. */
  readonly about: string;
  readonly side: "node" | "outside" | "inside";
  readonly begin: number;
  readonly end: number;
}

export interface Timeline {
  /** Where the picture goes. */
  readonly file: string;
  /** When the payload was executed: the end of the picture. */
  readonly executed: number;
  readonly spans: readonly Span[];
}

/** Reads the record; undefined if it is not one. */
export function readTimeline(bytes: Buffer): Timeline | undefined {
  const [file, executed, count, ...rest] = bytes.toString("utf8").split("\0");
  const marks = rest.splice(0, Number(count));
  if (file === undefined || executed === undefined || !(marks.length > 0) || rest.pop() !== "") return undefined;
  const at = marks.map((text) => Number(text.split(" ")[0]));
  const zero = at[0] ?? 0;
  const since = (nanoseconds: number) => (nanoseconds - zero) / 1e6;
  const ops: Span[] = [];
  while (rest.length > 0) {
    const [verb = "", side = "", about = "", begin = "", end = "", fields = ""] = rest.splice(0, 6);
    if (!/^[0-9]+$/.test(fields) || rest.length < Number(fields)) return undefined;
    const given = rest.splice(0, Number(fields));
    // The last one does not come back: its program runs.
    const last = Number(end) === 0 ? executed : end;
    ops.push({
      name: label(verb, given),
      about,
      side: side === "inside" ? "inside" : "outside",
      begin: since(Number(begin)),
      end: since(Number(last)),
    });
  }
  const first = Math.min(...ops.map(({ begin }) => begin));
  const phases = marks.map((text, i): Span => {
    const end = at[i + 1];
    const name = text.slice(text.indexOf(" ") + 1);
    return {
      name,
      about: "before the executor",
      side: "node",
      begin: since(at[i] ?? 0),
      end: end === undefined ? first : since(end),
    };
  });
  return { file, executed: since(Number(executed)), spans: [...phases, ...ops] };
}

/** An op in a few words: what, and on what. Variables may hold what is nobody's business. */
function label(verb: string, fields: readonly string[]): string {
  if (verb === "environment") return verb;
  const named: readonly string[] = Object.hasOwn(verbTable, verb) ? verbTable[verb as Verb].fields : [];
  const target = fields[named.indexOf("target")];
  const first = fields[0] ?? "";
  return target === undefined || target === first ? `${verb} ${first}`.trimEnd() : `${verb} ${first} on ${target}`;
}

const WIDTH = 1060;
const LEFT = 290;
const RIGHT = 90;
const ROW = 18;
const HEAD = 64;
const COLORS = { node: "#6b7f99", outside: "#c98a2b", inside: "#2f7d6b" } as const;
const LEGEND = { node: "Node", outside: "executor, outside", inside: "executor, inside" } as const;

const xml = (text: string): string =>
  escapeText(text).replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);

const short = (text: string, most: number): string => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

const duration = (milliseconds: number): string =>
  milliseconds >= 1 ? `${milliseconds.toFixed(1)} ms` : `${Math.round(milliseconds * 1000)} µs`;

/** A step of 1, 2 or 5 times a power of ten, so that a scale has about eight. */
function stepOf(length: number): number {
  const rough = length / 8;
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * ([1, 2, 5].find((factor) => factor * power >= rough) ?? 10);
}

interface Scale {
  readonly from: number;
  readonly to: number;
}

const x = ({ from, to }: Scale, at: number): number => LEFT + ((at - from) / (to - from)) * (WIDTH - LEFT - RIGHT);

function axis(scale: Scale, top: number, height: number): string[] {
  const step = stepOf(scale.to - scale.from);
  const lines: string[] = [];
  for (let i = Math.ceil(scale.from / step); i * step <= scale.to; i++) {
    const at = x(scale, i * step).toFixed(1);
    const label = Number((i * step).toPrecision(6));
    lines.push(
      `<line x1="${at}" x2="${at}" y1="${top}" y2="${top + height}" class="grid"/>`,
      `<text x="${at}" y="${top - 5}" class="tick">${label} ms</text>`,
    );
  }
  return lines;
}

function rows(spans: readonly Span[], scale: Scale, top: number): string[] {
  return spans.flatMap(({ name, about, side, begin, end }, i) => {
    const y = top + i * ROW;
    const [from, to] = [x(scale, begin), x(scale, end)];
    const title = `<title>${xml(`${name}: ${duration(end - begin)}, from ${duration(begin)} on (${about})`)}</title>`;
    return [
      `<g>${title}`,
      `<text x="${LEFT - 10}" y="${y + 13}" class="name">${xml(short(name, 46))}</text>`,
      `<rect x="${from.toFixed(1)}" y="${y + 3}" width="${Math.max(1.5, to - from).toFixed(1)}" height="${ROW - 6}" fill="${COLORS[side]}"/>`,
      `<text x="${(Math.max(from + 1.5, to) + 5).toFixed(1)}" y="${y + 13}" class="time">${duration(end - begin)}</text>`,
      "</g>",
    ];
  });
}

/** What the executor did, under a glass: it takes a twentieth of the whole. */
function glass(whole: Scale, part: Scale, from: number, to: number): string {
  const points = [
    [x(whole, part.from), from],
    [x(whole, part.to), from],
    [WIDTH - RIGHT, to],
    [LEFT, to],
  ];
  return `<polygon class="glass" points="${points.map((point) => point.map((value = 0) => value.toFixed(1)).join(",")).join(" ")}"/>`;
}

/** The picture: above the whole, below the executor's part, step by step. */
export function drawTimeline({ executed, spans }: Timeline): string {
  const phases = spans.filter(({ side }) => side === "node");
  const ops = spans.filter(({ side }) => side !== "node");
  const whole: Scale = { from: 0, to: executed };
  const part: Scale = { from: Math.min(...ops.map(({ begin }) => begin)), to: executed };
  const all: Span = { name: "executor", about: "all its steps", side: "inside", begin: part.from, end: executed };
  const upper = [...phases, all];
  const lowerTop = HEAD + upper.length * ROW + 70;
  const height = lowerTop + ops.length * ROW + 24;
  const legend = (["node", "outside", "inside"] as const).map(
    (side, i) =>
      `<rect x="${LEFT + i * 150}" y="30" width="10" height="10" fill="${COLORS[side]}"/><text x="${LEFT + 15 + i * 150}" y="39" class="legend">${LEGEND[side]}</text>`,
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" font-family="system-ui, sans-serif" font-size="11">`,
    "<style>.name{text-anchor:end;fill:#222}.time,.tick,.legend{fill:#666}.tick{text-anchor:middle}.grid{stroke:#e6e6e6}.glass{fill:#2f7d6b;opacity:.1}</style>",
    `<rect width="${WIDTH}" height="${height}" fill="#fff"/>`,
    `<text x="${LEFT}" y="20" font-size="15" fill="#222">The payload was executed ${duration(executed)} after Node had begun; the executor took ${duration(executed - part.from)} of it</text>`,
    ...legend,
    ...axis(whole, HEAD, upper.length * ROW),
    ...rows(upper, whole, HEAD),
    glass(whole, part, HEAD + upper.length * ROW, lowerTop - 18),
    ...axis(part, lowerTop, ops.length * ROW),
    ...rows(ops, part, lowerTop),
    "</svg>",
    "",
  ].join("\n");
}
