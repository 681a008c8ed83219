/** `rootling tolerant`, `overlay`, `mount-idmapped`, `initctl`: tools of guests, on a host. They do the work in our place. */
import type { Command } from "commander";
import { becomeTool } from "../plan/launch.ts";
import { type CommandFile, newCommand } from "./cli.ts";

/** A command whose words, options among them, are the tool's own. */
const tool = (name: string, usage: string, about: string, examples: readonly string[]): CommandFile => ({
  define: () => {
    const command: Command = newCommand(name, about, examples)
      .usage(usage)
      .argument("[words...]", "words of the tool")
      .allowUnknownOption()
      .passThroughOptions()
      .action(() => becomeTool(name, (command as Command & { rawArgs: string[] }).rawArgs));
    return command;
  },
});

export const tolerant = tool(
  "tolerant",
  "PROGRAM [WORD...]",
  "Run a program by its path or name, all programs of a directory in the order of their names, or a file without execute permission through its own #! line.",
  ["rootling tolerant /etc/boot.d start", "rootling tolerant ./script-without-x.sh"],
);

export const overlay = tool(
  "overlay",
  "[--path DIR] [--cache DIR] [--] LAYER...",
  "Mount an overlay on DIR (/mnt/root): itself the lowest layer, each LAYER above the one before. What changes is kept in the cache (/mnt/cache/overlay).",
  ["rootling overlay --path /srv/root --cache /srv/cache -- /srv/layers/0 /srv/layers/1"],
);

export const mountIdmapped = tool(
  "mount-idmapped",
  "--map-mount=b|u|g:FROM:TO:COUNT... [--recursive] SOURCE TARGET",
  "Mount a directory once more, with other owners: ids FROM... on disk are TO... there (b: users and groups, u, g).",
  ["rootling mount-idmapped --map-mount=b:0:1000000:65536 /srv/root /mnt/root"],
);

export const initctl = tool(
  "initctl",
  "[PID]",
  "Make /dev/initctl and take the requests of halt, reboot and telinit: run level 0 or 6 ends PID (its parent).",
  ["rootling initctl 1"],
);
