/** What is measured: cases, each with rootling as its first subject and the peers beside it. */
import { join } from "node:path";
import { rootlingWords } from "../support/cli.ts";
import { shellWord } from "../support/command.ts";
import type { Sample } from "./measure.ts";
import { SCALES, scaleTag } from "./scale.ts";

export interface Bed {
  /** Where subjects work: emptied by `before`. */
  work: string;
  /** `127.0.0.1:PORT` of the registry that has `work:1` and `busybox:1`. */
  registry: string;
  /** The busybox image, unpacked: for peers that start directories. */
  rootfs: string;
  /** A bundle of it for OCI runtimes. */
  bundle: string;
  /** The merged tree of `work:1` as one tar, and its layers as they are stored: for what no import can do without. */
  floor: { tar: string; blobs: readonly string[] };
  /** Written to a disk: what a case writes is synced at its end. */
  onDisk: boolean;
}

export interface Subject {
  name: string;
  /** Shell text, not measured. */
  before?: string;
  /** Shell text that is measured, as one `sh -c`, or words that are measured without a shell. */
  run: string | readonly string[];
  /** In a mount namespace without the half-made cgroup v2 tree of hybrid hosts, which crun and podman refuse. */
  ownMounts?: boolean;
}

/** What has to hold: a limit for a number of ours, or for its ratio to a peer's. */
export interface Bar {
  text: string;
  limit: number;
  value(medians: ReadonlyMap<string, Sample>): number;
}

export interface Case {
  name: string;
  about: string;
  repetitions: number;
  /** Runs of each subject before the first that counts. */
  warmups: number;
  subjects: Subject[];
  bars: Bar[];
}

export const OURS = "rootling";

const ratioBar = (what: "wall" | "cpu", peer: string, limit: number): Bar => ({
  text: `${what === "cpu" ? "CPU" : "wall"} time at most ${limit} × ${peer}`,
  limit,
  value: (medians) => (medians.get(OURS)?.[what] ?? Number.NaN) / (medians.get(peer)?.[what] ?? Number.NaN),
});

const importCases = (bed: Bed, image: string, about: string, repetitions: number): Case[] => {
  const source = `docker://${bed.registry}/${image}:1`;
  const inWork = (name: string) => shellWord(join(bed.work, name));
  const rootling = (...words: string[]) =>
    rootlingWords(...words)
      .map(shellWord)
      .join(" ");
  const clear = `rm -rf ${shellWord(bed.work)} && mkdir ${shellWord(bed.work)}`;
  const sync = bed.onDisk ? `sync -f ${shellWord(bed.work)}` : "true";
  const copy = `skopeo copy --quiet --insecure-policy --src-tls-verify=false ${source} oci:${inWork("layout")}:x`;
  const unpack = `${copy} && umoci unpack --image ${inWork("layout")}:x ${inWork("bundle")} >/dev/null`;
  const squash = `mksquashfs ${inWork("bundle")}/rootfs ${inWork("out.sqsh")} -comp zstd -Xcompression-level 3 -noappend -no-progress -quiet`;
  const squashPeer = "skopeo + umoci + mksquashfs";
  const suffix = image === "work" ? "" : `-${image}`;
  return [
    {
      name: `import-squashfs${suffix}`,
      about: `${about}: from a registry to a squashfs file, zstd level 3, nothing in the cache`,
      repetitions,
      warmups: 0,
      subjects: [
        {
          name: OURS,
          before: clear,
          run: `${rootling("import", source)} -o ${inWork("out.sqsh")} --comp zstd:3 && ${sync}`,
        },
        { name: squashPeer, before: clear, run: `${unpack} && ${squash} && ${sync}` },
        ...(image === "work" ? [floorSubject(bed, clear, inWork("out.sqsh"), sync)] : []),
      ],
      bars:
        image === "work"
          ? [ratioBar("cpu", squashPeer, 0.55), ratioBar("wall", squashPeer, 0.5), ratioBar("cpu", FLOOR, 1.15)]
          : [],
    },
    {
      name: `import-store${suffix}`,
      about: `${about}: from a registry into the store, nothing in the cache`,
      repetitions,
      warmups: 0,
      subjects: [
        { name: OURS, before: clear, run: `${rootling("import", source)} --name bench && ${sync}` },
        { name: "skopeo + umoci", before: clear, run: `${unpack} && ${sync}` },
        {
          name: "podman pull",
          before: `podman --root ${inWork("podman")} --runroot ${inWork("podman-run")} rmi --all --force >/dev/null 2>&1; ${clear}`,
          run: `podman --root ${inWork("podman")} --runroot ${inWork("podman-run")} --storage-driver overlay pull --quiet --tls-verify=false ${source} >/dev/null && ${sync}`,
          ownMounts: true,
        },
      ],
      bars:
        image === "work"
          ? [
              ratioBar("cpu", "podman pull", 0.45),
              ratioBar("cpu", "skopeo + umoci", 0.5),
              ratioBar("wall", "podman pull", 0.6),
              ratioBar("wall", "skopeo + umoci", 0.6),
            ]
          : [],
    },
    {
      name: `import-again${suffix}`,
      about: `${about}: into a store that has it`,
      repetitions: 7,
      // The first one stores it.
      warmups: 1,
      subjects: [{ name: OURS, run: `${rootling("import", source)} --name bench` }],
      bars: [
        { text: "wall time at most 0.120 s", limit: 0.12, value: (medians) => medians.get(OURS)?.wall ?? Number.NaN },
      ],
    },
  ];
};

const FLOOR = "floor";

/** Inflating and two digests, beside mksquashfs reading the merged tree as a tar: the same bytes, and nothing else. */
function floorSubject(bed: Bed, before: string, out: string, sync: string): Subject {
  const words = [process.execPath, join(import.meta.dirname, "floor.ts"), ...bed.floor.blobs].map(shellWord).join(" ");
  const squash = `mksquashfs - ${out} -tar -comp zstd -Xcompression-level 3 -noappend -no-progress -quiet <${shellWord(bed.floor.tar)}`;
  return { name: FLOOR, before, run: `${words} & ${squash} && wait $! && ${sync}` };
}

const startCase = (bed: Bed): Case => ({
  name: "start",
  about: "a whole start of /bin/true, from the first word to the exit status",
  repetitions: 20,
  warmups: 2,
  subjects: [
    { name: OURS, run: rootlingWords("start", "bench", "/bin/true") },
    {
      name: "podman run",
      run: [
        "podman",
        `--root=${join(bed.work, "podman")}`,
        `--runroot=${join(bed.work, "podman-run")}`,
        "run",
        "--rm",
        "--network=host",
        "--cgroups=disabled",
        "--rootfs",
        bed.rootfs,
        "/bin/true",
      ],
      ownMounts: true,
    },
    {
      name: "crun run",
      run: ["crun", `--root=${join(bed.work, "crun")}`, "--cgroup-manager=disabled", "run", "-b", bed.bundle, "bench"],
      ownMounts: true,
    },
    {
      name: "bubblewrap",
      run: "bwrap --unshare-user --ro-bind ROOT / --proc /proc --dev-bind /dev /dev --tmpfs /tmp --ro-bind /sys /sys --chdir / /bin/true"
        .split(" ")
        .map((word) => (word === "ROOT" ? bed.rootfs : word)),
    },
  ],
  bars: [
    {
      text: "CPU time at most 0.090 s",
      limit: 0.09,
      value: (medians) => medians.get(OURS)?.cpu ?? Number.NaN,
    },
  ],
});

/** Where the images of the case `scale` are: made by its preparation. */
export const scaleLayout = (bed: Bed): string => join(bed.work, "scale");

/** To a tar, so that no other program's way of reading many entries is in the numbers. */
const scaleCase = (bed: Bed): Case => {
  const name = (entries: number) => `${OURS}, ${entries.toLocaleString("en")} entries`;
  const run = (entries: number) => [
    ...["env", "ROOTLING_MAX_ENTRIES=2000000"],
    ...rootlingWords("import", `oci:${scaleLayout(bed)}:${scaleTag(entries)}`),
    ...["-o", join(bed.work, "out.tar"), "--force", "--format", "tar"],
  ];
  const per = (medians: ReadonlyMap<string, Sample>, entries: number) =>
    (medians.get(name(entries))?.cpu ?? Number.NaN) / entries;
  const memory = (medians: ReadonlyMap<string, Sample>, entries: number) =>
    (medians.get(name(entries))?.memory ?? Number.NaN) / 1e6;
  return {
    name: "scale",
    about: "images of 10 thousand files in one layer, 100 thousand and a million in 20 layers, to a tar",
    repetitions: 3,
    warmups: 0,
    subjects: SCALES.map(({ entries }) => ({ name: name(entries), run: run(entries) })),
    bars: [
      {
        text: "CPU an entry at a million at most 1.3 × that at 100,000",
        limit: 1.3,
        value: (medians) => per(medians, 1_000_000) / per(medians, 100_000),
      },
      {
        text: "MB of memory for 100,000 files in 20 layers at most 256",
        limit: 256,
        value: (medians) => memory(medians, 100_000),
      },
    ],
  };
};

export const casesOf = (bed: Bed): Case[] => [
  scaleCase(bed),
  ...importCases(bed, "work", "four layers, 800 MB in 17,000 names", 3),
  ...importCases(bed, "busybox", "the busybox image", 7),
  startCase(bed),
];

/** What has to be there before the case `start`: a container in the store. */
export const startPreparation = (bed: Bed): string[][] => [
  rootlingWords("import", `docker://${bed.registry}/busybox:1`, "--name", "bench"),
  rootlingWords("create", "bench", "--name", "bench"),
];
