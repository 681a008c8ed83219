/** What `rootling web` shows: by the functions of list, logs and network. */
import { fstatSync, readFileSync } from "node:fs";
import { errnoOf, Failure, fileFailure } from "../base/errors.ts";
import { drawCables } from "../boot/cable-picture.ts";
import { containerPaths, type Layout } from "../store/layout.ts";
import type { House, Seen, Usage } from "../web/sight.ts";
import { Meter } from "../web/usage.ts";
import { type Listed, listAll } from "./list.ts";
import { readLog } from "./logs.ts";
import { readMap, rowsOf } from "./network.ts";

const idOf = ({ row, run }: Listed): string => row.name ?? String(run?.pid);

const kindOf = ({ container }: Listed): Seen["kind"] =>
  container === undefined ? "sandbox" : container.subhost === undefined ? "container" : "subhost";

function seen(listed: Listed, usage: Usage | undefined): Seen {
  const { state, status, pid, started, image, command } = listed.row;
  const known = { id: idOf(listed), kind: kindOf(listed), state, status, pid, started, image, command };
  return usage === undefined ? known : { ...known, usage };
}

/** The first container or run of this id. Throws E_NOT_FOUND. */
export async function findListed(layout: Layout, id: string): Promise<Listed> {
  const found = (await listAll(layout, false)).find((listed) => idOf(listed) === id);
  if (found !== undefined) return found;
  throw new Failure("E_NOT_FOUND", `there is no container named ${id}, and nothing with this pid runs`, {
    mend: "see the list of containers",
  });
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw fileFailure(error, "reading what a start has left", path);
  }
}

/** What a line of executor/subhost.c says of a service: its name, and what became of it. */
const serviceOf = (line: string): string => line.replace(/ 0$/, ": started").replace(/^(\S+) (?=\S+$)/, "$1: ");

export function houseOf(layout: Layout): House {
  const meter = new Meter();
  const look = async (): Promise<Seen[]> => {
    const all = await listAll(layout, false);
    const taken = meter.measure(all.flatMap(({ run }) => run?.mark ?? []));
    return all.map((listed) => seen(listed, taken.get(listed.run?.mark ?? "")));
  };
  return {
    list: look,
    details: async (id) => {
      const { container } = await findListed(layout, id);
      const rows = (await look()).filter((row) => row.id === id);
      if (container === undefined) return { rows, services: [] };
      const paths = containerPaths(layout, container.name);
      const timeline = readIfThere(paths.timeline);
      const lines = (readIfThere(paths.services) ?? "").split("\n").filter((line) => line !== "" && line !== "up");
      return { rows, services: lines.map(serviceOf), ...(timeline === undefined ? {} : { timeline }) };
    },
    log: async (id, from, follow, signal, sink) => {
      const { container } = await findListed(layout, id);
      if (container === undefined) throw new Failure("E_NOT_FOUND", "what runs without a container has no log");
      // Characters may be split between two reads.
      const decoder = new TextDecoder();
      const begin = from < 0 ? (fd: number) => Math.max(0, fstatSync(fd).size + from) : from;
      await readLog(layout, id, { follow, older: false, from: begin, signal }, (bytes, next) =>
        sink(decoder.decode(bytes, { stream: true }), next),
      );
    },
    cables: async () => {
      const map = await readMap();
      return { picture: drawCables(map), rows: rowsOf(map) };
    },
  };
}
