/** A real Slurm, whose plugin of the tests' own drives bin/enroot as pyxis does. In a network namespace with only lo. */
import assert from "node:assert/strict";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { packageDirectory } from "../support/cli.ts";
import { background, command, must } from "../support/command.ts";
import { enrootBox } from "../support/enroot.ts";
import { makeTemp } from "../support/temp.ts";

const NODES = ["node1", "node2"];

/** One machine that believes itself to be several. */
const slurmConf = (directory: string): string => `
ClusterName=rootling
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SlurmctldPort=16817
SlurmctldTimeout=300
SlurmdTimeout=300
StateSaveLocation=${directory}/state
SlurmdSpoolDir=${directory}/spool-%n
SlurmctldPidFile=${directory}/ctld.pid
SlurmdPidFile=${directory}/%n.pid
SlurmctldLogFile=${directory}/ctld.log
SlurmdLogFile=${directory}/%n.log
PlugStackConfig=${directory}/plugstack.conf
SelectType=select/cons_tres
SlurmdParameters=config_overrides
${NODES.map((name, i) => `NodeName=${name} NodeHostName=localhost NodeAddr=127.0.0.1 Port=${16818 + i} CPUs=4 State=UNKNOWN`).join("\n")}
PartitionName=all Nodes=${NODES.join(",")} Default=YES MaxTime=INFINITE State=UP OverSubscribe=YES
`;

/** Starts the daemons, says ready, and ends them when its input ends. */
const DAEMONS = `
  ip link set lo up; ip address add 10.98.0.1/32 dev lo
  slurmctld -D -i & ctld=$!
  slurmd -D -N node1 & one=$!
  slurmd -D -N node2 & two=$!
  echo ready
  read -r end
  kill $one $two $ctld; wait`;

if (process.getuid?.() === 0) {
  test("a step of an ordinary user runs in a container: its tasks share it, and nothing of it is left", async (t) => {
    const temp = makeTemp("rootling-slurm-");
    t.after(() => temp.remove());
    const directory = temp.path;
    chmodSync(directory, 0o755);
    for (const name of ["state", ...NODES.map((node) => `spool-${node}`)]) mkdirSync(join(directory, name));
    const box = await enrootBox("plain");
    t.after(() => box.remove());
    const plugin = join(directory, "spank.so");
    const source = join(import.meta.dirname, "../support/spank.c");
    await must(["gcc", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", plugin, source]);
    writeFileSync(join(directory, "slurm.conf"), slurmConf(directory));
    writeFileSync(join(directory, "plugstack.conf"), `required ${plugin} ${join(packageDirectory(), "bin/enroot")}\n`);
    writeFileSync(join(directory, "cgroup.conf"), "CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n");

    let said = "";
    const env = { ...process.env, SLURM_CONF: join(directory, "slurm.conf") } as Record<string, string>;
    const daemons = background(["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", DAEMONS], {
      env,
      keepInput: true,
      timeout: 600_000,
      onStart: (child) => child.stdout?.on("data", (chunk: Buffer) => (said += chunk)),
    });
    t.after(async () => {
      daemons.closeInput();
      await daemons.ended;
    });
    for (let tries = 0; !said.includes("ready") && daemons.alive() && tries < 200; tries++) await sleep(50);
    const inside = (words: readonly string[]) => ["nsenter", `--target=${daemons.pid}`, "--net", "--mount", ...words];
    const idle = async () => (await command(inside(["sinfo", "-h", "-o", "%t %D"]), { env })).stdout.trim();
    let state = "";
    for (let tries = 0; state !== "idle 2" && tries < 300; tries++) {
      await sleep(100);
      state = await idle();
    }
    const log = await command(["sh", "-c", `tail -n 15 ${directory}/*.log`]);
    assert.equal(state, "idle 2", log.stdout);

    const srun = (words: readonly string[]) =>
      command(inside(box.user.words(["srun", "--label", `--container-image=${box.image}`, ...words])), {
        env: { ...box.user.env, SLURM_CONF: env.SLURM_CONF ?? "" },
        cwd: "/",
      });
    const task = 'echo "$(id -u) $(cat /etc/hello) $(readlink /proc/self/ns/mnt) $SLURM_PROCID"';
    const { status, stdout, stderr } = await srun(["-N1", "-n3", "-w", "node1", "/bin/sh", "-c", task]);
    const logs = await command(["sh", "-c", `tail -n 20 ${directory}/node1.log`]);
    assert.equal(status, 0, `${stderr}\n${logs.stdout}`);
    const tasks = stdout
      .trim()
      .split("\n")
      .sort()
      .map((line) => line.replace(/^\d+: /, "").split(" "));
    assert.deepEqual(
      tasks.map(([uid, hello, , rank]) => [uid, hello, rank]),
      ["0", "1", "2"].map((rank) => [String(box.user.uid), "hello", rank]),
    );
    assert.equal(new Set(tasks.map(([, , namespace]) => namespace)).size, 1, "all tasks are in one container");

    // The status of a task is that of the step; another node has a container of its own.
    const failed = await srun(["-N1", "-n1", "-w", "node2", "/bin/sh", "-c", "exit 7"]);
    assert.equal(failed.status, 7, failed.stderr);
    // The daemon of the step ends after srun.
    let left = "";
    for (let tries = 0; left !== "box\n" && tries < 100; tries++) {
      await sleep(50);
      left = await box.must(["list"]);
    }
    assert.equal(left, "box\n", (await command(["sh", "-c", `tail -n 20 ${directory}/node?.log`])).stdout);
    assert.equal((await box.must(["list", "-f"])).trim().split("\n").length, 2);
  });
}
