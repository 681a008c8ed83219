/**
 * npm run bench: rootling and its peers in one run, turn by turn, so that whatever else the machine does meets all.
 *
 *     npm run bench -- [--only CASE[,CASE…]] [--repeat N] [--json FILE] [--work DIRECTORY] [--peers-only]
 */
import { cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { cpus, homedir, release, totalmem } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { rootlingWords } from "../support/cli.ts";
import { command, must } from "../support/command.ts";
import { busyboxImage, ImageLayout } from "../support/images.ts";
import { startRegistry } from "../support/registry.ts";
import { makeTemp, removeTree, tempBase } from "../support/temp.ts";
import { makeUser } from "../support/users.ts";
import { sandboxFiles, sandboxWire } from "./boot-cases.ts";
import { type Bed, type Case, OURS, RUNROOT, type Subject } from "./case.ts";
import { casesOf, scaleLayout } from "./cases.ts";
import { buildMeasure, measure, type Sample } from "./measure.ts";
import { type CaseResult, resultOf, showResult } from "./report.ts";
import { makeScaleImage, SCALES } from "./scale.ts";
import { makeWorkImages, WORK_TAGS, WORK_VERSION } from "./work.ts";

const say = (text: string): void => {
  process.stdout.write(`${text}\n`);
};

const { values } = parseArgs({
  options: {
    only: { type: "string" },
    repeat: { type: "string" },
    json: { type: "string" },
    work: { type: "string" },
    "peers-only": { type: "boolean", default: false },
  },
});

/** The images, made once and kept: the files of a registry that has them. */
async function registryFiles(scratch: string): Promise<string> {
  const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "rootling-bench");
  const kept = join(cache, `registry-${WORK_VERSION}`);
  if (existsSync(kept)) return kept;
  say(`Making the images that imports are measured with, once, into ${kept}`);
  mkdirSync(cache, { recursive: true });
  const unfinished = `${kept}.${process.pid}`;
  const registry = await startRegistry(unfinished);
  try {
    const layout = await ImageLayout.create(join(scratch, "layout"));
    await makeWorkImages(layout, scratch);
    await busyboxImage(layout, "busybox", scratch);
    for (const tag of [...WORK_TAGS, "busybox"]) await registry.push(layout.reference(tag), `${tag}:1`);
    await registry.stop();
    renameSync(unfinished, kept);
  } finally {
    await registry.stop();
    rmSync(unfinished, { recursive: true, force: true });
  }
  rmSync(join(scratch, "layout"), { recursive: true });
  return kept;
}

/** The busybox image as a directory and as an OCI bundle, for the peers that start those. */
async function peersRoot(registry: string, scratch: string): Promise<{ rootfs: string; bundle: string }> {
  const layout = join(scratch, "layout");
  const bundle = join(scratch, "bundle");
  const source = `docker://${registry}/busybox:1`;
  await must(["skopeo", "copy", "--quiet", "--insecure-policy", "--src-tls-verify=false", source, `oci:${layout}:x`]);
  await must(["umoci", "unpack", "--image", `${layout}:x`, bundle]);
  const file = join(bundle, "config.json");
  rmSync(file);
  await must(["crun", "spec"], { cwd: bundle });
  const config = JSON.parse(readFileSync(file, "utf8"));
  config.process.terminal = false;
  config.process.args = ["/bin/true"];
  writeFileSync(file, JSON.stringify(config));
  return { rootfs: join(bundle, "rootfs"), bundle };
}

/** The merged tree of the large image as one tar, and its layers: what the floor is measured with. */
async function floorFiles(registry: string, scratch: string, env: Record<string, string>): Promise<Bed["floor"]> {
  const source = `docker://${registry}/work:1`;
  const layout = join(scratch, "floor");
  const tar = join(scratch, "floor.tar");
  await must(["skopeo", "copy", "--quiet", "--insecure-policy", "--src-tls-verify=false", source, `oci:${layout}:x`]);
  await must(rootlingWords("import", source, "-o", tar, "--format", "tar"), { env });
  const blob = (digest: string) => join(layout, "blobs/sha256", digest.slice("sha256:".length));
  const read = (file: string) => JSON.parse(readFileSync(file, "utf8"));
  const manifest = read(blob(read(join(layout, "index.json")).manifests[0].digest));
  return { tar, blobs: manifest.layers.map(({ digest }: { digest: string }) => blob(digest)) };
}

async function makeScaleImages(bed: Bed, scratch: string): Promise<void> {
  const layout = await ImageLayout.create(scaleLayout(bed));
  for (const { entries, layers } of SCALES) await makeScaleImage(layout, entries, layers, scratch);
}

function makeSandbox(bed: Bed): void {
  const { wire, stage } = sandboxFiles(bed);
  mkdirSync(stage);
  writeFileSync(wire, sandboxWire(bed, stage), { mode: 0o600 });
}

/** On hosts with cgroup v1 and v2 beside each other, crun and podman refuse the v2 tree: theirs is a world without it. */
const hybrid = readFileSync("/proc/self/mounts", "utf8").includes(" /sys/fs/cgroup/unified ");
const WITHOUT_UNIFIED = [
  "unshare",
  "--mount",
  "--propagation=private",
  "sh",
  "-c",
  'umount /sys/fs/cgroup/unified; exec "$@"',
  "sh",
];

async function runCase(measured: Case, bed: Bed, program: string, env: Record<string, string>): Promise<CaseResult> {
  const subjects = measured.subjects.filter(({ name }) => !values["peers-only"] || !name.startsWith(OURS));
  const samples = new Map(subjects.map(({ name }) => [name, [] as Sample[]]));
  const wanted = values.repeat === undefined ? measured.repetitions : Number(values.repeat);
  const once = async (subject: Subject): Promise<Sample> => {
    if (subject.before !== undefined) await must(["sh", "-c", subject.before], { env });
    const words = typeof subject.run === "string" ? ["sh", "-c", subject.run] : subject.run;
    const hidden = subject.ownMounts && hybrid ? WITHOUT_UNIFIED : [];
    const sample = await measure(program, words, join(bed.work, "..", "sample.json"), env, hidden);
    if (subject.memory === undefined) return sample;
    return { ...sample, memory: Number(await must(["sh", "-c", subject.memory], { env })) };
  };
  const aside = async ({ ownMounts }: Subject, text: string | undefined) => {
    if (text !== undefined) await must([...(ownMounts && hybrid ? WITHOUT_UNIFIED : []), "sh", "-c", text], { env });
  };
  try {
    if (!values["peers-only"] && measured.before) await must(["sh", "-c", measured.before], { env });
    for (const subject of subjects) await aside(subject, subject.first);
    for (let round = -measured.warmups; round < wanted; round++) {
      for (const subject of subjects) {
        const sample = await once(subject);
        if (round >= 0) samples.get(subject.name)?.push(sample);
      }
    }
  } finally {
    for (const subject of subjects) await aside(subject, subject.last);
    if (!values["peers-only"] && measured.after) await must(["sh", "-c", measured.after], { env });
  }
  return resultOf(measured, samples);
}

async function main(): Promise<number> {
  if (process.getuid?.() !== 0) {
    process.stderr.write("npm run bench: podman pull and umoci unpack are compared as root: run this as root\n");
    return 125;
  }
  if (values.work !== undefined) process.env.ROOTLING_TEST_TEMP = values.work;
  const base = tempBase();
  const TMPFS = 0x01021994;
  const onDisk = statfsSync(base).type !== TMPFS;
  const temp = makeTemp("rootling-bench-");
  const work = join(temp.path, "work");
  const scratch = join(temp.path, "scratch");
  mkdirSync(work);
  mkdirSync(scratch);
  const files = await registryFiles(scratch);
  // A copy beside the work, so that reading it costs every subject the same at every turn.
  cpSync(files, join(temp.path, "registry"), { recursive: true });
  const registry = await startRegistry(join(temp.path, "registry"));
  const containers = join(temp.path, "containers.conf");
  // Raising limits needs a capability that root does not have in every container.
  writeFileSync(
    containers,
    '[containers]\ndefault_ulimits=["nofile=1024:1024","nproc=1024:1024"]\n[engine]\ncgroup_manager="cgroupfs"\nevents_logger="none"\n',
  );
  const env = {
    PATH: process.env.PATH ?? "/usr/bin:/bin:/usr/sbin:/sbin",
    HOME: temp.path,
    LC_ALL: "C.UTF-8",
    CONTAINERS_CONF: containers,
    ROOTLING_DATA_PATH: join(work, "data"),
    ROOTLING_CACHE_PATH: join(work, "cache"),
    ROOTLING_RUNTIME_PATH: join(work, "runtime"),
    ENROOT_DATA_PATH: join(work, "enroot"),
    ENROOT_CACHE_PATH: join(work, "cache"),
    ENROOT_RUNTIME_PATH: join(work, "enroot-runtime"),
  };
  const user = await makeUser("subids");
  try {
    const floor = await floorFiles(registry.address, scratch, env);
    const peers = await peersRoot(registry.address, scratch);
    const bed: Bed = { work, registry: registry.address, onDisk, floor, ...peers, user: user.user };
    const program = await buildMeasure(temp.path);
    const all = casesOf(bed);
    const only = values.only?.split(",");
    const unknown = only?.filter((name) => !all.some((one) => one.name === name)) ?? [];
    if (unknown.length > 0) {
      process.stderr.write(`npm run bench: no case ${unknown.join(", ")}: ${all.map(({ name }) => name).join(", ")}\n`);
      return 2;
    }
    say(
      `Linux ${release()}, ${cpus().length} CPUs, ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}; ` +
        `work in ${base}, ${onDisk ? "a disk: synced at the end of each import" : "a tmpfs: no disk in the numbers"}`,
    );
    const results: CaseResult[] = [];
    for (const measured of all.filter(({ name }) => only === undefined || only.includes(name))) {
      await must(["sh", "-c", `rm -rf ${work} && mkdir ${work}`]);
      if (measured.name === "scale") await makeScaleImages(bed, scratch);
      if (measured.name === "executor") makeSandbox(bed);
      const result = await runCase(measured, bed, program, env);
      results.push(result);
      say(`\n${showResult(result)}`);
    }
    if (values.json !== undefined) {
      const machine = {
        kernel: release(),
        cpus: cpus().length,
        memory: totalmem(),
        node: process.version,
        work: base,
        tmpfs: !onDisk,
      };
      writeFileSync(values.json, `${JSON.stringify({ format: 1, machine, results }, undefined, 2)}\n`);
      say(`\nWritten to ${values.json}`);
    }
    const missed = results.flatMap(({ bars }) => bars).filter(({ met }) => !met);
    return missed.length === 0 ? 0 : 1;
  } finally {
    await registry.stop();
    await user.remove();
    // podman leaves its storage mounted.
    await command(["sh", "-c", `podman --root ${work}/podman --runroot ${RUNROOT} rmi --all --force`], { env });
    await removeTree(temp.path);
    for (const path of [RUNROOT, `${RUNROOT}-user`]) await removeTree(path);
  }
}

process.exitCode = await main();
