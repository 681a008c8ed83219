/** What `rootling inspect` shows of a container or a subhost: where its parts lie, and what became of it. */
import { readFileSync } from "node:fs";
import { errnoOf, fileFailure } from "../base/errors.ts";
import { escapeText, formatTable } from "../base/text.ts";
import { type Container, type ContainerRecord, lastEnd, partsOf, type SubhostRecord } from "../store/containers.ts";
import { containerPaths, type Layout } from "../store/layout.ts";
import { listSnapshots } from "../store/snapshots.ts";

export interface ContainerReport {
  name: string;
  kind: "container" | "subhost";
  state: "running" | "exited" | "stopped";
  /** Of the last detached start, once that has ended. */
  status: number | null;
  /** ISO 8601 time. */
  created: string;
  /** ISO 8601 time; null while it runs. */
  ended: string | null;
  image: ContainerRecord["image"];
  /** The id map that it was made for. */
  map: string | null;
  /** As a subhost was last booted. */
  subhost: (Pick<SubhostRecord, "conf" | "variant" | "lower"> & { userns: boolean }) | null;
  /** Absolute paths. */
  paths: { upper: string; work: string; log: string };
  snapshots: readonly string[];
  /** Of the last boot; a status, or `missing`, `late` or `unit`. */
  services: readonly { name: string; status: number | string }[];
  runs: readonly { pid: number; inside: number; started: string; user: string; command: readonly string[] }[];
}

export function containerReport(layout: Layout, container: Container): ContainerReport {
  const { name, image, map, subhost, created, runs } = container;
  const { upper, root, work, log } = partsOf(layout, container);
  const end = runs.length > 0 ? undefined : lastEnd(layout, name);
  return {
    name,
    kind: subhost === undefined ? "container" : "subhost",
    state: runs.length > 0 ? "running" : end === undefined ? "stopped" : "exited",
    status: end?.status ?? null,
    created,
    ended: end?.ended ?? null,
    image,
    map: map?.words ?? null,
    subhost: subhost === undefined ? null : bootedWith(subhost),
    paths: { upper: container.form === "copied" ? root : upper, work, log },
    snapshots: listSnapshots(layout, container).map((snapshot) => snapshot.name),
    services: subhost === undefined ? [] : servicesOf(containerPaths(layout, name).services),
    runs: runs.map(({ pid, inside, started, user, command }) => ({ pid, inside: inside.pid, started, user, command })),
  };
}

const bootedWith = ({ conf, variant, lower, userns }: SubhostRecord) => ({
  ...{ conf, variant, lower },
  userns: userns === true,
});

/** Each line is a name and what became of it; `up` follows the last. */
function servicesOf(file: string): ContainerReport["services"] {
  try {
    const lines = readFileSync(file, "utf8")
      .split("\n")
      .filter((line) => line.includes(" "));
    return lines.map((line) => {
      const [name = "", what = ""] = line.split(" ");
      return { name, status: /^[0-9]+$/.test(what) ? Number(what) : what };
    });
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return [];
    throw fileFailure(error, "reading what became of the services", file);
  }
}

const time = (iso: string): string => `${iso.slice(0, 19).replace("T", " ")} UTC`;

export function containerText(report: ContainerReport): string {
  const { name, kind, state, status, ended, subhost, image, paths, snapshots, services, runs } = report;
  const facts: [string, string][] = [
    ["name", name],
    ["kind", kind],
    ["state", `${state}${status === null ? "" : ` (${status})`}${ended === null ? "" : `, ${time(ended)}`}`],
    ["created", time(report.created)],
    ...(subhost === null
      ? ([["image", `${image.name} ${image.digest}`]] as [string, string][])
      : ([
          ["configured", subhost.conf],
          ["root", subhost.variant === "overlay" ? `overlay over ${subhost.lower}` : subhost.variant],
          ["user ids", subhost.userns ? "of a user namespace" : "the host's"],
        ] as [string, string][])),
    ...(report.map === null ? [] : ([["id map", report.map]] as [string, string][])),
    ["own files", paths.upper],
    ["log", paths.log],
    ["snapshots", snapshots.join(" ") || "-"],
    ...services.map((one): [string, string] => [
      `service`,
      `${one.name}: ${one.status === 0 ? "started" : one.status}`,
    ]),
  ];
  const rows = runs.map((run) => [
    ...[String(run.pid), String(run.inside), time(run.started), run.user || "-"],
    run.command.join(" ").slice(0, 60) || "-",
  ]);
  return [
    ...facts.map(([label, value]) => `${`${label}:`.padEnd(13)}${escapeText(value)}`),
    ...(rows.length === 0 ? [] : ["", formatTable([["PID", "INSIDE", "STARTED", "USER", "COMMAND"], ...rows])]),
  ].join("\n");
}
