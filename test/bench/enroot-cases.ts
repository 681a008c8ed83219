/** Under enroot's name: containers of images that are stored, starts with all that is shipped, and crowds of starts. */
import { join } from "node:path";
import { packageDirectory, rootlingWords } from "../support/cli.ts";
import { shellWord } from "../support/command.ts";
import { enrootWords } from "../support/enroot.ts";
import { type Bar, type Bed, type Case, OURS, RUNROOT, ratioBar, type Subject } from "./case.ts";

const shell = (words: readonly string[]): string => words.map(shellWord).join(" ");

const ENROOT = "enroot (rootling)";
const JAVASCRIPT = `${ENROOT}, its JavaScript`;

/** The file of an image, as a user of enroot has it: imported once, and a container made of it, so that it is stored. */
const enrootFile = (bed: Bed, image: string, file: string, name: string): string =>
  [
    shell(rootlingWords("import", `docker://${bed.registry}/${image}:1`, "-o", file, "--comp", "zstd:3")),
    shell(enrootWords("create", "--name", name, file)),
  ].join(" && ");

export const enrootCreateCase = (bed: Bed): Case => {
  const [file, directory] = [join(bed.work, "work.sqsh"), join(bed.work, "unsquashed")];
  const named = `${OURS}, by name`;
  return {
    name: "create-enroot",
    about: "a container of an image of 800 MB that is stored, beside unpacking its file as enroot does",
    repetitions: 5,
    warmups: 1,
    before: [
      enrootFile(bed, "work", file, "first"),
      shell(rootlingWords("import", `docker://${bed.registry}/work:1`, "--name", "work", "--progress", "none")),
    ].join(" && "),
    subjects: [
      {
        name: ENROOT,
        before: `${shell(enrootWords("remove", "-f", "made"))} >/dev/null 2>&1 || true`,
        run: enrootWords("create", "--name", "made", file),
      },
      {
        name: named,
        before: `${shell(rootlingWords("remove", "made"))} >/dev/null 2>&1 || true`,
        run: rootlingWords("create", "work", "--name", "made"),
      },
      {
        name: "unsquashfs",
        before: `rm -rf ${shellWord(directory)}`,
        run: ["unsquashfs", "-no-progress", "-quiet", "-d", directory, file],
      },
    ],
    bars: [ENROOT, named].flatMap((ours) => [
      ratioBar("cpu", "unsquashfs", 0.05, ours),
      ratioBar("wall", "unsquashfs", 0.05, ours),
    ]),
  };
};

const cpuBar = (subject: string, limit: number): Bar => ({
  text: `${subject}: CPU time at most ${limit.toFixed(3)} s`,
  limit,
  value: (medians) => medians.get(subject)?.cpu ?? Number.NaN,
});

/** A copy of the package whose executor does nothing but to remove the plan: what is left is the JavaScript. */
function withoutExecutor(bed: Bed): { make: string; command: string } {
  const [copy, from] = [join(bed.work, "javascript"), packageDirectory()];
  const executor = shellWord(join(copy, `dist/executor-${process.arch}`));
  const make = [
    `mkdir ${shellWord(copy)}`,
    ...["bin", "dist", "share", "package.json"].map(
      (part) => `cp -a ${shellWord(join(from, part))} ${shellWord(copy)}`,
    ),
    `ln -s ${shellWord(join(from, "node_modules"))} ${shellWord(copy)}`,
    `printf '#include <unistd.h>\\nint main(int n, char **a) { return unlink(a[n - 1]); }\\n' | musl-gcc -static -x c -o ${executor} -`,
  ].join(" && ");
  return { make, command: join(copy, "bin/enroot") };
}

export const enrootStartCase = (bed: Bed): Case => {
  const { make, command } = withoutExecutor(bed);
  return {
    name: "start-enroot",
    about: "/bin/true with the shipped mounts, environment and hooks",
    repetitions: 20,
    warmups: 2,
    before: `${enrootFile(bed, "busybox", join(bed.work, "busybox.sqsh"), "bench")} && ${make}`,
    subjects: [
      { name: ENROOT, run: enrootWords("start", "bench", "/bin/true") },
      { name: JAVASCRIPT, run: [command, "start", "bench", "/bin/true"] },
      { name: "Node alone", run: [process.execPath, "-e", "0"] },
    ],
    bars: [cpuBar(ENROOT, 0.09), cpuBar(JAVASCRIPT, 0.06)],
  };
};

const CROWD = 200;

/** The command CROWD times at once; fails if one of them does. */
const crowd = (words: readonly string[]): string =>
  `pids=; i=0; while [ $i -lt ${CROWD} ]; do ${shell(words)} & pids="$pids $!"; i=$((i + 1)); done; for pid in $pids; do wait $pid || exit 1; done`;

/** Starts by an ordinary user, whose words are given by `as`: of root's, nothing is. */
export const crowdCase = (bed: Bed): Case => {
  const { user } = bed;
  const asUser = (text: string): string[] => [
    ...user.words(["env", "-i", "-C", user.home, ...Object.entries(user.env).map(([key, value]) => `${key}=${value}`)]),
    ...["sh", "-c", text],
  ];
  const ours = `${ENROOT}, ${CROWD} at once`;
  const source = `docker://${bed.registry}/busybox:1`;
  const file = join(user.home, "busybox.sqsh");
  const rootfs = join(user.home, "rootfs");
  const podman = ["podman", `--root=${join(user.home, "podman")}`, `--runroot=${RUNROOT}-user`];
  const sandbox = "--unshare-user --proc /proc --dev /dev --tmpfs /tmp --ro-bind /sys /sys --chdir /".split(" ");
  const subject = (name: string, words: readonly string[]): Subject => ({ name, run: asUser(crowd(words)) });
  return {
    name: "crowd",
    about: `${CROWD} starts of one image at once, by an ordinary user; the rate is ${CROWD} by the wall time`,
    repetitions: 3,
    warmups: 0,
    before: [
      `cp -a ${shellWord(bed.rootfs)} ${shellWord(rootfs)} && chown -R ${user.uid}:${user.gid} ${shellWord(rootfs)}`,
      shell(
        asUser(
          `${shell(rootlingWords("import", source, "-o", file))} && ${shell(enrootWords("create", "--name", "bench", file))}`,
        ),
      ),
    ].join(" && "),
    subjects: [
      subject(ours, enrootWords("start", "bench", "/bin/true")),
      subject("bubblewrap", ["bwrap", "--ro-bind", rootfs, "/", ...sandbox, "/bin/true"]),
      {
        ...subject("podman run", [
          ...podman,
          ...["run", "--rm", "--network=host", "--cgroups=disabled", "--rootfs", rootfs, "/bin/true"],
        ]),
        ownMounts: true,
        // Its process that keeps an ordinary user's namespaces stays: it must not be waited for.
        first: shell(asUser(shell([...podman, "unshare", "true"]))),
        last: shell(asUser(shell([...podman, "system", "migrate"]))),
      },
    ],
    bars: [],
    rates: CROWD,
  };
};
