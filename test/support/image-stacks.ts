/** Layer stacks as image builders make them, from a seed: for comparison with other unpackers. */
import type { Given } from "./image-support.ts";

/** Small, fast, seeded: mulberry32. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const NAMES = ["a", "b", "c", "dir", "lib", "x.wh.y", "été"];

/** The entries of `count` layers, lowest first. Each is what a builder could have recorded on top of the others. */
export function generateStack(seed: number, count: number): Given[][] {
  const random = randomFrom(seed);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
  /** What the layers so far make: kinds by path. */
  const tree = new Map<string, "directory" | "file" | "other">([["", "directory"]]);
  const below = (path: string) => [...tree.keys()].filter((name) => name.startsWith(`${path}/`));
  const drop = (path: string) => {
    for (const name of below(path)) tree.delete(name);
    tree.delete(path);
  };
  let time = 1_600_000_000;
  const metadata = () => ({
    mode: pick([0o644, 0o755, 0o600, 0o4755, 0o2711, 0o1777]),
    uid: pick([0, 0, 1, 1000, 3_000_000]),
    gid: pick([0, 0, 5, 1000]),
    mtime: time++,
  });

  const layers: Given[][] = [];
  for (let index = 0; index < count; index++) {
    const entries: Given[] = [];
    const touched = new Set<string>();
    const add = (entry: Given) => {
      entries.push(entry);
      touched.add(entry.path);
    };
    /** A builder lists the directories above what it lists. */
    const touchParents = (path: string) => {
      const parts = path.split("/").slice(0, -1);
      for (let i = 1; i <= parts.length; i++) {
        const parent = parts.slice(0, i).join("/");
        if (!touched.has(parent)) add({ path: parent, kind: "directory", ...metadata(), mode: 0o755 });
        tree.set(parent, "directory");
      }
    };
    for (let step = 0; step < 14; step++) {
      const directories = [...tree].filter(([, kind]) => kind === "directory").map(([name]) => name);
      const directory = pick(directories);
      const path = directory === "" ? pick(NAMES) : `${directory}/${pick(NAMES)}`;
      if (path.split("/").length > 5 || touched.has(path) || below(path).some((name) => touched.has(name))) continue;
      const present = tree.get(path);
      const action = random();
      if (action < 0.2 && present !== undefined) {
        touchParents(path);
        entries.push({ path: path.replace(/([^/]*)$/, ".wh.$1") });
        touched.add(path);
        drop(path);
      } else if (action < 0.3 && present === "directory") {
        touchParents(path);
        add({ path, kind: "directory", ...metadata() });
        entries.push({ path: `${path}/.wh..wh..opq` });
        for (const name of below(path)) tree.delete(name);
      } else if (action < 0.55) {
        touchParents(path);
        add({ path, kind: "directory", ...metadata() });
        if (present !== "directory") tree.set(path, "directory");
      } else if (action < 0.65) {
        touchParents(path);
        drop(path);
        add({ path, kind: "symlink", ...metadata(), mode: 0o777, target: pick(["a", "/etc/passwd", "../b", "lib"]) });
        tree.set(path, "other");
      } else if (action < 0.8) {
        const files = [...tree].filter(
          ([name, kind]) => kind === "file" && name !== path && !name.startsWith(`${path}/`),
        );
        const target = files.length === 0 ? undefined : pick(files)[0];
        if (target === undefined) continue;
        touchParents(path);
        drop(path);
        add({ path, kind: "link", target });
        // What a link of this layer names stays as it is in this layer.
        touched.add(target);
        tree.set(path, "file");
      } else {
        touchParents(path);
        drop(path);
        add({ path, kind: "file", content: `${seed} ${index} ${path}`.repeat(pick([0, 1, 60])), ...metadata() });
        tree.set(path, "file");
      }
    }
    layers.push(moveWhiteouts(entries, random));
  }
  return layers;
}

/** Whiteouts come before or after their siblings. */
function moveWhiteouts(entries: Given[], random: () => number): Given[] {
  const isWhiteout = (entry: Given) => /(^|\/)\.wh\./.test(entry.path);
  const first = random() < 0.5;
  const whiteouts = entries.filter(isWhiteout);
  const others = entries.filter((entry) => !isWhiteout(entry));
  return first ? [...whiteouts, ...others] : [...others, ...whiteouts];
}
