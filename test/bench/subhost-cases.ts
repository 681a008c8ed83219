/** A subhost over the host's root with one cable, beside what LXC and systemd make of the same. */
import { join } from "node:path";
import { rootlingWords } from "../support/cli.ts";
import { shellWord } from "../support/command.ts";
import { type Bed, type Case, OURS, ratioBar, type Subject } from "./case.ts";

/** A host of its own: network, mounts and /run. nspawn refuses a cgroup v2 tree beside that of v1. */
const HOST = [
  "cat /sys/fs/cgroup/unified/cgroup.procs >/dev/null 2>&1 && umount /sys/fs/cgroup/unified",
  "mount -t tmpfs tmpfs /run",
  "ip link set lo up",
  'echo $$ >"$0.made"',
  'mv "$0.made" "$0"',
  "exec sleep 100000",
].join("\n");

/** Each ends by itself, for the clock stops when the command comes back, but the CPU's only when all has ended. */
const PAYLOAD = "/bin/sleep 0.5";

export const bootCase = (bed: Bed): Case => {
  const at = (name: string) => join(bed.work, name);
  const subject = (name: string, first: readonly string[], run: readonly string[], last = "true"): Subject => {
    const host = shellWord(at(`${name.split(" ")[0]}.host`));
    const there = `nsenter --target=$(cat ${host}) --net --mount --`;
    return {
      name,
      first: [
        `{ unshare --net --mount --propagation private sh -c ${shellWord(HOST)} ${host} >/dev/null 2>&1 & }`,
        `i=0; until [ -e ${host} ] || [ $i -ge 100 ]; do i=$((i + 1)); sleep 0.05; done`,
        ...first.map((line) => `${there} sh -c ${shellWord(line)}`),
      ].join("\n"),
      run: `exec ${there} ${run.map(shellWord).join(" ")} >/dev/null 2>&1`,
      last: `${last}; kill $(cat ${host})`,
    };
  };
  const root = (name: string) => ["root", "work", "live"].map((part) => shellWord(at(`${name}/${part}`))).join(" ");
  const conf = (name: string, lines: readonly string[]) =>
    `mkdir -p ${root(name)} && printf '%s\\n' ${lines.map(shellWord).join(" ")} >${shellWord(at(`${name}/${name}.conf`))}`;
  const live = shellWord(at("nspawn/live"));
  return {
    name: "boot",
    about: "a subhost over / with one cable and no service; nspawn's ends before its command comes back",
    repetitions: 15,
    warmups: 2,
    subjects: [
      subject(
        OURS,
        [conf("bench", ["BASE=.", "CABLES==", `INIT=echo exec ${PAYLOAD}`])],
        rootlingWords("boot", at("bench/bench.conf")),
      ),
      subject(
        "systemd-nspawn",
        [
          `mkdir -p ${root("nspawn")} && mount -t overlay overlay -o ${shellWord(`lowerdir=/,upperdir=${at("nspawn/root")},workdir=${at("nspawn/work")}`)} ${live}`,
        ],
        [
          ..."systemd-nspawn --quiet --register=no --keep-unit --network-veth --machine=bench --link-journal=no -D".split(
            " ",
          ),
          ...[at("nspawn/live"), "/bin/true"],
        ],
      ),
      subject(
        "lxc-start -d",
        [
          conf("lxc", [
            "lxc.uts.name = lxc",
            `lxc.rootfs.path = overlay:/:${at("lxc/root")}`,
            "lxc.net.0.type = veth",
            "lxc.net.0.flags = up",
            "lxc.mount.auto = proc sys",
            "lxc.apparmor.profile = unconfined",
            `lxc.init.cmd = ${PAYLOAD}`,
          ]),
        ],
        ["lxc-start", "-P", bed.work, "-f", at("lxc/lxc.conf"), "-n", "lxc", "-d"],
      ),
    ],
    bars: [ratioBar("wall", "systemd-nspawn", 0.5)],
  };
};
