/** Whether KVM works here. /dev/kvm may answer where guests hang, so that it is tried, once after each boot of the host. */
import { accessSync, constants, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Context } from "../base/context.ts";
import { ourselves } from "../base/owner.ts";
import { run } from "../base/process.ts";
import { probeWords } from "../boot/machine-words.ts";

/** Milliseconds: a kernel that KVM runs is up in less than one second. */
const PATIENCE = 8_000;

export interface Probe {
  readonly emulator: string;
  readonly kernel: string;
  /** Working directory: it holds the initial RAM file system. */
  readonly directory: string;
  /** A file for the answer. */
  readonly mark: string;
}

/**
 * Boots a machine without a root. That its first process says so, is what was to be known; and is remembered until the
 * host boots again.
 */
export async function accelerates({ signal }: Context, probe: Probe): Promise<boolean> {
  const { mark } = probe;
  try {
    accessSync("/dev/kvm", constants.R_OK | constants.W_OK);
  } catch {
    return false;
  }
  const { boot } = ourselves();
  const known = textOf(mark).split(" ");
  if (known[0] === boot) return known[1] === "yes";
  const works = await boots(probe, signal);
  signal.throwIfAborted();
  mkdirSync(dirname(mark), { recursive: true, mode: 0o700 });
  writeFileSync(mark, `${boot} ${works ? "yes" : "no"}`, { mode: 0o600 });
  return works;
}

async function boots({ emulator, kernel, directory }: Probe, signal: AbortSignal): Promise<boolean> {
  const words = probeWords(emulator, kernel);
  const running = run(emulator, words.slice(1), {
    cwd: directory,
    signal: AbortSignal.any([signal, AbortSignal.timeout(PATIENCE)]),
  });
  await running.finished.catch(() => {});
  return /^[0-9]+\n$/.test(textOf(join(directory, "probe")));
}

function textOf(file: string): string {
  try {
    return readFileSync(file, "latin1");
  } catch {
    return "";
  }
}
