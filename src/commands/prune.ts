/** `rootling prune`: frees what nobody needs. */
import { Failure } from "../base/errors.ts";
import { formatBytes } from "../base/text.ts";
import { type PrunePlan, planPrune, prune } from "../store/prune.ts";
import { type Cli, newCommand, showJson } from "./cli.ts";

interface Options {
  unused?: boolean;
  olderThan?: string;
  cacheSize?: string;
  dryRun?: boolean;
  json?: boolean;
}

export const define = (cli: Cli) =>
  newCommand(
    "prune",
    "Remove images without a name, downloads of no stored image, and squashfs files that nobody has borrowed. What a container needs, or runs on, always stays.",
    [
      "rootling prune --dry-run",
      "rootling prune --unused --older-than 30d      # also named images that no container refers to",
      "rootling prune --cache-size 5GB               # the longest unused downloads above 5 GB",
    ],
  )
    .option("--unused", "also images with a name, if no container refers to them")
    .option("--older-than <age>", "only what was not used for longer, such as 12h or 30d")
    .option("--cache-size <bytes>", "keep downloads up to this size, such as 500MB or 5GB")
    .option("--dry-run", "show what would go, and change nothing")
    .option("--json", "as JSON")
    .action(async (options: Options) => {
      const plan = planPrune(cli.layout, {
        unused: options.unused ?? false,
        olderThan: options.olderThan === undefined ? 0 : readAge(options.olderThan),
        cacheBytes: options.cacheSize === undefined ? undefined : readSize(options.cacheSize),
      });
      const gone = options.dryRun ? plan : await prune(cli.layout, plan, cli.context("none").signal);
      cli.print(options.json ? showJson(asJson(gone)) : asText(gone, options.dryRun ?? false));
    });

const MILLISECONDS: Readonly<Record<string, number>> = { s: 1e3, m: 6e4, h: 36e5, d: 864e5, w: 6048e5 };
const BYTES: Readonly<Record<string, number>> = {
  "": 1,
  B: 1,
  K: 1e3,
  KB: 1e3,
  M: 1e6,
  MB: 1e6,
  G: 1e9,
  GB: 1e9,
  T: 1e12,
  TB: 1e12,
};

function readUnits(text: string, units: Readonly<Record<string, number>>, where: string, example: string): number {
  const [, digits, unit = ""] = /^([0-9]+(?:\.[0-9]+)?)([A-Za-z]*)$/.exec(text) ?? [];
  const factor = Object.hasOwn(units, unit) ? units[unit] : undefined;
  if (digits !== undefined && factor !== undefined) return Number(digits) * factor;
  throw new Failure("E_USAGE", `${JSON.stringify(text)} cannot be understood`, {
    where,
    mend: `write it like ${example}`,
  });
}

/** An age in milliseconds. Throws E_USAGE. */
export const readAge = (text: string): number => readUnits(text, MILLISECONDS, "--older-than", "12h, 30d or 4w");

/** A size in bytes; units are powers of ten. Throws E_USAGE. */
export const readSize = (text: string): number => readUnits(text.toUpperCase(), BYTES, "--cache-size", "500MB or 5GB");

const bytesOf = (plan: PrunePlan): number =>
  [...plan.images.map(({ size }) => size), ...[...plan.blobs, ...plan.squashfs].map(({ bytes }) => bytes)].reduce(
    (sum, bytes) => sum + bytes,
    0,
  );

const asJson = (plan: PrunePlan) => ({
  images: plan.images.map(({ digest, refs, size }) => ({ digest, names: refs, size })),
  downloads: plan.blobs.map(({ hex, bytes }) => ({ digest: `sha256:${hex}`, size: bytes })),
  squashfs: plan.squashfs.map(({ hex, bytes }) => ({ digest: `sha256:${hex}`, size: bytes })),
  broken: plan.broken.map((hex) => `sha256:${hex}`),
  bytes: bytesOf(plan),
});

function asText(plan: PrunePlan, dryRun: boolean): string {
  const images = plan.images.map(({ refs, digest, size }) => `image ${refs[0] ?? digest}  ${formatBytes(size)}`);
  const downloads = plan.blobs.reduce((sum, { bytes }) => sum + bytes, 0);
  return [
    ...images,
    ...(plan.blobs.length > 0 ? [`${plan.blobs.length} downloads  ${formatBytes(downloads)}`] : []),
    ...plan.squashfs.map(({ hex, bytes }) => `squashfs file of sha256:${hex}  ${formatBytes(bytes)}`),
    ...plan.broken.map((hex) => `unfinished image sha256:${hex}`),
    // Files that images which stay have too are theirs as well.
    `${plan.images.length > 0 ? "at most " : ""}${formatBytes(bytesOf(plan))} ${dryRun ? "could be freed" : "freed"}`,
  ].join("\n");
}
