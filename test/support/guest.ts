/** Guests: their program, boot file systems with a next root, and who starts them. */
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { packageDirectory, rootlingWords } from "./cli.ts";
import { must } from "./command.ts";

export const guestProgram = (): string => join(packageDirectory(), `dist/guest-${process.arch}`);

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

/** With a `bridge`, it is in a network namespace of its own, where the host is 10.77.0.1 on that bridge. */
export async function startLibvirt(bridge?: string): Promise<Libvirt> {
  const script = join(import.meta.dirname, "libvirt.sh");
  const [file = "", ...words] = [
    "unshare",
    "--mount",
    "--propagation",
    "private",
    ...(bridge ? ["--net"] : []),
    "sh",
    script,
    bridge ?? "",
  ];
  const child = spawn(file, words, { stdio: ["pipe", "pipe", "pipe"] });
  await ready(child);
  const enter = ["nsenter", "--target", String(child.pid), "--mount", ...(bridge ? ["--net"] : [])];
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

/**
 * The domain waits for a file before its init begins: what a guest says before somebody listens is lost. One that is to
 * fail stays until it was heard (config/seen), since libvirt drops what it has not passed on when a guest ends.
 */
const held = (xml: string, fails: boolean): string =>
  xml
    .replace("<init>/sbin/init</init>", "<init>/bin/sh</init><initarg>-c</initarg>")
    .replace(
      /<initarg>--config<\/initarg>\s*<initarg>(.*)<\/initarg>/,
      `<initarg>while [ ! -e /mnt/config/go ]; do sleep 0.02; done; ${fails ? "" : "exec "}/sbin/init --config $1${
        fails ? "; while [ ! -e /mnt/config/seen ]; do sleep 0.02; done" : ""
      }</initarg>`,
    );

export interface GuestPlaces {
  boot: string;
  root: string;
  layers?: readonly string[];
  bridge?: string;
  /** It is to fail. */
  fails?: boolean;
}

/** Defines and starts a guest in `directory`; its console goes to a file. */
export async function startGuest(
  libvirt: Libvirt,
  directory: string,
  name: string,
  init: string,
  { boot, root, layers = [], bridge, fails = false }: GuestPlaces,
): Promise<{ console: string; cache: string }> {
  const cache = join(directory, "cache");
  const console = join(directory, "console");
  mkdirSync(cache, { recursive: true });
  const config = writeInit(join(directory, "config"), "");
  const places = ["--boot", boot, "--root", root, "--cache", cache, "--config", config];
  const more = [...layers.flatMap((layer) => ["--layer", layer]), ...(bridge ? ["--bridge", bridge] : [])];
  const words = ["guest", "define", name, "--driver", "libvirt-lxc", ...places, ...more, "--memory", "256M"];
  writeFileSync(join(directory, "domain.xml"), held(await must(rootlingWords(...words)), fails));
  // It may change until the guest boots.
  writeInit(join(directory, "config"), init);
  await libvirt.run("virsh", "-q", "-c", "lxc:///", "create", join(directory, "domain.xml"));
  const pty = (await libvirt.run("virsh", "-q", "-c", "lxc:///", "ttyconsole", name)).trim();
  // Until the guest ends: then the terminal hangs up.
  await libvirt.run("sh", "-c", `cat ${pty} >${console} 2>/dev/null &`);
  writeFileSync(join(directory, "config/go"), "");
  return { console, cache };
}

/** The names of the guests that run. */
export const runningGuests = async (libvirt: Libvirt): Promise<string[]> =>
  (await libvirt.run("virsh", "-q", "-c", "lxc:///", "list", "--name")).split("\n").filter(Boolean);

/** Fails after 20 seconds. */
export async function waitForEnd(libvirt: Libvirt, name: string): Promise<void> {
  for (let left = 200; (await runningGuests(libvirt)).includes(name); left--) {
    if (left === 0) throw new Error(`${name} still runs`);
    await new Promise((done) => setTimeout(done, 100));
  }
}
