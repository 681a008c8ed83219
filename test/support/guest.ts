/** The program of guests: the executor with its tools. */
import { join } from "node:path";
import { packageDirectory } from "./cli.ts";

const ARCHITECTURES: Readonly<Record<string, string>> = { x64: "x64", arm64: "arm64" };

export const guestProgram = (): string => join(packageDirectory(), `dist/guest-${ARCHITECTURES[process.arch]}`);
