/** A host for tests of cables: network and mount namespaces of their own, so that nothing of the machine's is touched. */
import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Box } from "./boxes.ts";
import { rootlingWords } from "./cli.ts";
import { background, command, must, type Outcome } from "./command.ts";

/**
 * Makes the host, then waits. Behind it lies a world, 10.99.0.1, that has no way to what is behind the host. ifupdown is
 * played by programs that write down how they were called.
 */
const HOST = `
  mount -t tmpfs tmpfs /run
  mount -t sysfs sysfs /sys
  ip link set lo up
  unshare --net sleep 600 & world=$!
  while [ "$(readlink /proc/$world/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.02; done
  ip link add near type veth peer name far netns $world
  ip address add 10.99.0.2/24 dev near
  ip link set near up
  nsenter --net=/proc/$world/ns/net sh -c 'ip link set lo up; ip address add 10.99.0.1/24 dev far; ip link set far up'
  echo "world $world"
  read -r end
  kill $world`;

export interface CabledHost {
  /** Runs `rootling WORDS` there, as root. */
  rootling(...words: string[]): Promise<Outcome>;
  /** Runs another program there, in the same way. */
  command(words: readonly string[]): Promise<Outcome>;
  /** The words that run others there. */
  there(words: readonly string[]): string[];
  /** Runs a shell's script there; its standard output, trimmed. */
  sh(script: string): Promise<string>;
  /** The same in the world behind it. */
  world(script: string): Promise<string>;
  /** Whether nothing is left of cables: no interface, namespace, table or journal. */
  isClean(): Promise<boolean>;
  /** How ifup and ifdown were called. */
  calls(): string[];
  /** Waits until a container has ended; its status. */
  ended(name: string): Promise<number>;
  end(): Promise<void>;
}

export async function cabledHost(box: Box): Promise<CabledHost> {
  let said = "";
  const isolated = ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", HOST];
  const host = background(isolated, {
    keepInput: true,
    timeout: 600_000,
    onStart: (child) => child.stdout?.on("data", (chunk: Buffer) => (said += chunk)),
  });
  for (let tries = 0; !/world [0-9]+\n/.test(said) && host.alive() && tries < 600; tries++) await sleep(20);
  const world = /world ([0-9]+)\n/.exec(said)?.[1] ?? "";
  assert.notEqual(world, "", `the host is not there: ${host.alive() ? "" : (await host.ended).stderr}`);

  const bin = join(box.scratch, "ifupdown");
  const log = join(box.scratch, "ifupdown.log");
  mkdirSync(bin);
  for (const name of ["ifup", "ifdown"]) {
    // What /etc/network/interfaces has no word about.
    writeFileSync(
      join(bin, name),
      `#!/bin/sh\necho "${name} $*" >>${log}\n[ "$1" != db0 ] || { echo unknown >&2; exit 1; }\n`,
    );
    chmodSync(join(bin, name), 0o755);
  }
  const env = { ...box.user.env, PATH: `${bin}:${box.user.env.PATH}` };
  const there = (words: readonly string[]) => ["nsenter", `--target=${host.pid}`, "--net", "--mount", ...words];
  const sh = async (script: string) => (await must(there(["sh", "-c", script]))).trim();
  const left =
    "ip -o link | grep -Ev ': (lo|near)[@:]'; ls -A /run/netns; nft list tables; ls -A \"$1/cables\" 2>/dev/null; true";
  const runtime = box.user.env.ROOTLING_RUNTIME_PATH ?? "";
  const list = async () => {
    const { stdout } = await command(there(rootlingWords("list", "--json")), { env, cwd: box.user.home });
    return JSON.parse(stdout) as { name: string; state: string; status: number }[];
  };
  return {
    ended: async (name) => {
      for (let tries = 0; tries < 200; tries++, await sleep(50)) {
        const row = (await list()).find((one) => one.name === name);
        if (row?.state === "exited") return row.status;
      }
      throw new Error(`${name} does not end`);
    },
    rootling: (...words) => command(there(rootlingWords(...words)), { env, cwd: box.user.home }),
    command: (words) => command(there(words), { env, cwd: box.user.home }),
    there,
    sh,
    world: async (script) => (await must(["nsenter", `--net=/proc/${world}/ns/net`, "sh", "-c", script])).trim(),
    isClean: async () => {
      const { stdout } = await command(there(["sh", "-c", left, "sh", runtime]));
      return stdout === "";
    },
    calls: () => (existsSync(log) ? readFileSync(log, "utf8").trim().split("\n") : []),
    end: async () => {
      host.closeInput();
      await host.ended;
    },
  };
}
