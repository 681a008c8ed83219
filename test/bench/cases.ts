/** What is measured: cases, each with rootling as its first subject and the peers beside it. */
import { join } from "node:path";
import { rootlingWords } from "../support/cli.ts";
import { shellWord } from "../support/command.ts";
import { bundleCase, createCase, detachedCase, execCase, executorCase, startCase } from "./boot-cases.ts";
import { type Bed, type Case, OURS, RUNROOT, ratioBar, type Subject } from "./case.ts";
import { mappedDirCase } from "./dir-cases.ts";
import { diskCase } from "./disk-cases.ts";
import { crowdCase, enrootCreateCase, enrootStartCase } from "./enroot-cases.ts";
import { initCase, machineCase } from "./guest-cases.ts";
import type { Sample } from "./measure.ts";
import { SCALES, scaleTag } from "./scale.ts";
import { bootCase } from "./subhost-cases.ts";

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
          before: `podman --root ${inWork("podman")} --runroot ${RUNROOT} rmi --all --force >/dev/null 2>&1; ${clear}`,
          run: `podman --root ${inWork("podman")} --runroot ${RUNROOT} --storage-driver overlay pull --quiet --tls-verify=false ${source} >/dev/null && ${sync}`,
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

/** A tag that shares three of four layers with an image that is there: beside all of it, and beside the new layer alone. */
const nextCases = (bed: Bed): Case[] => {
  const clear = `rm -rf ${shellWord(bed.work)} && mkdir ${shellWord(bed.work)}`;
  const sync = bed.onDisk ? `sync -f ${shellWord(bed.work)}` : "true";
  const line = (image: string, ...words: string[]) =>
    `${rootlingWords("import", `docker://${bed.registry}/${image}:1`, ...words)
      .map(shellWord)
      .join(" ")} && ${sync}`;
  const podman = `podman --root ${shellWord(join(bed.work, "podman"))} --runroot ${RUNROOT}`;
  const pull = (image: string) =>
    `${podman} --storage-driver overlay pull --quiet --tls-verify=false docker://${bed.registry}/${image}:1 >/dev/null`;
  const peer = (tag: string) => ({
    name: "podman pull",
    before: `${podman} rmi --all --force >/dev/null 2>&1; ${clear} && ${pull("work")}`,
    run: `${pull(tag)} && ${sync}`,
    ownMounts: true,
  });
  const nextCase = (
    name: string,
    about: string,
    tag: string,
    words: string[],
    peers: Case["subjects"],
    bars: Case["bars"] = [],
  ): Case => ({
    name: `import-${name}`,
    about: `a tag of which three of four layers are there, ${about}`,
    repetitions: 3,
    warmups: 0,
    subjects: [
      { name: OURS, before: `${clear} && ${line("work", "--name", "work")}`, run: line(tag, ...words) },
      { name: "all of it, nothing there", before: clear, run: line(tag, ...words) },
      { name: "the new layer alone", before: clear, run: line("change", ...words) },
      ...peers,
    ],
    bars,
  });
  const store = ["--name", "next"];
  const squashfs = ["-o", join(bed.work, "out.sqsh"), "--comp", "zstd:3"];
  return [
    nextCase(
      "next-store",
      "to the store",
      "next",
      store,
      [peer("next")],
      [
        // About the new layer: what is left is to make all names anew.
        ratioBar("cpu", "the new layer alone", 2),
        ratioBar("cpu", "podman pull", 1),
      ],
    ),
    // They are in no stored tree, so that one shared layer is read again.
    nextCase("uncovering-store", "with files that the old tag's top layer had removed", "uncovering", store, [
      peer("uncovering"),
    ]),
    nextCase("next-squashfs", "to a squashfs file", "next", squashfs, []),
  ];
};

const FLOOR = "floor";

/** Inflating and two digests, beside mksquashfs reading the merged tree as a tar: the same bytes, and nothing else. */
function floorSubject(bed: Bed, before: string, out: string, sync: string): Subject {
  const words = [process.execPath, join(import.meta.dirname, "floor.ts"), ...bed.floor.blobs].map(shellWord).join(" ");
  const squash = `mksquashfs - ${out} -tar -comp zstd -Xcompression-level 3 -noappend -no-progress -quiet <${shellWord(bed.floor.tar)}`;
  return { name: FLOOR, before, run: `${words} & ${squash} && wait $! && ${sync}` };
}

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
  ...nextCases(bed),
  mappedDirCase(bed),
  diskCase(bed),
  ...importCases(bed, "busybox", "the busybox image", 7),
  startCase(bed),
  execCase(bed),
  detachedCase(bed),
  bootCase(bed),
  createCase(bed),
  bundleCase(bed),
  executorCase(bed),
  enrootStartCase(bed),
  enrootCreateCase(bed),
  crowdCase(bed),
  initCase(bed),
  machineCase(bed),
];
