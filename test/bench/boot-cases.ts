/** Starts, commands in running containers, new containers, and the executor by itself, beside the peers. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { op } from "../../src/plan/plan.ts";
import { toWire } from "../../src/plan/wire.ts";
import { packageDirectory, rootlingWords } from "../support/cli.ts";
import { shellWord } from "../support/command.ts";
import { type Bar, type Bed, type Case, OURS, RUNROOT, ratioBar, type Subject } from "./case.ts";

const shell = (words: readonly string[]): string => words.map(shellWord).join(" ");

const cpuBar = (subject: string, limit: number): Bar => ({
  text: `${subject}: CPU time at most ${limit.toFixed(3)} s`,
  limit,
  value: (medians) => medians.get(subject)?.cpu ?? Number.NaN,
});

const podman = (bed: Bed, ...words: string[]): string[] => [
  ...["podman", `--root=${join(bed.work, "podman")}`, `--runroot=${RUNROOT}`],
  ...words,
];

/** Of podman run: the namespaces that ours has too, and no network of its own. */
const PODMAN_RUN = ["--network=host", "--cgroups=disabled"];

const crunRun = (bed: Bed): Subject => ({
  name: "crun run",
  run: ["crun", `--root=${join(bed.work, "crun")}`, "--cgroup-manager=disabled", "run", "-b", bed.bundle, "bench"],
  ownMounts: true,
});

/** A container in the store. */
const storedContainer = (bed: Bed): string =>
  [
    shell(rootlingWords("import", `docker://${bed.registry}/busybox:1`, "--name", "bench", "--progress", "none")),
    shell(rootlingWords("create", "bench", "--name", "bench")),
  ].join(" && ");

const PRIVATE = `${OURS}, private namespaces`;

export const startCase = (bed: Bed): Case => ({
  name: "start",
  about: "a whole start of /bin/true, from the first word to the exit status",
  repetitions: 20,
  warmups: 2,
  before: storedContainer(bed),
  subjects: [
    { name: OURS, run: rootlingWords("start", "bench", "/bin/true") },
    { name: PRIVATE, run: rootlingWords("start", "--pid", "--ipc", "--uts", "bench", "/bin/true") },
    {
      name: "podman run",
      run: podman(bed, "run", "--rm", ...PODMAN_RUN, "--rootfs", bed.rootfs, "/bin/true"),
      ownMounts: true,
    },
    crunRun(bed),
    {
      name: "bubblewrap",
      run: "bwrap --unshare-user --ro-bind ROOT / --proc /proc --dev-bind /dev /dev --tmpfs /tmp --ro-bind /sys /sys --chdir / /bin/true"
        .split(" ")
        .map((word) => (word === "ROOT" ? bed.rootfs : word)),
    },
    { name: "Node alone", run: [process.execPath, "-e", "0"] },
  ],
  bars: [
    cpuBar(OURS, 0.06),
    ratioBar("cpu", "podman run", 0.5),
    cpuBar(PRIVATE, 0.06),
    ratioBar("cpu", "podman run", 0.5, PRIVATE),
  ],
});

export const execCase = (bed: Bed): Case => {
  const pid = shellWord(join(bed.work, "bench.pid"));
  const running = shell(rootlingWords("start", "--pid", "bench", "/bin/sleep", "1000"));
  const entered = shell(rootlingWords("exec", "bench", "/bin/true"));
  return {
    name: "exec",
    about: "/bin/true in a container that runs",
    repetitions: 20,
    warmups: 2,
    before: `${storedContainer(bed)} && { ${running} >/dev/null 2>&1 & echo $! >${pid}; } && i=0 && until ${entered} 2>/dev/null; do i=$((i + 1)); [ $i -lt 100 ] || exit 1; sleep 0.1; done`,
    after: `kill $(cat ${pid})`,
    subjects: [
      { name: OURS, run: rootlingWords("exec", "bench", "/bin/true") },
      {
        name: "podman exec",
        first: shell(
          podman(bed, "run", "--detach", "--name=bench", ...PODMAN_RUN, "--rootfs", bed.rootfs, "/bin/sleep", "1000"),
        ),
        run: podman(bed, "exec", "bench", "/bin/true"),
        last: shell(podman(bed, "rm", "--force", "--time=0", "bench")),
        ownMounts: true,
      },
    ],
    bars: [cpuBar(OURS, 0.05)],
  };
};

/** What stays beside the payload: the proportional set (PSS, proc(5)) of the processes, in bytes. */
const pssOf = (pids: string): string =>
  `for pid in ${pids}; do cat /proc/$pid/smaps_rollup; done | awk '/^Pss:/ { sum += $2 } END { print sum * 1024 }'`;

export const detachedCase = (bed: Bed): Case => {
  const [pid, pss] = ["conmon.pid", "pss"].map((name) => join(bed.work, name));
  const name = "rootling, what stays";
  const monitor = `$(${shell(rootlingWords("list", "--json"))} | sed -n 's/.*"pid": \\([0-9]*\\).*/\\1/p')`;
  const conmon = podman(
    bed,
    ...["run", "--detach", "--name=bench", `--conmon-pidfile=${pid}`, ...PODMAN_RUN],
    ...["--rootfs", bed.rootfs, "/bin/sleep", "1000"],
  );
  const observed = (start: readonly string[], pids: string, end: readonly string[]) => ({
    run: `{ ${shell(start)} && ${pssOf(pids)} >${pss}; ${shell(end)}; } >/dev/null`,
    memory: `cat ${pss}`,
  });
  return {
    name: "detached",
    about: "started to go on by itself, looked at, and ended; memory is the PSS of what stays beside the payload",
    repetitions: 10,
    warmups: 1,
    before: storedContainer(bed),
    subjects: [
      {
        name,
        ...observed(
          rootlingWords("start", "--detach", "bench", "/bin/sleep", "1000"),
          monitor,
          rootlingWords("stop", "--timeout=0", "bench"),
        ),
      },
      {
        name: "podman run --detach",
        ...observed(conmon, `$(cat ${pid})`, podman(bed, "rm", "--force", "--time=0", "bench")),
        ownMounts: true,
      },
    ],
    bars: [
      {
        text: "MB of memory beside the payload at most 1",
        limit: 1,
        value: (medians) => (medians.get(name)?.memory ?? Number.NaN) / 1e6,
      },
    ],
  };
};

/** A container is a reference to its image: how large that is must not be seen. */
export const createCase = (bed: Bed): Case => {
  const large = `${OURS}, of 800 MB`;
  const small = `${OURS}, of busybox`;
  const subject = (name: string, image: string): Subject => ({
    name,
    before: `${shell(rootlingWords("remove", "made"))} >/dev/null 2>&1 || true`,
    run: rootlingWords("create", image, "--name", "made"),
  });
  const images = ["work", "busybox"].map((image) =>
    shell(rootlingWords("import", `docker://${bed.registry}/${image}:1`, "--name", image, "--progress", "none")),
  );
  return {
    name: "create",
    about: "a container of a stored image",
    repetitions: 15,
    warmups: 1,
    before: images.join(" && "),
    subjects: [subject(large, "work"), subject(small, "busybox")],
    bars: [ratioBar("cpu", small, 1.15, large), ratioBar("wall", small, 1.15, large)],
  };
};

/** The plan of a sandbox with the mounts that bubblewrap is asked for, and a map of one id. */
export function sandboxWire(bed: Bed, stage: string): Buffer {
  const step = (...[verb, ...fields]: [Parameters<typeof op>[0], ...string[]]) => op(verb, "bench", ...fields);
  const ops = [
    step("namespaces", "user,mount"),
    step("id-map", "0 0 1", "0 0 1", "deny"),
    step("propagation", "/", "slave"),
    step("bind", bed.rootfs, stage, "ro,nosuid,nodev", "", "rec", "none", "0"),
    step("root", stage),
    step("bind", "/proc", "/proc", "", "", "rec", "none", "0"),
    step("bind", "/dev", "/dev", "", "", "rec", "none", "0"),
    step("mount", "tmpfs", "tmpfs", "/tmp", "nosuid,nodev", "mode=755", "none"),
    step("bind", "/sys", "/sys", "ro", "", "rec", "none", "0"),
    step("pivot"),
    step("capabilities", "0", "0"),
    step("no-new-privileges"),
    step("environment", "PATH=/bin"),
    step("workdir", "/"),
    step("exec", "/bin/true"),
  ];
  return toWire({ version: 1, topology: "in-place", ops, remarks: [] }, []);
}

export const sandboxFiles = (bed: Bed) => ({
  wire: join(bed.work, "sandbox.wire"),
  stage: join(bed.work, "stage"),
});

export const executorCase = (bed: Bed): Case => {
  const { wire } = sandboxFiles(bed);
  const used = `${wire}.used`;
  const mounts = ["--bind /proc /proc", "--dev-bind /dev /dev", "--tmpfs /tmp", "--ro-bind /sys /sys"];
  const sandbox = ["--unshare-user", "--ro-bind", bed.rootfs, "/", ...mounts.flatMap((words) => words.split(" "))];
  return {
    name: "executor",
    about: "the executor by itself: one id, the same mounts as bubblewrap",
    repetitions: 40,
    warmups: 3,
    subjects: [
      {
        name: OURS,
        // It removes what it read.
        before: `cp -p ${shellWord(wire)} ${shellWord(used)}`,
        run: [join(packageDirectory(), `dist/executor-${process.arch}`), used],
      },
      { name: "bubblewrap", run: ["bwrap", ...sandbox, "--chdir", "/", "/bin/true"] },
      crunRun(bed),
    ],
    bars: [
      ratioBar("cpu", "bubblewrap", 1.3),
      ratioBar("wall", "bubblewrap", 1.3),
      ratioBar("cpu", "crun run", 0.7),
      ratioBar("wall", "crun run", 0.7),
    ],
  };
};

/** What a bundle is more than its compressed root: the script and the executor. */
const overhead = (bundle: string): Bar => ({
  text: "bytes beside the compressed root at most 300,000",
  limit: 300_000,
  value: () => {
    const offset = /^offset='([0-9]+)'$/m.exec(readFileSync(bundle, "latin1").slice(0, 4096))?.[1];
    return Number(offset ?? Number.NaN);
  },
});

export const bundleCase = (bed: Bed): Case => {
  const bundle = join(bed.work, "bench.run");
  const tar = join(bed.work, "bench.tar.gz");
  return {
    name: "bundle",
    about: "/bin/true of busybox as a bundle: unpacked, started, removed",
    repetitions: 20,
    warmups: 2,
    before: [
      storedContainer(bed),
      shell(rootlingWords("bundle", "bench", "--force", "-o", bundle)),
      `tar -C ${shellWord(bed.rootfs)} -czf ${shellWord(tar)} .`,
    ].join(" && "),
    subjects: [
      { name: OURS, run: [bundle, "-q", "/bin/true"] },
      {
        name: "mktemp, tar, rm",
        run: `d=$(mktemp -d) && tar -C "$d" -xzf ${shellWord(tar)} && rm -rf "$d"`,
      },
    ],
    bars: [cpuBar(OURS, 0.12), overhead(bundle)],
  };
};
