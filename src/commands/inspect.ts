/** `rootling inspect`: an image's configuration, its layers, and what of them is wasted; a container's parts. */
import { writeFile } from "node:fs/promises";
import { Failure, fileFailure } from "../base/errors.ts";
import type { ProgressMode } from "../base/progress-render.ts";
import { escapeText, formatBytes, formatTable } from "../base/text.ts";
import type { DirectoryReport, Inspection, SizedFile } from "../image/inspect.ts";
import { formatPlatform } from "../image/sources/reference.ts";
import type { SourceImage } from "../image/types.ts";
import { type Container, findContainer } from "../store/containers.ts";
import { findImage } from "../store/images.ts";
import { type Cli, newCommand, showJson, withProgress } from "./cli.ts";
import { looksLikeName, unknownName } from "./image-for.ts";
import { type PlatformFlags, platformOf, withSourceFlags } from "./platform-words.ts";
import { type RegistryFlags, registryOptions } from "./registry-words.ts";

interface Options extends RegistryFlags, PlatformFlags {
  html?: string;
  json?: boolean;
  progress?: ProgressMode;
}

/** What is shown of an image, as text, JSON or page. */
export interface ImageReport {
  name: string;
  digest: string;
  platform: string;
  run: SourceImage["run"];
  inspection: Inspection;
}

export const define = (cli: Cli) =>
  withProgress(
    withSourceFlags(
      newCommand("inspect", "Show an image's configuration, layers and waste, or where the parts of a container lie.", [
        "rootling inspect debian:12",
        "rootling inspect web      # a container or a subhost; an image of the same name goes first",
        "rootling inspect docker://busybox:1.36 --json",
        "rootling inspect debian:12 --html debian.html     # sizes by layer and directory, as a picture",
      ]),
    ),
  )
    .argument("<name>", "a stored image, a container, or SOURCE")
    .option("--html <file>", "write one self-contained page with a treemap")
    .option("--json", "as JSON")
    .action(async (name: string, options: Options) => {
      const container = findImage(cli.layout, name) === undefined ? findContainer(cli.layout, name) : undefined;
      if (container !== undefined) return showContainer(cli, container, options);
      const report = await examine(cli, name, options);
      if (options.html !== undefined) await writePage(options.html, report);
      if (options.json) cli.print(showJson(asJson(report)));
      else cli.print(options.html === undefined ? asText(report) : options.html);
    });

async function showContainer(cli: Cli, container: Container, { html, json }: Options): Promise<void> {
  if (html !== undefined)
    throw new Failure("E_USAGE", `--html draws an image, and ${container.name} is a container`, {
      where: "--html",
      mend: `inspect the image that it is made of: ${container.image.name}`,
    });
  const { containerReport, containerText } = await import("./inspect-container.ts");
  const report = containerReport(cli.layout, container);
  cli.print(json ? showJson(report) : containerText(report));
}

async function examine(cli: Cli, name: string, options: Options): Promise<ImageReport> {
  const stored = findImage(cli.layout, name);
  const [{ openImage }, { inspectImage }] = await Promise.all([
    import("./import-image.ts"),
    import("../image/inspect.ts"),
  ]);
  const context = cli.context(options.progress);
  const platform = platformOf(options) ?? stored?.platform;
  const image = await openImage(context, cli.layout, stored?.source ?? name, {
    registry: registryOptions(options, context),
    ...(platform === undefined ? {} : { platform }),
  }).catch((cause: unknown) => {
    if (!(cause instanceof Failure)) throw cause;
    // No file of the directory that we are in, either.
    if (stored === undefined) throw cause.code === "E_NOT_FOUND" && looksLikeName(name) ? unknownName(name) : cause;
    throw new Failure(cause.code, `the layers of ${name} are not to be had any more`, {
      where: stored.source,
      mend: "give another SOURCE of the same image",
      cause,
    });
  });
  try {
    if (stored !== undefined && image.digest !== stored.digest) {
      throw new Failure("E_NOT_FOUND", `what ${name} was imported from has changed since`, {
        where: stored.source,
        mend: "import it again",
      });
    }
    const inspection = await inspectImage(image, context);
    return {
      name: stored === undefined ? image.name : name,
      digest: image.digest,
      platform: formatPlatform(image.platform),
      run: image.run,
      inspection,
    };
  } finally {
    await image.close();
    context.progress.close();
  }
}

async function writePage(path: string, report: ImageReport): Promise<void> {
  const { inspectPage } = await import("./inspect-page.ts");
  await writeFile(path, inspectPage(report)).catch((error: unknown) => {
    throw fileFailure(error, "writing the page", path);
  });
}

interface JsonDirectory {
  name: string;
  bytes: number;
  children?: JsonDirectory[];
}

/** Two levels of directories: enough to see where the bytes are, small enough to read. */
const JSON_DEPTH = 2;

function jsonDirectory(directory: DirectoryReport, depth: number): JsonDirectory {
  const children = [...directory.children.values()].map((child) => jsonDirectory(child, depth - 1));
  const bytes =
    directory.own.reduce((sum, own) => sum + (own ?? 0), 0) + children.reduce((sum, child) => sum + child.bytes, 0);
  const shown = depth > 0 && children.length > 0 ? { children: children.sort((a, b) => b.bytes - a.bytes) } : {};
  return { name: directory.name, bytes, ...shown };
}

const JSON_FILES = 50;

const asJson = ({ inspection, ...report }: ImageReport) => {
  const { root, largestFiles, ...rest } = inspection;
  const directories = jsonDirectory(root, JSON_DEPTH);
  return { ...report, ...rest, largestFiles: largestFiles.slice(0, JSON_FILES), directories };
};

/** Files in the text: of the largest, and of the largest wasted ones. */
const TEXT_FILES = 10;

function asText({ name, digest, platform, run, inspection }: ImageReport): string {
  const words = (list: readonly string[] | null | undefined) =>
    list?.length ? list.map((word) => JSON.stringify(word)).join(" ") : "-";
  const facts: [string, string][] = [
    ["name", name],
    ["digest", digest],
    ["platform", platform],
    ["entrypoint", words(run.Entrypoint)],
    ["command", words(run.Cmd)],
    ["directory", run.WorkingDir || "/"],
    ["user", run.User || "-"],
    ["environment", (run.Env ?? []).join(" ") || "-"],
    ["files", `${inspection.files}, ${formatBytes(inspection.bytes)}`],
    ["wasted", `${formatBytes(inspection.wasted)}`],
  ];
  const rows = inspection.layers.map((layer) => [
    String(layer.index + 1),
    layer.digest?.slice("sha256:".length, "sha256:".length + 12) ?? "-",
    layer.stored === undefined ? "-" : formatBytes(layer.stored),
    formatBytes(layer.bytes),
    String(layer.files),
    String(layer.whiteouts),
    formatBytes(layer.wasted),
  ]);
  const listed = (heading: string, files: readonly SizedFile[]) => {
    const rows = files
      .slice(0, TEXT_FILES)
      .map(({ path, layer, bytes }) => [formatBytes(bytes), String(layer + 1), `/${path}`]);
    return rows.length === 0 ? [] : ["", formatTable([[heading, "LAYER", "FILE"], ...rows])];
  };
  return [
    ...facts.map(([label, value]) => `${`${label}:`.padEnd(13)}${escapeText(value)}`),
    "",
    formatTable([["LAYER", "DIGEST", "STORED", "FILES' BYTES", "FILES", "WHITEOUTS", "WASTED"], ...rows]),
    ...listed("LARGEST", inspection.largestFiles),
    ...listed("WASTED", inspection.wastedFiles),
  ].join("\n");
}
