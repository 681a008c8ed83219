/** The extra hooks of share/enroot: what a site may link into its hooks.d. Programs of the host are our own here. */
import assert from "node:assert/strict";
import { chmodSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { packageDirectory } from "../support/cli.ts";
import { type BareEnrootBox, bareEnrootBox, configure } from "../support/enroot.ts";
import { ordinaryKinds } from "../support/users.ts";

describe("extra hooks", () => {
  let box: BareEnrootBox;
  let site: string;
  let programs: string;
  before(async () => {
    box = await bareEnrootBox(ordinaryKinds[0] ?? "plain");
    await box.foreign("box");
    site = join(box.scratch, "site");
    programs = join(box.scratch, "programs");
    mkdirSync(programs);
  });
  after(() => box.remove());

  const program = (name: string, text: string) => {
    writeFileSync(join(programs, name), `#!/bin/sh\n${text}\n`);
    chmodSync(join(programs, name), 0o755);
  };
  /** Links one of the hooks into the site's configuration, as its administrator does. */
  const link = (name: string) => {
    configure(site, {});
    symlinkSync(join(packageDirectory(), "share/enroot/hooks.d-extra", name), join(site, "hooks.d", name));
  };
  const start = (env: Record<string, string>, inside: readonly string[], command: readonly string[]) =>
    box.run(["start", ...inside.flatMap((each) => ["--env", each]), "box", ...command], {
      env: { ENROOT_SYSCONF_PATH: site, ENROOT_LOGIN_SHELL: "no", PATH: `${programs}:${box.user.env.PATH}`, ...env },
    });
  /** The variables inside that were not given, sorted. */
  const added = async (env: Record<string, string>, ...inside: string[]): Promise<string[]> => {
    const { status, stdout, stderr } = await start(env, inside, ["env"]);
    assert.equal(status, 0, stderr);
    const known = new Set([...inside, ""].flatMap((each) => [each, each.split("=")[0]]));
    const own = (line: string) => !known.has(line) && !/^(HOME|PATH|PWD|SHLVL|TERM|_)=/.test(line);
    return stdout.split("\n").filter(own).sort();
  };

  test("mig-config: whole GPUs in MIG mode", async () => {
    link("50-mig-config.sh");
    const told = join(box.user.home, "told");
    const mode = (text: string) => program("nvidia-smi", `echo "$@" >>"${told}"; printf '${text}'`);
    mode("Disabled\\nEnabled\\n");
    const all = ["NVIDIA_MIG_CONFIG_DEVICES=all"];
    assert.deepEqual(await added({}, "NVIDIA_VISIBLE_DEVICES=all"), all);
    assert.deepEqual(await added({ NVIDIA_VISIBLE_DEVICES: "0,1" }), all);
    for (const none of ["", "void", "none", "MIG-1234", "0:1"])
      assert.deepEqual(await added({ NVIDIA_VISIBLE_DEVICES: none }, "NVIDIA_VISIBLE_DEVICES=all"), [], none);
    const { stdout } = await box.user.run(["cat", told]);
    const words = "--query-gpu=mig.mode.current --format=csv,noheader";
    assert.equal(stdout, `${words}\n${words} -i 0,1\n`);
    mode("Disabled\\n[N/A]\\n");
    assert.deepEqual(await added({}, "NVIDIA_VISIBLE_DEVICES=0"), []);
    rmSync(join(programs, "nvidia-smi"));
    assert.deepEqual(await added({}), []);
    const without = await start({}, ["NVIDIA_VISIBLE_DEVICES=0"], ["true"]);
    assert.deepEqual([without.status, without.stdout], [1, ""]);
    assert.match(without.stderr, /there is no nvidia-smi/);
  });

  test("sharp: the daemon's socket, where adapters are asked for", async (t) => {
    link("50-sharp.sh");
    assert.deepEqual(await added({}, "MELLANOX_VISIBLE_DEVICES=all"), [], "without a daemon");
    const name = `sharpd_rootling_${process.pid}`;
    for (const path of ["sharpd_unix_sock", name]) {
      const server = createServer().listen(`\0${path}`);
      t.after(() => server.close());
    }
    const some = [
      "NCCL_COLLNET_ENABLE=1",
      "SHARP_COLL_LOCK_ON_COMM_INIT=1",
      "SHARP_COLL_NUM_COLL_GROUP_RESOURCE_ALLOC_THRESHOLD=0",
      `SHARP_COLL_SHARPD_SOCKET_NAME=${name}`,
    ];
    assert.deepEqual(await added({ MELLANOX_VISIBLE_DEVICES: "0" }), some);
    const nodes = await added({ SLURM_STEP_NUM_NODES: "4" }, "MELLANOX_VISIBLE_DEVICES=all", "NCCL_COLLNET_ENABLE=0");
    assert.deepEqual(nodes, ["NCCL_SHARP_GROUP_SIZE_THRESH=4", ...some.slice(1)]);
    assert.deepEqual(await added({ MELLANOX_VISIBLE_DEVICES: "void" }, "MELLANOX_VISIBLE_DEVICES=all"), []);
    assert.deepEqual(await added({}), []);
  });

  test("slurm-pytorch: the job as torch.distributed sees it", async () => {
    link("50-slurm-pytorch.sh");
    program("scontrol", '[ "$*" = "show hostnames n[1-2]" ] && printf "n1\\nn2\\n"');
    const step = {
      SLURM_JOB_ID: "5000",
      SLURM_STEP_NODELIST: "n[1-2]",
      SLURM_NTASKS: "4",
      SLURM_PROCID: "3",
      SLURM_LOCALID: "1",
      SLURM_STEP_NUM_TASKS: "4",
      SLURM_STEP_NUM_NODES: "2",
    };
    assert.deepEqual(await added(step), []);
    assert.deepEqual(await added(step, "PYTORCH_VERSION=2", "RANK=7"), [
      "LOCAL_RANK=1",
      "MASTER_ADDR=n1",
      "MASTER_PORT=61464",
      "OMP_NUM_THREADS=1",
      "WORLD_SIZE=4",
    ]);
    assert.deepEqual(await added({}, "PYTORCH_VERSION=2"), []);
  });

  test("slurm-pmi: variables and directories of the process manager", async () => {
    link("50-slurm-pmi.sh");
    const server = join(box.scratch, "server");
    const application = join(box.scratch, "system/spmix_appdir_12_7.0");
    for (const directory of [server, application]) mkdirSync(directory, { recursive: true });
    const step = { SLURM_JOB_ID: "7", SLURM_STEP_ID: "0" };
    const own = ["SLURM_JOB_ID=7", "SLURM_STEP_ID=0"];
    assert.deepEqual(await added({ SLURM_JOB_ID: "7" }), []);
    assert.deepEqual(await added({ ...step, PMI_RANK: "1", OTHER: "x" }), ["PMI_RANK=1", ...own]);
    const pmix = {
      ...step,
      SLURM_JOB_UID: "12",
      PMIX_SERVER_TMPDIR: server,
      PMIX_SYSTEM_TMPDIR: join(box.scratch, "system"),
      PMIX_PTL_MODULE: "tcp",
      PMIX_GDS_MODULE: "hash",
      PMIX_MCA_gds: "ds12",
    };
    const { stdout, stderr } = await start(pmix, [], ["sh", "-c", "env; cut -d' ' -f5,6 /proc/self/mountinfo"]);
    const lines = stdout.split("\n");
    for (const line of ["PMIX_MCA_ptl=tcp", "PMIX_MCA_gds=ds12", "PMIX_PTL_MODULE=tcp", "SLURM_JOB_UID=12"])
      assert.ok(lines.includes(line), `${line}\n${stdout}${stderr}`);
    for (const directory of [server, application])
      assert.match(lines.find((line) => line.startsWith(`${directory} `)) ?? "", / rw,nosuid,nodev,noexec/);
    assert.deepEqual(await added({ ...step, SLURM_MPI_TYPE: "pmi2", PMIX_X: "1" }), [
      own[0],
      "SLURM_MPI_TYPE=pmi2",
      own[1],
    ]);
  });
});
