/** The map of cables as pictures: SVG, and the language of Graphviz. Pure. */
import { escapeText, formatBytes } from "../base/text.ts";
import type { CableEnd, CableMap, ShownBridge, ShownCable } from "./cable-map.ts";

const xml = (text: string): string =>
  escapeText(text).replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);

/** A string of Graphviz: within quotes, where a backslash begins an escape. */
const dotText = (text: string): string => `"${escapeText(text).replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;

const UP = "#2f7d6b";
const DOWN = "#a0a0a0";
const colorOf = ({ state }: CableEnd): string => (state === "up" ? UP : DOWN);

/** In pixels. */
const WIDTH = 960;
const PORT = { x: 20, width: 130 } as const;
const HUB = { x: 200, width: 230 } as const;
const GUEST = { x: 640, width: 300 } as const;
const LINE = 17;
const HEAD = 26;
const GAP = 22;
const TOP = 60;

interface Box {
  readonly title: string;
  readonly lines: readonly string[];
  readonly top: number;
  readonly height: number;
}

const box = (title: string, lines: readonly string[], top: number): Box => ({
  title,
  lines,
  top,
  height: HEAD + Math.max(1, lines.length) * LINE + 6,
});

const bottomOf = (boxes: readonly Box[]): number => {
  const last = boxes.at(-1);
  return last === undefined ? TOP : last.top + last.height + GAP;
};

/** A hub is a bridge, or the host itself, to which cables without a bridge lead. */
interface Hub {
  readonly bridge: ShownBridge | undefined;
  readonly cables: readonly ShownCable[];
}

function hubsOf({ cables, bridges }: CableMap): Hub[] {
  const alone = cables.filter(({ bridge }) => bridge === null);
  return [
    ...bridges.map((bridge) => ({ bridge, cables: cables.filter((one) => one.bridge === bridge.interface) })),
    ...(alone.length > 0 ? [{ bridge: undefined, cables: alone }] : []),
  ];
}

const titleOf = ({ bridge }: Hub): string => (bridge === undefined ? "host" : `bridge ${bridge.interface}`);

const aboutHub = ({ bridge }: Hub): string[] =>
  bridge === undefined
    ? []
    : [...bridge.addresses, ...(bridge.onDemand ? ["made for cables"] : []), bridge.state === "up" ? "up" : "down"];

const aboutEnd = (end: CableEnd): string => [end.interface, ...end.addresses].join(" ");

const draw = ({ title, lines, top, height }: Box, at: { x: number; width: number }, color: string): string =>
  [
    `<rect x="${at.x}" y="${top}" width="${at.width}" height="${height}" rx="5" fill="#fff" stroke="${color}"/>`,
    `<text x="${at.x + 10}" y="${top + 18}" class="title">${xml(title)}</text>`,
    ...lines.map(
      (line, i) => `<text x="${at.x + 10}" y="${top + HEAD + 13 + i * LINE}" class="line">${xml(short(line))}</text>`,
    ),
  ].join("\n");

const short = (text: string): string => (text.length > 46 ? `${text.slice(0, 45)}…` : text);

/** Where the n-th cable ends at a box. */
const lineAt = ({ top }: Box, index: number): number => top + HEAD + 8 + index * LINE;

function curve(from: number, to: number, cable: ShownCable): string {
  const [x1, x2] = [HUB.x + HUB.width, GUEST.x];
  const middle = (x1 + x2) / 2;
  const dashes = cable.host.state === "up" ? "" : ' stroke-dasharray="5 4"';
  const vlans = cable.vlans.map((one) => one.interface.slice(cable.host.interface.length)).join(" ");
  const about = `${cable.host.interface}: ${formatBytes(cable.received)} from inside, ${formatBytes(cable.sent)} to it, MTU ${cable.mtu}, ${cable.inside?.mac ?? "inside not seen"}`;
  return [
    `<g><title>${xml(about)}</title>`,
    `<path d="M${x1} ${from}C${middle} ${from} ${middle} ${to} ${x2} ${to}" fill="none" stroke="${colorOf(cable.host)}" stroke-width="2"${dashes}/>`,
    `<text x="${x2 - 8}" y="${to - 5}" class="cable">${xml([cable.host.interface, vlans].join(" ").trim())}</text></g>`,
  ].join("\n");
}

/** The boxes of hubs, each high enough for its cables. */
function placeHubs(hubs: readonly Hub[]): Box[] {
  const placed: Box[] = [];
  for (const hub of hubs) {
    const own = box(titleOf(hub), aboutHub(hub), bottomOf(placed));
    const ports = hub.bridge?.ports.length ?? 0;
    const height = Math.max(own.height, HEAD + Math.max(hub.cables.length, ports * 2) * LINE + 6);
    placed.push({ ...own, height });
  }
  return placed;
}

/** The machine's own ports of a bridge, at its left. */
function drawPorts({ bridge }: Hub, { top }: Box): string[] {
  return (bridge?.ports ?? []).flatMap((port, index) => {
    const y = top + 4 + index * LINE * 2;
    return [
      `<rect x="${PORT.x}" y="${y}" width="${PORT.width}" height="24" rx="5" fill="#fff" stroke="${colorOf(port)}"/>`,
      `<text x="${PORT.x + 10}" y="${y + 16}" class="line">${xml(port.interface)}</text>`,
      `<path d="M${PORT.x + PORT.width} ${y + 12}H${HUB.x}" stroke="${colorOf(port)}" stroke-width="2"/>`,
    ];
  });
}

/** The picture as SVG. What is inside a container may have names of its own choice: all are escaped. */
export function drawCables(map: CableMap): string {
  const hubs = hubsOf(map);
  const names = [...new Set(map.cables.map(({ name }) => name))];
  const hubBoxes = placeHubs(hubs);
  const guests: Box[] = [];
  for (const name of names) {
    const own = map.cables.filter((cable) => cable.name === name);
    const lines = own.map(({ inside }) => (inside === null ? "not seen" : aboutEnd(inside)));
    guests.push(box(name, lines, bottomOf(guests)));
  }
  const drawn = hubs.flatMap((hub, at) => {
    const hubBox = hubBoxes[at] as Box;
    return hub.cables.map((cable, index) => {
      const guest = guests[names.indexOf(cable.name)] as Box;
      const own = map.cables.filter(({ name }) => name === cable.name);
      return curve(lineAt(hubBox, index), lineAt(guest, own.indexOf(cable)), cable);
    });
  });
  const height = Math.max(bottomOf(hubBoxes), bottomOf(guests), TOP + 40);
  const said =
    map.cables.length === 0
      ? "No cables"
      : `${map.cables.length} cable${map.cables.length === 1 ? "" : "s"} of ${names.length} container${names.length === 1 ? "" : "s"}`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" font-family="system-ui, sans-serif" font-size="12" role="img" aria-label="${said}">`,
    "<style>.title{font-weight:600;fill:#222}.line{fill:#444}.cable{text-anchor:end;fill:#666;font-size:11px;paint-order:stroke;stroke:#fafafa;stroke-width:4px}</style>",
    `<rect width="${WIDTH}" height="${height}" fill="#fafafa"/>`,
    `<text x="20" y="32" font-size="15" fill="#222">${said}</text>`,
    ...drawn,
    ...hubs.flatMap((hub, at) => drawPorts(hub, hubBoxes[at] as Box)),
    ...hubBoxes.map((one, at) => draw(one, HUB, hubs[at]?.bridge?.state === "down" ? DOWN : "#6b7f99")),
    ...guests.map((one) => draw(one, GUEST, "#c98a2b")),
    "</svg>",
  ].join("\n");
}

/** The same for Graphviz: `rootling network --dot | dot -Tpng`. */
export function dotOfCables(map: CableMap): string {
  const hubs = hubsOf(map);
  const names = [...new Set(map.cables.map(({ name }) => name))];
  return [
    "graph cables {",
    "  rankdir=LR; node [shape=box];",
    ...hubs.flatMap((hub) => [
      `  ${dotText(titleOf(hub))} [label=${dotText([titleOf(hub), ...aboutHub(hub)].join(", "))}];`,
      ...(hub.bridge?.ports ?? []).map(
        (port) => `  ${dotText(`port ${port.interface}`)} [label=${dotText(port.interface)}];`,
      ),
      ...(hub.bridge?.ports ?? []).map((port) => `  ${dotText(`port ${port.interface}`)} -- ${dotText(titleOf(hub))};`),
    ]),
    ...names.map((name) => `  ${dotText(`container ${name}`)} [label=${dotText(name)}, style=rounded];`),
    ...hubs.flatMap((hub) =>
      hub.cables.map(({ name, host, inside, vlans }) => {
        const head = [host, ...vlans].map((one) => one.interface).join(", ");
        const tail = inside === null ? "" : aboutEnd(inside);
        const style = host.state === "up" ? "" : ", style=dashed";
        return `  ${dotText(titleOf(hub))} -- ${dotText(`container ${name}`)} [taillabel=${dotText(head)}, headlabel=${dotText(tail)}${style}];`;
      }),
    ),
    "}",
  ].join("\n");
}
