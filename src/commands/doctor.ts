/** `rootling doctor`: tries what containers need, and says how to mend what does not work. */
import { mkdtempSync, rmdirSync, statfsSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Context } from "../base/context.ts";
import { Failure } from "../base/errors.ts";
import { makePrivateDirectory } from "../base/files.ts";
import { findProgram } from "../base/process.ts";
import { escapeText, formatBytes } from "../base/text.ts";
import { userNamespaceMend } from "../boot/explain.ts";
import type { TrialName } from "../boot/try.ts";
import { findExecutor } from "../plan/launch.ts";
import type { Layout } from "../store/layout.ts";
import { type Cli, newCommand, showJson } from "./cli.ts";
import { tryHere } from "./trials.ts";

interface Check {
  id: string;
  /** ok; warning: something is slower or not offered; failed: containers cannot be made or started. */
  state: "ok" | "warning" | "failed";
  reason: string;
  mend?: string;
}

const SPACE_WANTED = 1e9;

export const define = (cli: Cli) =>
  newCommand("doctor", "Try what this host offers. Exit status 1 if something needed does not work.", [
    "rootling doctor",
    "rootling doctor --json",
  ])
    .option("--json", "as JSON")
    .action(async ({ json }: { json?: boolean }) => {
      const checks = await examine(cli.context("none"), cli.layout);
      if (checks.some(({ state }) => state === "failed")) cli.setStatus(1);
      cli.print(json ? showJson(checks) : checks.map(formatCheck).join("\n"));
    });

const formatCheck = ({ id, state, reason, mend }: Check): string =>
  `${state.padEnd(7)}  ${id}: ${escapeText(reason)}${mend && state !== "ok" ? `\n         mend: ${escapeText(mend)}` : ""}`;

async function examine(context: Context, layout: Layout): Promise<Check[]> {
  const { settings } = context;
  const checks: Check[] = [
    directory("data", settings.DATA_PATH, "ROOTLING_DATA_PATH"),
    directory("cache", settings.CACHE_PATH, "ROOTLING_CACHE_PATH"),
    directory("runtime", settings.RUNTIME_PATH, "ROOTLING_RUNTIME_PATH"),
    program("tar", "tar", "images cannot be unpacked"),
    program("mksquashfs", "squashfs-tools", "squashfs files cannot be written"),
  ];
  if (checks.some(({ id, state }) => state === "failed" && (id === "data" || id === "runtime"))) return checks;
  let executor: string;
  try {
    executor = await findExecutor(settings.CACHE_PATH);
    checks.push({ id: "executor", state: "ok", reason: executor });
  } catch (error) {
    const { what, mend } = error as Failure;
    return [...checks, { id: "executor", state: "failed", reason: what, ...(mend === undefined ? {} : { mend }) }];
  }
  return [...checks, ...(await tryAll(layout, executor))];
}

/** Made if missing, private, and with some space. */
function directory(id: string, path: string, variable: string): Check {
  try {
    makePrivateDirectory(path);
    rmdirSync(mkdtempSync(join(path, ".doctor-")));
    const { bavail, bsize } = statfsSync(path);
    if ((statSync(path).mode & 0o077) !== 0) {
      return { id, state: "warning", reason: `${path} is open to other users`, mend: `chmod 700 ${path}` };
    }
    const free = `${path} has ${formatBytes(bavail * bsize)} free`;
    return bavail * bsize < SPACE_WANTED && id !== "runtime"
      ? { id, state: "warning", reason: free, mend: `free some space, or choose another place with ${variable}` }
      : { id, state: "ok", reason: free };
  } catch (error) {
    const what = error instanceof Failure ? error.what : (error as Error).message;
    return {
      id,
      state: "failed",
      reason: `${path}: ${what}`,
      mend: `choose a directory that you may write to with ${variable}`,
    };
  }
}

function program(name: string, debianPackage: string, without: string): Check {
  const path = findProgram(name);
  return path === undefined
    ? {
        id: name,
        state: "failed",
        reason: `not installed: ${without}`,
        mend: `apt-get install ${debianPackage}, or what your distribution calls it`,
      }
    : { id: name, state: "ok", reason: path };
}

/** What each trial is about, how bad its failure is, and what to do. */
const TRIALS: readonly { name: TrialName; state: Check["state"]; works: string; mend: () => string }[] = [
  {
    name: "user-namespace",
    state: "failed",
    works: "namespaces can be made, and mounts in them",
    mend: userNamespaceMend,
  },
  {
    name: "overlay",
    state: "failed",
    works: "overlayfs can be mounted",
    mend: () => "overlayfs in a user namespace needs Linux 5.11 or newer, and the module: modprobe overlay",
  },
  {
    name: "overlay-removal",
    state: "warning",
    works: "the data directory can hold what containers change",
    mend: () =>
      "its file system cannot be an overlay's upper directory, so containers are full copies: choose ext4, xfs or btrfs with ROOTLING_DATA_PATH",
  },
  {
    name: "pid-namespace",
    state: "warning",
    works: "--pid gets a /proc of its own",
    mend: () => "something is mounted over parts of /proc, as in a container: --pid does not work here",
  },
];

async function tryAll(layout: Layout, executor: string): Promise<Check[]> {
  const checks: Check[] = [];
  for (const { name, state, works, mend } of TRIALS) {
    const said = await tryHere(name, executor, layout);
    // The others need namespaces too: their mends would lead astray.
    const hopeless = said !== undefined && name === "user-namespace";
    checks.push(
      said === undefined ? { id: name, state: "ok", reason: works } : { id: name, state, reason: said, mend: mend() },
    );
    if (hopeless) break;
  }
  return checks;
}
