/** Types what documents say, as a user with a shell, a registry and images. */
import assert from "node:assert/strict";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { Box } from "./boxes.ts";
import { packageDirectory } from "./cli.ts";
import type { Step } from "./documents.ts";
import { busyboxImage, ImageLayout } from "./images.ts";
import { startRegistry } from "./registry.ts";

export interface Prepared {
  /** What stands for a name of the document on this machine. */
  readonly stands?: Readonly<Record<string, string>>;
  /** What is on the PATH: rootling, if not given. */
  readonly names?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** A layout with the image `latest`. */
export async function busyboxLayout(box: Box): Promise<string> {
  const layout = await ImageLayout.create(join(box.scratch, "layout"));
  await busyboxImage(layout, "latest", box.scratch);
  return layout.directory;
}

/** docker.io is a registry on the loopback address, by registries.conf. */
export async function publicRegistry(t: TestContext, box: Box, names = ["busybox:1.36"]): Promise<Prepared> {
  const registry = await startRegistry();
  t.after(() => registry.stop());
  const layout = await busyboxLayout(box);
  for (const name of names) await registry.push(`${layout}:latest`, `library/${name}`);
  const file = join(box.scratch, "registries.conf");
  writeFileSync(file, `[[registry]]\nprefix = "docker.io"\nlocation = "${registry.address}"\ninsecure = true\n`);
  return { env: { CONTAINERS_REGISTRIES_CONF: file } };
}

/** The blocks of a document in one shell: what each step said, and how it ended. */
export async function typeSteps(
  box: Box,
  steps: readonly Step[],
  { stands = {}, env = {}, names = ["rootling"] }: Prepared,
) {
  const bin = join(box.scratch, "bin");
  mkdirSync(bin);
  for (const name of names) symlinkSync(join(packageDirectory(), "bin", name), join(bin, name));
  const here = (text: string) =>
    Object.entries(stands).reduce((all, [name, value]) => all.replaceAll(name, value), text);
  const mark = "=== end of step";
  const script = steps.map(({ shown }) => `{\n${here(shown)}\n} </dev/null; printf '\\n${mark} %s\\n' $?\n`).join("");
  // Errors among the rest, in the order in which they came.
  const path = `${join(box.user.home, "bin")}:${bin}:${box.user.env.PATH}`;
  const words = ["bash", "--norc", "-uo", "pipefail", "-c", `exec 2>&1\n${script}`];
  const { stdout } = await box.user.run(words, { env: { ...env, PATH: path }, timeout: 60_000 });
  const parts = stdout.split(new RegExp(`\n${mark} ([0-9]+)\n`));
  assert.equal(parts.length, 2 * steps.length + 1, `the shell ended early: ${stdout}`);
  return steps.map((step, index) => ({
    ...step,
    said: (parts[2 * index] ?? "").replace(/\n$/, ""),
    status: Number(parts[2 * index + 1]),
  }));
}
