/** Virtual machines of tests: their kernel, and what is left of them. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import type { TestUser } from "./users.ts";

/** The version of this machine's kernel for virtual machines: Debian's linux-image-cloud-amd64. */
export function machineKernel(): { file: string; version: string } {
  const [name] = readdirSync("/boot")
    .filter((each) => /^vmlinuz-.*cloud/.test(each))
    .sort()
    .reverse();
  if (name === undefined) throw new Error("there is no kernel for virtual machines in /boot");
  return { file: join("/boot", name), version: name.slice("vmlinuz-".length) };
}

/** Processes that work in the user's runtime directory, by their names: emulator and file server. */
export function machineProcesses(user: TestUser): string[] {
  const below = user.env.ROOTLING_RUNTIME_PATH ?? user.home;
  return readdirSync("/proc")
    .filter((name) => /^[0-9]+$/.test(name))
    .flatMap((pid) => {
      try {
        return readlinkSync(`/proc/${pid}/cwd`).startsWith(below)
          ? [readFileSync(`/proc/${pid}/comm`, "utf8").trim()]
          : [];
      } catch {
        return [];
      }
    });
}
