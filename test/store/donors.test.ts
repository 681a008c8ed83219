/** An image takes files from one that is stored already: the tree is the same as without, whatever the layers say. */
import assert from "node:assert/strict";
import { chmodSync, chownSync, existsSync, lstatSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { type TestContext, test } from "node:test";
import { capture } from "../../src/base/process.ts";
import { importImage } from "../../src/commands/import-image.ts";
import { digestHex, digestOf } from "../../src/image/digest.ts";
import { findDonor } from "../../src/store/donors.ts";
import { listImages, removeImage, type StoredImage } from "../../src/store/images.ts";
import { imagePaths, type Layout } from "../../src/store/layout.ts";
import { rootling } from "../support/cli.ts";
import { generateStack } from "../support/image-stacks.ts";
import { bytes, failsWith, type Given, scratch, tarOf, testContext, writeLayout } from "../support/image-support.ts";
import { compareTrees, listTree, type TreeEntry } from "../support/tree.ts";
import { everyKind, testUser } from "../support/users.ts";

/** Generated trees have names that are closed to their owner: only root compares them, and makes files of others. */
const asRoot = process.getuid?.() === 0 ? test : () => {};

/** What stacks do not have. */
const kinds: Given[] = [
  { path: "./spelled/", kind: "directory", mode: 0o555, uid: 3 },
  { path: "./spelled/file", content: "x".repeat(700), mode: 0o4711, uid: 7, nanoseconds: 5_000_000 },
  { path: "noted", content: "n", xattrs: new Map([[bytes("user.note"), Buffer.from("\xff\0=\n", "latin1")]]) },
  { path: "tty", kind: "character", major: 5, minor: 1 },
  { path: "pipe", kind: "fifo" },
  { path: "empty" },
  { path: "twin", kind: "link", target: "noted" },
];

/** A tree as it is by itself: links from elsewhere, which the count of links shows, are none of its groups. */
async function ownTree(tree: string): Promise<TreeEntry[]> {
  const entries = await listTree(tree);
  const alone = (link: string) => entries.filter((entry) => entry.link === link).length === 1;
  return entries.map(({ link, ...rest }) => (link === undefined || alone(link) ? rest : { link, ...rest }));
}

const assertEqual = (actual: readonly TreeEntry[], expected: readonly TreeEntry[], what = "") =>
  assert.deepEqual(compareTrees(actual, expected), [], what);

/** The image of these layers in a store that has nothing else. */
async function freshTree(t: TestContext, layers: readonly Buffer[]) {
  const directory = scratch(t);
  writeLayout(join(directory, "layout"), layers);
  const { context, layout } = testContext(directory);
  return ownTree((await importImage(context, layout, `oci:${directory}/layout`)).tree);
}

interface Bed {
  readonly directory: string;
  readonly layout: Layout;
  /** Imports the image of these layers. */
  store(layers: readonly Buffer[], name: string): Promise<StoredImage>;
}

function makeBed(t: TestContext): Bed {
  const directory = scratch(t);
  const { context, layout } = testContext(directory);
  const store = (layers: readonly Buffer[], name: string) => {
    writeLayout(join(directory, name), layers);
    return importImage(context, layout, `oci:${directory}/${name}`, { name });
  };
  return { directory, layout, store };
}

const files = async (tree: string): Promise<string[]> =>
  (await listTree(tree)).filter(({ type, size }) => type === "file" && size).map(({ name }) => name);

/** Names of both trees that are one file. */
async function sharedFiles(a: string, b: string): Promise<string[]> {
  const there = new Set(await files(a));
  const inode = (tree: string, name: string) => lstatSync(Buffer.from(join(tree, name), "latin1")).ino;
  return (await files(b)).filter((name) => there.has(name) && inode(a, name) === inode(b, name));
}

const STACKS = Number(process.env.ROOTLING_TEST_STACKS ?? 2);

asRoot("the tree equals one that was made without a donor, whatever changes above the shared layers", async (t) => {
  let shared = 0;
  for (let seed = 1; seed <= STACKS; seed++) {
    const stack = [tarOf(kinds), ...generateStack(seed, 5).map((layer) => tarOf(layer))];
    const short = stack.slice(0, 4);
    const other = [...short, tarOf([{ path: "a", content: "other" }])];
    const fresh = new Map<readonly Buffer[], TreeEntry[]>();
    // More layers above, fewer, another one, and all of them twice.
    for (const order of [
      [short, stack, [...short, ...short]],
      [other, stack, short],
    ]) {
      const { store } = makeBed(t);
      let donor: StoredImage | undefined;
      for (const [index, layers] of order.entries()) {
        const image = await store(layers, `image-${index}`);
        if (!fresh.has(layers)) fresh.set(layers, await freshTree(t, layers));
        assertEqual(await ownTree(image.tree), fresh.get(layers) ?? [], `seed ${seed}, image ${index}`);
        if (donor !== undefined) shared += (await sharedFiles(donor.tree, image.tree)).length;
        donor = image;
      }
    }
  }
  assert.ok(shared > 20 * STACKS, `${shared} files are shared`);
});

asRoot("a layer whose files the donor has is not read, and the donor may go afterwards", async (t) => {
  const { directory, layout, store } = makeBed(t);
  const base = tarOf(kinds);
  const donor = await store([base, tarOf([{ path: "old", content: "1" }])], "first");
  const next = [base, tarOf([{ path: "new", content: "2" }])];
  const expected = await freshTree(t, next);
  writeLayout(join(directory, "second"), next, { compression: "none" });
  rmSync(join(directory, "second/blobs/sha256", digestHex(digestOf(base))));
  const { context } = testContext(directory);
  const image = await importImage(context, layout, `oci:${directory}/second`, { name: "second" });
  assert.deepEqual((await sharedFiles(donor.tree, image.tree)).sort(), ["noted", "spelled/file", "twin"]);
  await removeImage(layout, donor, context.signal);
  assertEqual(await ownTree(image.tree), expected);
});

test("a donor stays while it is borrowed from; one that was removed is none", async (t) => {
  const { directory, layout, store } = makeBed(t);
  const base = tarOf(kinds);
  const image = await store([base], "first");
  const { context } = testContext(directory);
  const find = () => findDonor(layout, `sha256:${"0".repeat(64)}`, [digestOf(base)]);
  const donor = find();
  await assert.rejects(removeImage(layout, image, context.signal), failsWith("E_BUSY"));
  donor?.release();
  assert.equal(findDonor(layout, image.digest, [digestOf(base)]), undefined, "it is no donor of itself");
  assert.equal(findDonor(layout, "", [digestOf(Buffer.from("other"))]), undefined);
  await removeImage(layout, image, context.signal);
  assert.equal(find(), undefined);
});

asRoot("a donor that was damaged costs time, nothing else", async (t) => {
  const base = tarOf(kinds);
  const next = [base, tarOf([{ path: "new", content: "2" }])];
  const expected = await freshTree(t, next);
  const damages: Record<string, (donor: StoredImage, layout: Layout) => void> = {
    "a file is gone": ({ tree }) => rmSync(join(tree, "spelled/file")),
    "the listing is another one": ({ digest }, layout) => {
      const { listings } = imagePaths(layout, digest.slice("sha256:".length));
      for (const name of readdirSync(listings)) writeFileSync(join(listings, name), "no");
    },
    "there is no listing": ({ digest }, layout) =>
      rmSync(imagePaths(layout, digest.slice("sha256:".length)).listings, { recursive: true }),
  };
  for (const [what, damage] of Object.entries(damages)) {
    const { layout, store } = makeBed(t);
    damage(await store([base], "first"), layout);
    assertEqual(await ownTree((await store(next, "second")).tree), expected, what);
    assert.deepEqual(readdirSync(layout.temporary), [], what);
  }
});

asRoot("two tags that share layers with a third are imported at once", async (t) => {
  const { layout, store } = makeBed(t);
  const base = tarOf(kinds);
  const withTop = (text: string) => [base, tarOf([{ path: "top", content: text }])];
  await store(withTop("0"), "first");
  const images = await Promise.all(["1", "2", "3"].map((text) => store(withTop(text), `tag-${text}`)));
  for (const [index, { tree }] of images.entries()) {
    assertEqual(await ownTree(tree), await freshTree(t, withTop(String(index + 1))));
  }
  assert.equal(listImages(layout).length, 4);
});

for (const kind of everyKind) {
  test(`trees of each map share their files, as ${kind}`, async (t) => {
    const user = await testUser(t, kind);
    const map = kind === "subids" ? ["--map", "subids"] : [];
    const base = tarOf([...kinds, { path: "of-other", content: "o", uid: 200, gid: 300 }]);
    const layouts = ["first", "second"].map((name) => join(user.home, name));
    for (const [index, path] of layouts.entries()) {
      mkdirSync(path);
      writeLayout(path, [base, tarOf([{ path: "top", content: `${index}` }])]);
      await capture("chown", ["-R", `${user.uid}:${user.gid}`, path]);
    }
    const trees = async (from: readonly string[]): Promise<string[]> => {
      for (const path of from) {
        const { status, stderr } = await rootling(user, ["import", `oci:${path}`, "--name", basename(path), ...map]);
        assert.equal(status, 0, stderr);
      }
      const { stdout } = await rootling(user, ["images", "--json"]);
      const images = join(user.env.ROOTLING_DATA_PATH ?? "", "images");
      return (JSON.parse(stdout) as { digest: string; name: string }[])
        .sort((a, b) => (a.name < b.name ? -1 : 1))
        .flatMap(({ digest }) => {
          const image = join(images, digestHex(digest as never));
          const mapped = join(image, "mapped");
          const others = existsSync(mapped) ? readdirSync(mapped).map((name) => join(mapped, name, "tree")) : [];
          return [join(image, "tree"), ...others];
        });
    };
    const both = await trees(layouts);
    const half = both.length / 2;
    assert.equal(half, kind === "subids" ? 2 : 1);
    const reused = await Promise.all(both.map(ownTree));
    for (let i = 0; i < half; i++) {
      const shared = await sharedFiles(both[i] ?? "", both[i + half] ?? "");
      assert.deepEqual(shared.sort(), ["noted", "of-other", "spelled/file", "twin"]);
    }
    for (const name of ["first", "second"]) assert.equal((await rootling(user, ["remove", `image:${name}`])).status, 0);
    const alone = await trees(layouts.slice(1));
    for (const [index, tree] of alone.entries()) assertEqual(await ownTree(tree), reused[half + index] ?? []);
  });
}

asRoot("as an ordinary user without power over owners", async (t) => {
  const directory = scratch(t);
  const own = join(directory, "own");
  mkdirSync(own);
  chownSync(own, 65534, 65534);
  chmodSync(directory, 0o755);
  const worker = join(import.meta.dirname, "../support/image-store-import.ts");
  const words = ["--reuid=65534", "--regid=65534", "--clear-groups", process.execPath, worker];
  for (const seed of [3, 11]) {
    const stack = [tarOf(kinds), ...generateStack(seed, 4).map((layer) => tarOf(layer))];
    const roots = { donor: stack, next: stack.slice(0, 4) };
    for (const [name, layers] of Object.entries(roots)) writeLayout(join(directory, name), layers);
    const store = async (name: string, place: string) => {
      const env = { HOME: own, IMAGE_TEST_DIRECTORY: join(own, place) };
      await capture("setpriv", [...words, `oci:${directory}/${name}`], { env });
      const { layout } = testContext(join(own, place));
      return ownTree(listImages(layout).find((image) => image.name.startsWith(name))?.tree ?? "");
    };
    await store("donor", `both-${seed}`);
    assertEqual(await store("next", `both-${seed}`), await store("next", `alone-${seed}`));
    for (const name of Object.keys(roots)) rmSync(join(directory, name), { recursive: true });
  }
});
