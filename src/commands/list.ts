/** `rootling list`: containers, and what runs without one. */
import { formatTable } from "../base/text.ts";
import { listContainers } from "../store/containers.ts";
import { runtimePaths } from "../store/layout.ts";
import { listRuns } from "../store/runs.ts";
import { type Cli, newCommand, showJson } from "./cli.ts";

interface Row {
  name: string | null;
  state: "running" | "stopped";
  pid: number | null;
  started: string | null;
  image: string;
  command: readonly string[];
}

export const define = (cli: Cli) =>
  newCommand("list", "List containers, and running sandboxes that have none.", [
    "rootling list",
    "rootling list --json",
  ])
    .option("--json", "as JSON")
    .action(({ json }: { json?: boolean }) => {
      const rows = readRows(cli);
      if (json) return cli.print(showJson(rows));
      const cells = rows.map(({ name, state, pid, started, image, command }) => [
        name ?? "-",
        state,
        pid === null ? "-" : String(pid),
        started?.slice(0, 19).replace("T", " ") ?? "-",
        image,
        command.join(" ").slice(0, 60) || "-",
      ]);
      cli.print(formatTable([["NAME", "STATE", "PID", "STARTED (UTC)", "IMAGE", "COMMAND"], ...cells]));
    });

function readRows(cli: Cli): Row[] {
  const rows: Row[] = [];
  for (const { name, image, runs } of listContainers(cli.layout)) {
    if (runs.length === 0)
      rows.push({ name, state: "stopped", pid: null, started: null, image: image.name, command: [] });
    for (const { pid, started, command } of runs)
      rows.push({ name, state: "running", pid, started, image: image.name, command });
  }
  for (const { pid, started, image, command } of listRuns(runtimePaths(cli.layout).runs)) {
    rows.push({ name: null, state: "running", pid, started, image, command });
  }
  return rows;
}
