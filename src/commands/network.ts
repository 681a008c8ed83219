/** `rootling network`: the cables of all containers, as the kernel says. */
import { Failure } from "../base/errors.ts";
import { capture, requireProgram } from "../base/process.ts";
import { formatBytes, formatTable } from "../base/text.ts";
import { type CableMap, cableMap, type IpLink, namespacesOf, type ShownCable } from "../boot/cable-map.ts";
import { dotOfCables, drawCables } from "../boot/cable-picture.ts";
import { type Cli, newCommand, showJson } from "./cli.ts";

interface Options {
  json?: boolean;
  svg?: boolean;
  dot?: boolean;
}

export const define = (cli: Cli) =>
  newCommand("network", "Show the cables of all containers and what they hang on, as the kernel says.", [
    "rootling network",
    "rootling network --svg > cables.svg",
    "rootling network --dot | dot -Tpng > cables.png",
  ])
    .option("--json", "as JSON")
    .option("--svg", "as a picture")
    .option("--dot", "as a graph for Graphviz")
    .action(async ({ json, svg, dot }: Options) => {
      if ([json, svg, dot].filter(Boolean).length > 1) {
        throw new Failure("E_USAGE", "one of --json, --svg and --dot is enough", { mend: "leave out the others" });
      }
      const map = await readMap();
      cli.print(json ? showJson(map) : svg ? drawCables(map) : dot ? dotOfCables(map) : formatTable(rowsOf(map)));
    });

async function readLinks(ip: string, ...words: string[]): Promise<IpLink[]> {
  const text = await capture(ip, [...words, "-details", "-statistics", "-json", "address"]);
  // With nothing to show, it prints nothing.
  return JSON.parse(text.trim() || "[]") as IpLink[];
}

/** Throws E_PROGRAM without ip(8). */
export async function readMap(): Promise<CableMap> {
  const ip = requireProgram("ip", "iproute2");
  const links = await readLinks(ip);
  const inside = new Map<string, IpLink[]>();
  for (const name of namespacesOf(links)) {
    // Who is not root sees the host's ends alone; and it may be gone by now.
    const found = await readLinks(ip, "-netns", name).catch(() => undefined);
    if (found !== undefined) inside.set(name, found);
  }
  return cableMap(links, inside);
}

const HEAD = ["NAME", "HOST END", "STATE", "BRIDGE", "INSIDE", "ADDRESSES", "MAC", "MTU", "RECEIVED", "SENT"];

/** A heading, and a row for each cable. */
export const rowsOf = (map: CableMap): string[][] => [HEAD, ...map.cables.map((cable) => cellsOf(cable, map))];

function cellsOf({ name, host, inside, bridge, vlans, mtu, received, sent }: ShownCable, { bridges }: CableMap) {
  const hub = bridges.find((one) => one.interface === bridge);
  const above = hub === undefined ? host.addresses : [hub.interface, ...hub.addresses];
  return [
    name,
    [host, ...vlans].map((end) => end.interface).join(" "),
    host.state,
    above.join(" ") || "-",
    inside?.interface ?? "?",
    inside?.addresses.join(" ") || "-",
    inside?.mac ?? "-",
    String(mtu),
    formatBytes(received),
    formatBytes(sent),
  ];
}
