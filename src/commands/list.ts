/** `rootling list`: containers, and what runs without one. */

import { formatBytes, formatTable } from "../base/text.ts";
import { type Container, lastEnd, listContainers, partsOf } from "../store/containers.ts";
import { type Layout, runtimePaths } from "../store/layout.ts";
import { listRuns, type Run } from "../store/runs.ts";
import { bytesOn } from "../store/trees.ts";
import { type Cli, newCommand, showJson } from "./cli.ts";

export interface Row {
  name: string | null;
  state: "running" | "exited" | "stopped";
  /** Of the last detached start, once that has ended. */
  status: number | null;
  pid: number | null;
  started: string | null;
  ended: string | null;
  image: string;
  /** Bytes that the container's changes take; only where they were asked for. */
  size?: number;
  command: readonly string[];
}

interface Options {
  json?: boolean;
  size?: boolean;
}

export const define = (cli: Cli) =>
  newCommand("list", "List containers, and running sandboxes that have none.", [
    "rootling list",
    "rootling list --size",
    "rootling list --json",
  ])
    .option("-s, --size", "show the space that their changes take")
    .option("--json", "as JSON")
    .action(async ({ json, size }: Options) => {
      const rows = (await listAll(cli.layout, size ?? false)).map(({ row }) => row);
      if (json) return cli.print(showJson(rows));
      const head = ["NAME", "STATE", "PID", "STARTED (UTC)", ...(size ? ["SIZE"] : []), "IMAGE", "COMMAND"];
      cli.print(formatTable([head, ...rows.map((row) => cellsOf(row, size ?? false))]));
    });

const cellsOf = (row: Row, size: boolean): string[] => [
  row.name ?? "-",
  row.status === null ? row.state : `${row.state} (${row.status})`,
  row.pid === null ? "-" : String(row.pid),
  row.started?.slice(0, 19).replace("T", " ") ?? "-",
  ...(size ? [row.size === undefined ? "-" : formatBytes(row.size)] : []),
  row.image,
  row.command.join(" ").slice(0, 60) || "-",
];

const rowOfRun = (name: string | null, { pid, started, image, command }: Run): Row => ({
  name,
  state: "running",
  status: null,
  pid,
  started,
  ended: null,
  image,
  command,
});

/** A row, and what it stands for. */
export interface Listed {
  readonly row: Row;
  readonly run?: Run;
  readonly container?: Container;
}

async function rowsOf(layout: Layout, container: Container, withSize: boolean): Promise<Listed[]> {
  const { name, image, form, runs } = container;
  const { upper, root } = partsOf(layout, container);
  const size = withSize ? { size: await bytesOn(layout, form === "copied" ? root : upper) } : {};
  if (runs.length > 0)
    return runs.map((run) => ({ run, container, row: { ...rowOfRun(name, run), image: image.name, ...size } }));
  const end = lastEnd(layout, name);
  const state = end === undefined ? "stopped" : "exited";
  const [status, ended] = [end?.status ?? null, end?.ended ?? null];
  const row: Row = { name, state, status, pid: null, started: null, ended, image: image.name, ...size, command: [] };
  return [{ container, row }];
}

/** All containers, a row for each start of them that runs, and all that runs without one. */
export async function listAll(layout: Layout, withSize: boolean): Promise<Listed[]> {
  const rows: Listed[] = [];
  for (const container of listContainers(layout)) rows.push(...(await rowsOf(layout, container, withSize)));
  for (const run of listRuns(runtimePaths(layout).runs)) rows.push({ run, row: rowOfRun(null, run) });
  return rows;
}
