/** `rootling info`: the settings in force, and what takes how much space. */
import { existsSync, statfsSync } from "node:fs";
import type { Context } from "../base/context.ts";
import { settingsOf, variableOf } from "../base/settings.ts";
import { formatBytes, formatTable } from "../base/text.ts";
import { listContainers, partsOf } from "../store/containers.ts";
import { listImages } from "../store/images.ts";
import type { Layout } from "../store/layout.ts";
import { bytesOn } from "../store/trees.ts";
import { type Cli, newCommand, showJson } from "./cli.ts";

interface Options {
  disk?: boolean;
  json?: boolean;
}

export const define = (cli: Cli) =>
  newCommand("info", "Show the settings in force; with --disk what takes how much space.", [
    "rootling info",
    "rootling info --disk",
    "rootling info --disk --json",
  ])
    .option("--disk", "show the space that images, containers and downloads take")
    .option("--json", "as JSON")
    .action(async ({ disk, json }: Options) => {
      const context = cli.context("none");
      if (!disk) return cli.print(json ? showJson(settingsInForce(context)) : settingsText(context));
      const usage = await diskUsage(cli.layout);
      cli.print(json ? showJson(usage) : usageText(usage));
    });

const settingsInForce = ({ settings }: Context): Record<string, unknown> =>
  Object.fromEntries(settingsOf(settings.program).map(({ name }) => [name, settings[name]]));

const shown = (value: unknown): string => (typeof value === "boolean" ? (value ? "yes" : "no") : String(value));

/** The settings of the name that we go by, and what each came to. */
export function settingsText({ settings }: Context): string {
  const { program } = settings;
  const rows = settingsOf(program).map(({ name, about }) => [variableOf(program, name), shown(settings[name]), about]);
  return formatTable([["SETTING", "VALUE", "ABOUT"], ...rows]);
}

interface Usage {
  images: { bytes: number; count: number };
  containers: { name: string; bytes: number }[];
  downloads: { bytes: number };
  /** Squashfs files that `importer get` made. */
  squashfs: { bytes: number };
  /** Uppers of ephemeral containers that are on disk, and unfinished writes. */
  temporary: { bytes: number };
  free: number;
}

async function diskUsage(layout: Layout): Promise<Usage> {
  const containers: Usage["containers"] = [];
  for (const container of listContainers(layout))
    containers.push({ name: container.name, bytes: await bytesOn(layout, partsOf(layout, container).upper) });
  const { bavail, bsize } = statfsSync(existsSync(layout.images) ? layout.images : "/");
  return {
    images: { bytes: await bytesOn(layout, layout.images), count: listImages(layout).length },
    containers,
    downloads: { bytes: await bytesOn(layout, layout.blobs) },
    squashfs: { bytes: await bytesOn(layout, layout.squashfs) },
    temporary: { bytes: (await bytesOn(layout, layout.ephemeral)) + (await bytesOn(layout, layout.temporary)) },
    free: bavail * bsize,
  };
}

function usageText({ images, containers, downloads, squashfs, temporary, free }: Usage): string {
  return formatTable([
    ["WHAT", "BYTES", "ABOUT"],
    ["images", formatBytes(images.bytes), `${images.count} stored, shared by their containers`],
    ...containers.map(({ name, bytes }) => [`container ${name}`, formatBytes(bytes), "what it changed"]),
    ["downloads", formatBytes(downloads.bytes), "layers that a next import need not fetch: `rootling prune`"],
    ["squashfs", formatBytes(squashfs.bytes), "files that `rootling importer get` made"],
    ["temporary", formatBytes(temporary.bytes), "changes of what runs, and unfinished writes"],
    ["free", formatBytes(free), "on the file system of the images"],
  ]);
}
