/**
 * The oldest kernel that rootling supports: User-Mode Linux 6.1, whose root is this machine's own, read-only.
 * Run as a program it boots once and runs the test files that it is given:
 *
 *     node test/support/uml.ts test/kernel/*.test.ts [--tap FILE]
 */
import { spawn } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { must, shellWord } from "./command.ts";

/**
 * Kernel tests that the oldest kernel says nothing new about: what they ask of a kernel, others ask there already.
 * They run on this machine's kernel, and there by `npm run test:vm`.
 */
const elsewhere: Readonly<Record<string, string>> = {
  "commit.test.ts": "reads upper directories as files.test.ts does, and writes images",
  "status.test.ts": "signals and exit statuses of the topologies that run.test.ts and lifecycle.test.ts start, too",
  "terminal.test.ts": "pseudo-terminals, older than any kernel of ours; lifecycle.test.ts detaches and attaches",
  "timeline.test.ts": "draws what was measured",
  "unit.test.ts": "prints texts, and starts as lifecycle.test.ts does",
};

/** Seconds that files take there, roughly, where they are far from `USUAL`: so that machines end together. */
const seconds: Readonly<Record<string, number>> = {
  "lifecycle.test.ts": 110,
  "files.test.ts": 80,
  "containers.test.ts": 80,
  "run.test.ts": 65,
  "limits.test.ts": 60,
  "isolate.test.ts": 55,
  "guest-tools.test.ts": 40,
  "roots.test.ts": 40,
  "namespaces.test.ts": 30,
  "network.test.ts": 30,
};
const USUAL = 20;

/** The files of machine `part` of `parts`: each file goes, longest first, to the machine that has least to do. */
function filesOfPart(files: readonly string[], part: number, parts: number, all: boolean): string[] {
  const cost = (file: string) => seconds[basename(file)] ?? USUAL;
  const machines = Array.from({ length: parts }, () => ({ files: [] as string[], total: 0 }));
  for (const file of files
    .filter((one) => all || !Object.hasOwn(elsewhere, basename(one)))
    .toSorted((a, b) => cost(b) - cost(a))) {
    const idle = machines.reduce((least, one) => (one.total < least.total ? one : least));
    idle.files.push(file);
    idle.total += cost(file);
  }
  return machines[part - 1]?.files ?? [];
}

const checkout = resolve(import.meta.dirname, "../..");

export interface UmlOptions {
  /** Shell text that runs as root inside, in the checkout. */
  script: string;
  /** Seconds after which it is ended. */
  timeout?: number;
  /** What the guest writes to its console. */
  onOutput: (text: string) => void;
  /** Called with the directory that the guest knows as /run/share, before it is removed. */
  collect?: (share: string) => void;
}

const DISK = "4G";
const MEMORY = "3072M";
const DEFAULT_TIMEOUT = 600;

/** Boots, runs the script and resolves with its exit status; 124 when the time was up. */
export async function runInUml(options: UmlOptions): Promise<number> {
  // Not in /dev/shm: the guest has its own there before anything of ours runs.
  const share = mkdtempSync("/tmp/rootling-uml-");
  const memory = existsSync("/dev/shm") ? mkdtempSync("/dev/shm/rootling-uml-") : share;
  try {
    const disk = join(memory, "disk");
    await must(["mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=1", disk, DISK], {
      env: { PATH: "/usr/sbin:/sbin:/usr/bin:/bin" },
    });
    writeFileSync(join(share, "payload.sh"), `cd ${shellWord(checkout)}\n${options.script}\n`);
    const words = [
      `mem=${MEMORY}`,
      "rootfstype=hostfs",
      "rootflags=/",
      "ro",
      `init=${join(checkout, "test/support/uml-init.sh")}`,
      `ubd0=${disk}`,
      "con=null",
      "con0=fd:0,fd:1",
      "quiet",
      "loglevel=2",
      `ROOTLING_SHARE=${share}`,
      `ROOTLING_CHECKOUT=${checkout}`,
    ];
    const child = spawn("linux.uml", words, {
      stdio: ["ignore", "pipe", "pipe"],
      // A process group of its own: every process of the guest is one of the host.
      detached: true,
      env: { PATH: process.env.PATH ?? "/usr/bin:/bin", HOME: share, TMPDIR: memory },
    });
    const end = () => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
      } catch {
        // It has ended.
      }
    };
    let late = false;
    const timer = setTimeout(
      () => {
        late = true;
        end();
      },
      (options.timeout ?? DEFAULT_TIMEOUT) * 1000,
    );
    process.once("exit", end);
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => options.onOutput(text.replaceAll("\r", "")));
    }
    await new Promise<void>((done, reject) => child.on("close", () => done()).on("error", reject));
    clearTimeout(timer);
    end();
    process.removeListener("exit", end);
    options.collect?.(share);
    if (late) return 124;
    const status = join(share, "status");
    return existsSync(status) ? Number(readFileSync(status, "utf8")) : 125;
  } finally {
    rmSync(share, { recursive: true, force: true });
    rmSync(memory, { recursive: true, force: true });
  }
}

/** Runs test files inside, one after the other, as root, who makes the ordinary users that they need. */
export async function testInUml(files: readonly string[], tap: string | undefined): Promise<number> {
  const words = [
    process.execPath,
    "--test",
    "--test-concurrency=1",
    "--test-reporter=spec",
    "--test-reporter-destination=stdout",
    "--test-reporter=tap",
    "--test-reporter-destination=/run/share/tap",
    ...files.map((file) => resolve(file)),
  ];
  const environment = {
    ROOTLING_TEST_BED: "uml",
    ROOTLING_TEST_TEMP: "/mnt",
    ...(process.stdout.isTTY ? {} : { NO_COLOR: "1" }),
    ...(process.env.ROOTLING_MUST_WORK ? { ROOTLING_MUST_WORK: process.env.ROOTLING_MUST_WORK } : {}),
  };
  const set = Object.entries(environment).map(([name, value]) => `${name}=${shellWord(value)}`);
  return runInUml({
    script: `exec env ${set.join(" ")} ${words.map(shellWord).join(" ")}`,
    onOutput: (text) => process.stdout.write(text),
    collect: (share) => {
      if (tap !== undefined && existsSync(join(share, "tap"))) cpSync(join(share, "tap"), tap);
    },
  });
}

if (import.meta.main) {
  // By its exit the machine is ended too.
  for (const [signal, number] of [
    ["SIGINT", 2],
    ["SIGTERM", 15],
  ] as const)
    process.once(signal, () => process.exit(128 + number));
  const options = {
    tap: { type: "string" },
    part: { type: "string", default: "1/1" },
    all: { type: "boolean", default: false },
  } as const;
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  // --part 1/2: the share of the first of two machines. --all: those that are kept off it, too.
  const [part = 1, parts = 1] = values.part.split("/").map(Number);
  process.exitCode = await testInUml(filesOfPart(positionals, part, parts, values.all), values.tap);
}
