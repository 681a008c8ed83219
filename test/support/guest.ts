/** Guests: their program, boot file systems with a next root, and who starts them. */
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { packageDirectory, rootlingWords } from "./cli.ts";
import { must } from "./command.ts";

export const guestProgram = (): string => join(packageDirectory(), `dist/guest-${process.arch}`);

const BUSYBOX = "/bin/busybox";
const APPLETS = [
  "sh",
  "cat",
  "chmod",
  "echo",
  "id",
  "ip",
  "ls",
  "mount",
  "sha256sum",
  "sleep",
  "stat",
  "touch",
  "reboot",
  "poweroff",
];

/** A root of busybox, below `directory`. */
export function busyboxRoot(directory: string): string {
  for (const name of ["bin", "dev", "etc", "proc", "sys", "tmp"]) mkdirSync(join(directory, name), { recursive: true });
  copyFileSync(BUSYBOX, join(directory, "bin/busybox"));
  for (const name of APPLETS) symlinkSync("busybox", join(directory, "bin", name));
  return directory;
}

/** A boot file system in a directory. */
export async function bootDirectory(directory: string): Promise<string> {
  const output = join(directory, "boot");
  await must(rootlingWords("bootfs", "build", "-o", output, "--format", "dir", "--progress", "none"));
  return output;
}

/** What a guest says to prove that it was given this number: nobody else has done the sum. */
export const proofOf = (nonce: string): string => createHash("sha256").update(`${nonce}\n`).digest("hex");

/** A shell's words for the same. */
export const prove = (nonce: string): string => `echo ${nonce} | sha256sum`;

/** A libvirt of the test's own. */
export interface Libvirt {
  /** Runs a command beside it; returns its standard output. */
  run(...argv: string[]): Promise<string>;
  stop(): Promise<void>;
}

export async function startLibvirt(): Promise<Libvirt> {
  const script = join(import.meta.dirname, "libvirt.sh");
  const [file = "", ...words] = ["unshare", "--mount", "--propagation", "private", "sh", script];
  const child = spawn(file, words, { stdio: ["pipe", "pipe", "pipe"] });
  await ready(child);
  const enter = ["nsenter", "--target", String(child.pid), "--mount"];
  return {
    run: (...argv) => must([...enter, ...argv]),
    stop: async () => {
      child.stdin?.end();
      if (child.exitCode === null) await new Promise((done) => child.once("close", done));
    },
  };
}

function ready(child: ChildProcess): Promise<void> {
  let said = "";
  return new Promise((resolve, reject) => {
    child.stderr?.on("data", (chunk: Buffer) => (said += chunk));
    child.stdout?.on("data", (chunk: Buffer) => {
      said += chunk;
      if (said.includes("ready")) resolve();
    });
    child.once("close", () => reject(new Error(`libvirt did not start: ${said}`)));
  });
}

/** Writes the guest's init.yml. */
export function writeInit(directory: string, text: string): string {
  mkdirSync(directory, { recursive: true });
  const file = join(directory, "init.yml");
  writeFileSync(file, text);
  return file;
}

/** Waits until a file says what is looked for, and returns its text. */
export async function waitForText(file: string, pattern: RegExp, seconds = 30): Promise<string> {
  for (let left = seconds * 20; left > 0; left--) {
    const text = existsSync(file) ? readFileSync(file, "utf8").replaceAll("\r", "") : "";
    if (pattern.test(text)) return text;
    await new Promise((done) => setTimeout(done, 50));
  }
  throw new Error(
    `nothing like ${pattern} within ${seconds} seconds: ${existsSync(file) ? readFileSync(file, "utf8") : ""}`,
  );
}
