/**
 * The probe: a program that says what can be seen and done in a sandbox (probe.c, probe-calls.c), run in one, on the host itself, or in
 * a sandbox whose plan was changed.
 */
import { chmodSync, chownSync, existsSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import type { Op, Plan } from "../../src/plan/plan.ts";
import { type Box, emptyBox } from "./boxes.ts";
import { packageDirectory } from "./cli.ts";
import { type Background, background, command, must, type Outcome } from "./command.ts";
import { tarOf, writeLayout } from "./image-support.ts";
import { carryOutPlan, planOf } from "./plans.ts";
import type { UserKind } from "./users.ts";

/** Paths that some kernels or machines do not have: what is not there says nothing of a sandbox. */
const PLACES =
  `/proc/kcore /proc/keys /proc/key-users /proc/timer_list /proc/kmsg /proc/kallsyms /proc/modules /proc/iomem
  /proc/ioports /proc/slabinfo /proc/vmallocinfo /proc/pagetypeinfo /proc/buddyinfo /proc/zoneinfo /proc/kpagecount
  /proc/kpageflags /proc/kpagecgroup /proc/interrupts /proc/softirqs /proc/mtrr /proc/config.gz /proc/partitions
  /proc/diskstats /proc/acpi /proc/scsi /proc/driver /proc/pressure /proc/tty /sys/firmware /sys/kernel /sys/class
  /sys/block /sys/bus /sys/fs /sys/module /sys/devices/virtual /dev/kmsg /dev/kvm /dev/fuse /dev/net /dev/vda /dev/loop0
  /dev/loop-control /dev/vsock /dev/userfaultfd /dev/ttyS0 /dev/tty0 /dev/hwrng /dev/cpu_dma_latency /dev/mem
  /dev/console /dev/btrfs-control /proc/sysrq-trigger
  /proc/self/ns/time`.split(/\s+/);

const NAMESPACES = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"];

export interface Report {
  /** Fact to what was seen of it, for those that hold and those that do not. */
  readonly ok: ReadonlyMap<string, string>;
  readonly bad: ReadonlyMap<string, string>;
  /** What programs need and cannot do. */
  readonly unable: readonly string[];
}

/** Reads the lines of the probe. Throws where it said nothing. */
export function readReport({ stdout, stderr, status }: Outcome): Report {
  const ok = new Map<string, string>();
  const bad = new Map<string, string>();
  const unable: string[] = [];
  for (const line of stdout.trim().split("\n")) {
    const [name = "", verdict, ...detail] = line.split(" ");
    if (name === "able") {
      if (detail[0] !== "yes") unable.push(verdict ?? "");
    } else if (verdict === "ok" || verdict === "bad") (verdict === "ok" ? ok : bad).set(name, detail.join(" "));
  }
  if (ok.size + bad.size < 50) throw new Error(`the probe ended with ${status}: ${stdout}${stderr}`);
  return { ok, bad, unable };
}

/** Compiles the probe, static, for every user to execute. */
export async function compileProbe(target: string): Promise<void> {
  const sources = ["probe.c", "probe-calls.c"].map((name) => join(import.meta.dirname, name));
  const headers = ["-idirafter", "/usr/include", "-idirafter", `/usr/include/${await machine()}-linux-gnu`];
  await must(["musl-gcc", "-std=gnu17", "-static", "-Os", "-Wall", "-o", target, ...sources, ...headers]);
  chmodSync(target, 0o755);
}

const machine = async (): Promise<string> => (await must(["uname", "-m"])).trim();

/** A user whose store holds the image `probe`, with the program at /probe; and what on the host it must not reach. */
export class Bed {
  readonly box: Box;
  readonly #program: string;
  readonly #host: Background;
  readonly #given: readonly string[];
  readonly #name: string;

  private constructor(box: Box, program: string, host: Background, given: readonly string[], name: string) {
    this.box = box;
    this.#program = program;
    this.#host = host;
    this.#given = given;
    this.#name = name;
  }

  static async create(kind: UserKind): Promise<Bed> {
    const box = await emptyBox(kind);
    const program = join(box.scratch, "probe");
    await compileProbe(program);
    const content = readFileSync(program);
    // On the host, of another user; in the image as well.
    const setId = join(box.scratch, "set-id");
    writeFileSync(setId, content);
    if (process.getuid?.() === 0) chownSync(setId, kind === "root" ? 1234 : 0, 0);
    chmodSync(setId, 0o4755);
    writeLayout(join(box.scratch, "layout"), [
      tarOf([
        { path: "probe", content, mode: 0o755 },
        { path: "set-id", content, mode: 0o4755, uid: 1234 },
      ]),
    ]);
    await command(["chmod", "-R", "a+rX", join(box.scratch, "layout")]);
    await box.must(["import", `oci:${join(box.scratch, "layout")}`, "--name", "probe"]);
    const name = `rootling-probe-${process.pid}-${kind}`;
    const key = String(0x70000000 + process.pid);
    const { host, line } = await listening(box.user.words([program, "host", name, key, name]), box.user.env);
    const [port, pid, keyring] = line.split(" ");
    const given = [
      ...NAMESPACES.filter((one) => existsSync(`/proc/self/ns/${one}`)).map(
        (one) => `namespace.${one}=${readlinkSync(`/proc/self/ns/${one}`)}`,
      ),
      ...[`abstract=${name}`, `port=${port}`, `shm=${key}`, `file=${name}`, `process=${pid}`],
      ...[`host=${hostname()}`, `session=${sessionOf(process.pid)}`, `set-id=${setId}`],
      ...[`store=${box.user.env.ROOTLING_DATA_PATH}`],
      ...[`missing=,${PLACES.filter((path) => !existsSync(path)).join(",")},`, `keyring=${keyring}`],
    ];
    return new Bed(box, program, host, given, name);
  }

  /** As the user, without any sandbox. */
  async bare(): Promise<Report> {
    const { user } = this.box;
    const leaky = this.#caller([this.#program, ...this.#given]);
    // Capabilities that would be inherited, where there is somebody to have them.
    const ambient = ["setpriv", "--inh-caps=+net_raw", "--ambient-caps=+net_raw"];
    return readReport(await user.run(user.kind === "root" ? [...ambient, ...leaky] : leaky, { env: { SECRET: "s" } }));
  }

  /** `rootling run FLAGS probe`, by a caller that leaks descriptors and has secrets. */
  async run(...flags: string[]): Promise<Report> {
    const words = [join(packageDirectory(), "bin/rootling"), "run", ...flags, "probe", "/probe", ...this.#given];
    return readReport(await this.box.user.run(this.#caller(words), { env: { SECRET: "s" } }));
  }

  /** The plan of such a run. */
  async plan(...flags: string[]): Promise<Plan> {
    return planOf(this.box, ["run", ...flags, "probe", "/probe", ...this.#given]);
  }

  /** Carries out a plan whose ops were changed. */
  async changed(plan: Plan, change: (ops: readonly Op[]) => readonly Op[]): Promise<Report> {
    return readReport(await carryOutPlan(this.box, plan, change, { caller: this.#caller([]), env: { SECRET: "s" } }));
  }

  /** By a caller with a session keyring, and with the descriptors 3 to 64 open on the host's root. */
  #caller(argv: readonly string[]): string[] {
    const leaks = 'for ((fd = 3; fd <= 64; fd++)); do eval "exec $fd</"; done; exec "$@"';
    return ["bash", "-c", leaks, "bash", this.#program, "join", this.#name, ...argv];
  }

  async remove(): Promise<void> {
    await this.#host.end("SIGTERM");
    await this.box.remove();
  }
}

/** Field 6 of /proc/PID/stat. */
const sessionOf = (pid: number): string =>
  readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ")[3] ?? "";

/** Starts a program that stays, and waits for its first line. */
function listening(argv: readonly string[], env: Record<string, string>): Promise<{ host: Background; line: string }> {
  return new Promise((resolve, reject) => {
    const host: Background = background(argv, {
      env,
      timeout: 900_000,
      onStart: (child) => {
        child.stdout?.once("data", (chunk: Buffer) => {
          // On the next turn `host` is set.
          setImmediate(() => resolve({ host, line: chunk.toString().trim() }));
        });
      },
    });
    host.ended.then(({ stderr }) => reject(new Error(stderr)), reject);
  });
}
