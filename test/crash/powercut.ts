/**
 * Power cuts, by FS_IOC_SHUTDOWN without a last flush of the journal: right after a reported success, and at random
 * moments. After them the file system is mounted again: what was reported is whole, what is listed is whole, and the
 * next import needs no repair. As root only, who may cut; the store is root's or an ordinary user's.
 *
 * usage: test/crash/powercut.ts [--only SWEEP] [--user KIND] [--count N]     N cuts after success, twice as many others
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { chown, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { background, command, must } from "../support/command.ts";
import { makeTemp } from "../support/temp.ts";
import {
  type Bed,
  clear,
  type Place,
  placeIn,
  problemsOfContainers,
  problemsOfListed,
  problemsOfNextImport,
  runAt,
  say,
  stop,
  withBeds,
} from "./bed.ts";

const progress = ["--progress", "none"];

/** An ext4 on a loop device of its own, which loses power. */
class Disk {
  readonly #directory: string;
  readonly mount: string;
  readonly #remove: () => Promise<void>;
  #device = "";

  constructor() {
    const { path, remove } = makeTemp();
    this.#directory = path;
    this.#remove = remove;
    this.mount = join(path, "mount");
  }

  async make(): Promise<void> {
    const image = join(this.#directory, "image");
    await writeFile(image, "");
    await truncate(image, 128 << 20);
    await must(["mkfs.ext4", "-q", image]);
    mkdirSync(this.mount);
    this.#device = (await must(["losetup", "--find", "--show", image])).trim();
    await this.#on();
  }

  /** The file system stops at once: what was not on disk is lost. */
  async cut(): Promise<void> {
    // FS_IOC_SHUTDOWN, FS_SHUTDOWN_FLAGS_NOLOGFLUSH: linux/fs.h.
    const script = `import fcntl,os,struct; fcntl.ioctl(os.open(${JSON.stringify(this.mount)}, 0), 0x8004587d, struct.pack("I", 2))`;
    await must(["python3", "-c", script]);
  }

  async back(): Promise<void> {
    await must(["umount", this.mount]);
    await this.#on();
  }

  async remove(): Promise<void> {
    await command(["umount", this.mount]);
    if (this.#device !== "") await command(["losetup", "--detach", this.#device]);
    await this.#remove();
  }

  async #on(): Promise<void> {
    await must(["mount", this.#device, this.mount]);
  }
}

const hashOf = (path: string) => createHash("sha256").update(readFileSync(path)).digest("hex");

interface Sweep {
  before: readonly (readonly string[])[];
  words: (place: Place) => readonly string[];
  /** After the success was reported and power is back: what is wrong. */
  check: (place: Place) => Promise<string[]>;
}

function sweepsOf({ source, donor, reference }: Bed, squashfs: string): Record<string, Sweep> {
  const store = ["import", source, "--name", "box", ...progress];
  const create = ["create", source, "--name", "web", ...progress];
  const isListed = async (place: Place) => {
    const { listed } = await problemsOfListed(place, reference);
    return listed.some(({ names }) => names.includes("box")) ? [] : ["the imported image is not listed"];
  };
  return {
    import: { before: [], words: () => store, check: isListed },
    next: { before: [["import", donor, "--name", "donor", ...progress]], words: () => store, check: isListed },
    create: {
      before: [],
      words: () => create,
      check: async (place) => (existsSync(join(place.data, "containers/web")) ? [] : ["the container is not there"]),
    },
    remove: {
      before: [store, ["create", "box", "--name", "web"]],
      words: () => ["remove", "web", "image:box"],
      check: async (place) => {
        const { listed } = await problemsOfListed(place, reference);
        if (listed.length > 0) return ["the removed image is listed"];
        return existsSync(join(place.data, "containers/web")) ? ["the removed container is there"] : [];
      },
    },
    file: {
      before: [],
      words: (place) => ["import", source, "-o", join(place.directory, "out.squashfs"), ...progress],
      check: async (place) => {
        const output = join(place.directory, "out.squashfs");
        return existsSync(output) && hashOf(output) === squashfs ? [] : ["the file is not whole"];
      },
    },
  };
}

async function repeat(
  bed: Bed,
  sweep: Sweep,
  count: number,
  random: boolean,
): Promise<{ points: number; ran: number; bad: number }> {
  const { user, reference, source } = bed;
  const total = { points: count, ran: 0, bad: 0 };
  const disk = new Disk();
  try {
    await disk.make();
    for (let i = 0; i < count && !stop.asked; i++) {
      const place = placeIn(user, join(disk.mount, String(i)));
      mkdirSync(place.directory, { mode: 0o700 });
      await chown(place.directory, user.uid, user.gid);
      for (const words of sweep.before) await runAt(place, [...reference.rootling, ...words]);
      // What was before is on disk.
      await must(["sync", "-f", disk.mount]);
      const begin = performance.now();
      const words = [...reference.rootling, ...sweep.words(place)];
      const running = background(user.words(words), { env: { ...user.env, ...place.env }, cwd: user.home });
      const moment = Math.random() * 600;
      if (random) await Promise.race([sleep(moment), running.ended]);
      else await running.ended;
      const reported = !running.alive() && (await running.ended).status === 0;
      await disk.cut();
      const took = Math.round(performance.now() - begin);
      await running.end("SIGKILL");
      await sleep(50);
      await disk.back();
      total.ran++;
      const problems = random || reported ? [] : [`the command failed: ${(await running.ended).stderr}`];
      problems.push(...(await problemsOfListed(place, reference)).problems, ...problemsOfContainers(place));
      if (reported) problems.push(...(await sweep.check(place)));
      problems.push(...(await problemsOfNextImport(place, reference, source)));
      for (const problem of problems) say(`  cut after ${took} ms, ${reported ? "" : "not "}reported: ${problem}`);
      if (problems.length > 0) total.bad++;
      await clear(place.directory);
    }
  } finally {
    await disk.remove();
  }
  return total;
}

process.exitCode = await withBeds(
  "powercut",
  async (bed, values) => {
    const { user, reference, source } = bed;
    const whole = placeIn(user, join(user.home, "reference"));
    const output = join(user.home, "reference.squashfs");
    await runAt(whole, [...reference.rootling, "import", source, "-o", output]);
    const all = sweepsOf(bed, hashOf(output));
    const count = Number(values.count);
    const sweeps = Object.entries(all).flatMap(([name, sweep]) => [
      [`${name}, cut after success`, () => repeat(bed, sweep, count, false)] as const,
      [`${name}, cut at any moment`, () => repeat(bed, sweep, 2 * count, true)] as const,
    ]);
    return Object.fromEntries(sweeps);
  },
  process.getuid?.() === 0 ? undefined : [],
);
