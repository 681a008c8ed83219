/** What enroot's users pay: containers of stored images, starts with a site's configuration, many starts at once. */
import { join } from "node:path";
import { packageDirectory, rootlingWords } from "../support/cli.ts";
import { shellWord } from "../support/command.ts";
import { cpuBar, shell, storedContainer } from "./boot-cases.ts";
import { type Bed, type Case, OURS, ratioBar, type Subject } from "./case.ts";

const quiet = ["--progress", "none"];

export const storedCreateCase = (bed: Bed): Case => {
  const file = join(bed.work, "work.sqsh");
  const unpacked = join(bed.work, "unpacked");
  return {
    name: "create-beside-unsquashfs",
    about: "a container of an 800 MB image: of a stored one, and by unsquashfs",
    repetitions: 5,
    warmups: 1,
    before: [
      shell(rootlingWords("import", `docker://${bed.registry}/work:1`, "--name", "work", ...quiet)),
      shell(rootlingWords("import", `docker://${bed.registry}/work:1`, "-o", file, ...quiet)),
    ].join(" && "),
    subjects: [
      {
        name: OURS,
        before: `${shell(rootlingWords("remove", "made"))} >/dev/null 2>&1 || true`,
        run: rootlingWords("create", "work", "--name", "made"),
      },
      {
        name: "unsquashfs",
        before: `rm -rf ${shellWord(unpacked)}`,
        run: ["unsquashfs", "-quiet", "-no-progress", "-d", unpacked, file],
        last: `rm -rf ${shellWord(unpacked)}`,
      },
    ],
    bars: [ratioBar("wall", "unsquashfs", 0.05)],
  };
};

/** The shipped mounts, environment and hooks. The plan alone is all that JavaScript does. */
export const configuredStartCase = (bed: Bed): Case => {
  const plan = "its plan alone";
  return {
    name: "enroot-start",
    about: "enroot start of /bin/true with the shipped mounts, environ and hooks",
    repetitions: 20,
    warmups: 2,
    before: `${storedContainer(bed)} && mkdir -p ${shellWord(join(bed.work, "enroot"))} && ln -sfn "$ROOTLING_DATA_PATH" ${shellWord(join(bed.work, "enroot/.rootling"))}`,
    subjects: [
      {
        name: OURS,
        run: [
          "env",
          "ENROOT_ALLOW_SUPERUSER=y",
          `ENROOT_DATA_PATH=${join(bed.work, "enroot")}`,
          ...enrootWords("start", "bench", "/bin/true"),
        ],
      },
      { name: plan, run: rootlingWords("start", "--enroot-files", "--dry-run", "bench", "/bin/true") },
    ],
    bars: [cpuBar(OURS, 0.09), cpuBar(plan, 0.06)],
  };
};

const enrootWords = (...words: string[]): string[] => [join(packageDirectory(), "bin/enroot"), ...words];

const AT_ONCE = 200;

/** The rate is their number by the wall time. */
export const crowdCase = (bed: Bed): Case => {
  const many = (words: readonly string[]): Subject["run"] => [
    ...["sh", "-c", `seq ${AT_ONCE} | xargs -P ${AT_ONCE} -I NUMBER "$@" >/dev/null`, "sh"],
    ...words,
  ];
  const bwrap = ["bwrap", "--unshare-user", "--ro-bind", bed.rootfs, "/", "--proc", "/proc", "--dev", "/dev"];
  const places = [`--root=${join(bed.work, "podman")}`, `--runroot=${join(bed.work, "podman-run")}`];
  const run = ["run", "--rm", "--network=host", "--cgroups=disabled", "--rootfs", bed.rootfs, "/bin/true"];
  return {
    name: "crowd",
    about: `${AT_ONCE} starts of /bin/true of one image at once`,
    repetitions: 3,
    warmups: 0,
    before: storedContainer(bed),
    subjects: [
      { name: OURS, run: many(rootlingWords("start", "bench", "/bin/true")) },
      { name: "bubblewrap", run: many([...bwrap, "/bin/true"]) },
      { name: "podman run", run: many(["podman", ...places, ...run]), ownMounts: true },
    ],
    bars: [],
  };
};
