/** What the fault tests share: a small image, what a whole store of it looks like, and what is wrong with another. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { findContainer } from "../../src/store/containers.ts";
import { checkout, copyPackage } from "../support/cli.ts";
import { command, type Outcome } from "../support/command.ts";
import { bytes, describeTree, type Given, tarOf, writeLayout } from "../support/image-support.ts";
import { makeTemp } from "../support/temp.ts";
import { makeUser, type TestUser, type UserKind, userKinds } from "../support/users.ts";

/** What an import of it does: files, directories, links of all kinds, xattrs, whiteouts, a file of many writes. */
const layers: readonly (readonly Given[])[] = [
  [
    { path: "bin", kind: "directory" },
    { path: "bin/tool", content: "#!/bin/sh\n", mode: 0o4755 },
    { path: "bin/same", kind: "link", target: "bin/tool" },
    { path: "big", content: Buffer.alloc(300_000, "big") },
    { path: "gone", content: "gone" },
    { path: "closed", kind: "directory", mode: 0o500 },
    { path: "closed/inside", content: "x", mode: 0o400 },
  ],
  [
    { path: ".wh.gone" },
    { path: "link", kind: "symlink", target: "bin/tool", mode: 0o777 },
    { path: "noted", content: "noted", xattrs: new Map([[bytes("user.note"), Buffer.from("n\0te")]]) },
    { path: "pipe", kind: "fifo" },
  ],
];

/** Another image with the same lowest layer: `big` and the files of `bin` are in both trees, `gone` in this alone. */
const donorLayers: typeof layers = [layers[0] ?? [], [{ path: "old", content: "old" }]];

/** Writes the image's layout, and its donor's, below `directory`; gives their SOURCEs. */
export function writeSources(directory: string): { source: string; donor: string } {
  const write = (name: string, image: typeof layers) => {
    const path = join(directory, name);
    writeLayout(
      path,
      image.map((layer) => tarOf(layer)),
      { config: { Env: ["A=b"], Cmd: ["/bin/tool"] } },
    );
    return `oci:${path}`;
  };
  return { source: write("layout", layers), donor: write("donor", donorLayers) };
}

/** Set by Ctrl-C: what was begun is ended and cleared, nothing new is begun. A second one ends the test at once. */
export const stop = { asked: false };
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => (stop.asked = true));

/** A store of its own for one run. */
export interface Place {
  readonly user: TestUser;
  readonly directory: string;
  readonly data: string;
  readonly env: Record<string, string>;
}

export const placeIn = (user: TestUser, directory: string): Place => ({
  user,
  directory,
  data: join(directory, "data"),
  env: {
    ROOTLING_DATA_PATH: join(directory, "data"),
    ROOTLING_CACHE_PATH: join(directory, "cache"),
    ROOTLING_RUNTIME_PATH: join(directory, "runtime"),
    SOURCE_DATE_EPOCH: "1700000000",
    // Node's cache of compiled code: of this run alone, and warm once the first command ran.
    NODE_COMPILE_CACHE: join(user.home, "compiled"),
  },
});

/** Runs a command at a place, `before` it what runs it, such as strace. */
export const runAt = (place: Place, words: readonly string[], before: readonly string[] = []): Promise<Outcome> =>
  place.user.run([...before, ...words], { env: place.env, cwd: place.user.home });

export interface Reference {
  /** By digest: the whole images that a store may have. */
  images: ReadonlyMap<string, { tree: string; config: string }>;
  rootling: readonly string[];
}

export interface ListedImage {
  digest: string;
  names: string[];
}

const imageDirectory = (place: Place, digest: string) => join(place.data, "images", digest.slice("sha256:".length));

/** What uninterrupted imports make, each in a store of its own. */
export async function referenceOf(
  user: TestUser,
  rootling: readonly string[],
  sources: readonly string[],
): Promise<Reference> {
  const images: [string, { tree: string; config: string }][] = [];
  for (const [index, source] of sources.entries()) {
    const place = placeIn(user, join(user.home, `reference-${index}`));
    const outcome = await runAt(place, [...rootling, "import", source, "--progress", "none", "--json"]);
    if (outcome.status !== 0) throw new Error(`the import of the reference failed: ${outcome.stderr}`);
    const { digest } = JSON.parse(outcome.stdout) as { digest: string };
    const directory = imageDirectory(place, digest);
    const tree = (await describeTree(join(directory, "tree"))).join("\n");
    images.push([digest, { tree, config: readFileSync(join(directory, "config.json"), "utf8") }]);
  }
  return { images: new Map(images), rootling };
}

/** What is wrong with what `rootling images` lists: nothing, if every listed image is whole. */
export async function problemsOfListed(
  place: Place,
  reference: Reference,
): Promise<{ problems: string[]; listed: ListedImage[] }> {
  const outcome = await runAt(place, [...reference.rootling, "images", "--json"]);
  if (outcome.status !== 0) return { problems: [`images ended with ${outcome.status}: ${outcome.stderr}`], listed: [] };
  const listed = JSON.parse(outcome.stdout) as ListedImage[];
  const problems: string[] = [];
  for (const { digest } of listed) {
    const whole = reference.images.get(digest);
    if (whole === undefined) problems.push(`an unknown image is listed: ${digest}`);
    const directory = imageDirectory(place, digest);
    const tree = (await describeTree(join(directory, "tree"))).join("\n");
    if (tree !== whole?.tree) problems.push(`a listed image has another tree:\n${tree}`);
    if (readFileSync(join(directory, "config.json"), "utf8") !== whole?.config) problems.push("config.json differs");
    const record = JSON.parse(readFileSync(join(directory, "record.json"), "utf8")) as { digest: string };
    if (record.digest !== digest) problems.push("record.json is another image's");
  }
  problems.push(...namesOfNothing(place).map((name) => `a name of nothing: ${name}`));
  return { problems, listed };
}

function namesOfNothing(place: Place): string[] {
  const refs = join(place.data, "refs");
  const files = existsSync(refs) ? readdirSync(refs).filter((file) => file.endsWith(".json")) : [];
  return files.filter((file) => {
    const { digest } = JSON.parse(readFileSync(join(refs, file), "utf8")) as { digest: string };
    return !existsSync(join(imageDirectory(place, digest), "record.json"));
  });
}

/** What is wrong with a container that the store names. */
export function problemsOfContainers(place: Place): string[] {
  const containers = join(place.data, "containers");
  const layout = { containers } as Parameters<typeof findContainer>[0];
  if (!existsSync(containers)) return [];
  return readdirSync(containers).flatMap((name) => {
    if (findContainer(layout, name) === undefined) return [`the container ${name} has no record`];
    const parts = readdirSync(join(containers, name));
    return ["upper", "work", "runs"].filter((part) => !parts.includes(part)).map((part) => `${name} lacks ${part}`);
  });
}

/** Files that nobody will ever want: unfinished writes, anywhere in the store. */
export function leavingsIn(place: Place): string[] {
  const below = (directory: string, depth: number): string[] =>
    !existsSync(directory)
      ? []
      : readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
          const path = join(directory, entry.name);
          if (entry.name.endsWith(".tmp") || directory.endsWith("/temporary")) return [path];
          return entry.isDirectory() && entry.name !== "tree" && depth > 0 ? below(path, depth - 1) : [];
        });
  return below(place.data, 3).map((path) => path.slice(place.data.length + 1));
}

/** The next import has to succeed without any repair, to be whole, and to clear what was left. */
export async function problemsOfNextImport(place: Place, reference: Reference, source: string): Promise<string[]> {
  const { rootling } = reference;
  const again = await runAt(place, [...rootling, "import", source, "--name", "box", "--progress", "none"]);
  if (again.status !== 0) return [`the next import ended with ${again.status}: ${again.stderr}`];
  const { problems, listed } = await problemsOfListed(place, reference);
  if (!listed.some(({ names }) => names.includes("box"))) problems.push("the next import listed no image box");
  return [...problems, ...leavingsIn(place).map((path) => `left after the next import: ${path}`)];
}

/** Removes a run's directory, read-only directories of the tree included. */
export async function clear(directory: string): Promise<void> {
  if ((await command(["rm", "-rf", directory])).status === 0) return;
  await command(["chmod", "-R", "u+rwx", directory]);
  await command(["rm", "-rf", directory]);
}

/** Compiles a C file of the tests to `target`. */
export async function compile(file: string, target: string): Promise<void> {
  const outcome = await command(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", target, join(checkout, file)]);
  if (outcome.status !== 0) throw new Error(outcome.stderr);
}

export const say = (line: string): void => void process.stdout.write(`${line}\n`);

/** How a sweep went: how many points there were, how many of them ran, and how many of these left something wrong. */
export interface Sweep {
  name: string;
  kind: UserKind;
  points: number;
  ran: number;
  bad: number;
  seconds: number;
}

/** Says how a sweep went. */
export function saySweep({ name, kind, points, ran, bad, seconds }: Sweep): void {
  say(`${name} as ${kind}: ${ran} of ${points} points ran, bad: ${bad} (${seconds.toFixed(0)} s)`);
}

/** The last line: all sweeps of a program in one. Whether all is well. */
export function sayAll(program: string, sweeps: readonly Sweep[]): boolean {
  const sum = (key: "points" | "ran" | "bad" | "seconds") => sweeps.reduce((total, sweep) => total + sweep[key], 0);
  const parts = sweeps.map(({ name, kind, points, ran, bad }) => {
    return `${name} as ${kind} ${ran}/${points}${bad === 0 ? "" : ` with ${bad} bad`}`;
  });
  const end = stop.asked ? "; ended early" : "";
  say(
    `${program}: ${parts.join("; ")}; together ${sum("ran")}/${sum("points")}, bad: ${sum("bad")} (${sum("seconds").toFixed(0)} s)${end}`,
  );
  return !stop.asked && sum("ran") > 0 && sum("ran") === sum("points") && sum("bad") === 0;
}

/** A user with what a sweep needs. */
export interface Bed {
  readonly user: TestUser;
  readonly stepper: string;
  readonly source: string;
  /** An image that shares a layer with it. */
  readonly donor: string;
  readonly reference: Reference;
}

type Sweeps = Record<string, () => Promise<Pick<Sweep, "points" | "ran" | "bad">>>;

/** Runs the sweeps of a program for root and an ordinary user and says how each went. Gives the exit status. */
export async function withBeds(
  program: string,
  sweepsOf: (bed: Bed, values: { jobs: string; count: string }) => Promise<Sweeps>,
  kinds: readonly UserKind[] = userKinds.filter((kind) => kind !== "subids"),
): Promise<number> {
  const { values } = parseArgs({
    options: {
      only: { type: "string" },
      user: { type: "string" },
      jobs: { type: "string", default: "2" },
      count: { type: "string", default: "8" },
    },
  });
  const temp = makeTemp();
  const sweeps: Sweep[] = [];
  try {
    const stepper = join(temp.path, "stepper");
    await compile("test/support/stepper.c", stepper);
    const { source, donor } = writeSources(temp.path);
    const rootling = [join(copyPackage(), "bin/rootling")];
    for (const kind of kinds.filter((one) => (values.user ?? one) === one)) {
      const { user, remove } = await makeUser(kind);
      try {
        const reference = await referenceOf(user, rootling, [source, donor]);
        for (const [name, run] of Object.entries(await sweepsOf({ user, stepper, source, donor, reference }, values))) {
          if ((values.only ?? name) !== name || stop.asked) continue;
          const begin = performance.now();
          const result = await run();
          const sweep = { name, kind, ...result, seconds: (performance.now() - begin) / 1000 };
          sweeps.push(sweep);
          saySweep(sweep);
        }
      } finally {
        await remove();
      }
    }
  } finally {
    await temp.remove();
  }
  return sayAll(program, sweeps) ? 0 : 1;
}
